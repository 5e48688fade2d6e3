//! Runs one target on one input after another until its time is over, and watches it.
//!
//! Inputs are mutations of a corpus. A target answers with a signature of what the input made it do; an input with a
//! signature not seen before joins the corpus: guidance by behaviour, which needs no special compiler.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::mutate::mutate;
use crate::random::Random;
use crate::targets::ALL;

/// Longest time that one input of at most 128 KiB may take in a debug build on a busy machine.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// What a target may add to the process's memory, the corpus included.
const GROWTH_KIB_MAX: u64 = 512 * 1024;
const CORPUS_MAX: usize = 4096;
/// Longer inputs are tried, not built upon.
const KEPT_BYTES_MAX: usize = 4096;
/// Inputs from this size on are written down before they are tried: a stack overflow leaves no other trace.
const NOTED_BYTES_MIN: usize = 2048;

/// Fuzzes the target of this name for `FUZZ_SECONDS`.
pub(crate) fn run(name: &str) {
    let target = ALL.iter().find(|target| target.name == name).expect("a target of this name");
    let seconds = setting("FUZZ_SECONDS").unwrap_or(5);
    let seed = setting("FUZZ_SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs()));
    let started = Instant::now();
    let memory = resident_kib();
    let watch = Watch::start(name, seed);
    let mut trial = Trial { name, seed, target: target.run, seen: HashSet::new(), corpus: Vec::new(), watch: &watch, runs: 0 };
    for input in regressions(name).iter().map(Vec::as_slice).chain(target.seeds.iter().copied()) {
        trial.seed_with(input);
    }
    let mut random = Random::new(seed);
    while started.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..64 {
            let from = random.below(trial.corpus.len());
            let other = random.below(trial.corpus.len());
            let input = mutate(&trial.corpus[from], &trial.corpus[other], &mut random);
            trial.run(&input);
        }
    }
    watch.stop();
    let (runs, kept, growth) = (trial.runs, trial.corpus.len(), resident_kib().saturating_sub(memory));
    println!("{name}: {runs} inputs in {:.0} s, {kept} kept, {growth} KiB more memory, seed {seed}", started.elapsed().as_secs_f64());
    assert!(growth < GROWTH_KIB_MAX, "{name}: memory grew by {growth} KiB, seed {seed}");
}

struct Trial<'a> {
    name: &'a str,
    seed: u64,
    target: fn(&[u8]) -> u64,
    seen: HashSet<u64>,
    corpus: Vec<Vec<u8>>,
    watch: &'a Watch,
    runs: u64,
}

impl Trial<'_> {
    fn seed_with(&mut self, input: &[u8]) {
        self.run(input);
        if !self.corpus.iter().any(|known| known == input) {
            self.corpus.push(input.to_vec());
        }
    }

    fn run(&mut self, input: &[u8]) {
        self.runs += 1;
        if input.len() >= NOTED_BYTES_MIN {
            let _ = fs::write(note_path(self.name, "last"), input);
        }
        self.watch.enter(input);
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target)(input)));
        self.watch.leave();
        match outcome {
            Ok(signature) => {
                if self.seen.insert(signature) && self.corpus.len() < CORPUS_MAX && input.len() <= KEPT_BYTES_MAX {
                    self.corpus.push(input.to_vec());
                }
            }
            Err(panic) => {
                report(self.name, self.seed, "failed", input);
                resume_unwind(panic);
            }
        }
    }
}

/// Ends the process when one input takes too long.
struct Watch {
    origin: Instant,
    /// Milliseconds after `origin`, and 1 more, at which the present input began; 0 between inputs.
    since: Arc<AtomicU64>,
    input: Arc<Mutex<Vec<u8>>>,
    stopped: Arc<AtomicBool>,
}

impl Watch {
    fn start(name: &str, seed: u64) -> Self {
        let watch = Self { origin: Instant::now(), since: Arc::default(), input: Arc::default(), stopped: Arc::default() };
        let (origin, since, input, stopped) =
            (watch.origin, Arc::clone(&watch.since), Arc::clone(&watch.input), Arc::clone(&watch.stopped));
        let name = name.to_owned();
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let began = since.load(Ordering::Acquire);
                if began != 0 && origin.elapsed() > Duration::from_millis(began) + INPUT_TIME_MAX {
                    report(&name, seed, "hung", &input.lock().expect("the target holds no lock"));
                    std::process::exit(101);
                }
            }
        });
        watch
    }

    fn enter(&self, input: &[u8]) {
        let mut present = self.input.lock().expect("the watch does not panic");
        present.clear();
        present.extend_from_slice(input);
        drop(present);
        self.since.store(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX) + 1, Ordering::Release);
    }

    fn leave(&self) {
        self.since.store(0, Ordering::Release);
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn report(name: &str, seed: u64, what: &str, input: &[u8]) {
    let path = note_path(name, what);
    let _ = fs::write(&path, input);
    let shown = &input[..input.len().min(2000)];
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{name} {what}, seed {seed}, {} bytes, written to {}:\n{}", input.len(), path.display(), shown.escape_ascii());
}

fn note_path(name: &str, what: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let _ = fs::create_dir_all(&folder);
    folder.join(format!("{name}.{what}"))
}

fn regressions(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a regression can be read")).collect()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The process's resident memory; 0 where there is no /proc.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
