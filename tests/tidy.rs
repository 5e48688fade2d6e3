//! The walls of the house: what `cargo test` refuses in the source, and how to mend it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file has one subject; longer ones have two.
const LINES_MAX: usize = 500;

/// What the pure layers may not name: the outside world, in any of its forms.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_postgres",
    "deadpool_postgres",
    "tokio_rustls",
    "socket2",
    "nix",
    "rand",
    "rustls",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
];

/// In two pieces, so that this file does not find itself.
const SUPER: &str = concat!("super", "::");

/// `lib.rs`'s comment that opens the pure layers.
const CORE: &str = "// Core";

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// The layers of `lib.rs` from top to bottom.
struct Layers {
    names: Vec<String>,
    core: BTreeSet<String>,
}

impl Layers {
    fn read(lib: &str) -> Self {
        let (mut names, mut core, mut in_core) = (Vec::new(), BTreeSet::new(), false);
        for line in lib.lines() {
            in_core |= line.starts_with(CORE);
            if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
                names.push(name.to_owned());
                if in_core {
                    core.insert(name.to_owned());
                }
            }
        }
        Self { names, core }
    }

    fn rank(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }
}

/// All faults of one file. `path` is relative to the package, with slashes.
fn faults(layers: &Layers, path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |line: usize, text: String| faults.push(Fault { file: path.to_owned(), line, text });
    if !text.starts_with("//!") {
        add(1, "open the file with a \"//!\" sentence that says what it is for".to_owned());
    }
    let count = text.lines().count();
    if count > LINES_MAX {
        add(LINES_MAX + 1, format!("{count} lines, {LINES_MAX} are the most: cut it by subject, tests into a file of their own"));
    }
    let layer = path.strip_prefix("src/").and_then(|path| path.split_once('/')).map(|(layer, _)| layer);
    let tests = path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/");
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let number = index + 1;
        if word(code, SUPER) && !code.contains("pub(super)") {
            add(number, "write the path from crate:: instead of the parent's".to_owned());
        }
        let glob = code.trim_start().trim_start_matches("pub ").starts_with("use ") && code.contains("::*");
        if glob {
            add(number, "name what you import instead of ::*".to_owned());
        }
        let Some(layer) = layer else { continue };
        let reexport = code.trim_start().starts_with("pub use crate::") && !path.ends_with("/mod.rs");
        if reexport {
            add(number, "re-export only from the layer's mod.rs".to_owned());
        }
        if !tests {
            for used in crate_paths(code) {
                let upward = layers.rank(&used).zip(layers.rank(layer)).is_some_and(|(used, own)| used < own);
                if upward {
                    add(
                        number,
                        format!(
                            "{layer} may not use {used}, which is above it in src/lib.rs: move what is shared down, or hand it in as an argument"
                        ),
                    );
                }
            }
            if layers.core.contains(layer) {
                for impure in IMPURE.iter().filter(|impure| names(code, impure)) {
                    add(number, format!("{layer} is pure and may not name {impure}: decide here, act in a layer above"));
                }
            }
        }
    }
    faults
}

/// The first parts of the paths `crate::…` in a line; `use crate::{a::…, b}` too.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => paths.extend(top_level(list)),
            None => paths.push(identifier(rest)),
        }
    }
    paths
}

/// The first identifier of each entry of `a::{b, c}, d}`.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut entries) = (0_u32, true, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            ' ' => {}
            _ if start && depth == 0 => {
                entries.push(identifier(&list[at..]));
                start = false;
            }
            _ => {}
        }
    }
    entries
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Whether `needle` begins at a word's beginning somewhere in the code.
fn word(code: &str, needle: &str) -> bool {
    code.match_indices(needle).any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}

/// As [`word`], and ends at a word's end: `rand` is not `random`.
fn names(code: &str, needle: &str) -> bool {
    code.match_indices(needle).any(|(at, found)| {
        let inside = |character: char| character.is_alphanumeric() || character == '_';
        let path = needle.contains("::") || code[at + found.len()..].starts_with("::") || code[at + found.len()..].starts_with(';');
        path && !code[..at].ends_with(|before: char| inside(before) || before == ':') && !code[at + found.len()..].starts_with(inside)
    })
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_house_is_tidy() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let layers = Layers::read(&std::fs::read_to_string(package.join("src/lib.rs")).expect("src/lib.rs"));
    let mut files = Vec::new();
    ["src", "tests", "benches"].iter().for_each(|folder| sources(&package.join(folder), &mut files));
    assert!(files.len() > 30, "the source was not found");
    files.sort();
    let mut found = Vec::new();
    for file in &files {
        let shown = file.strip_prefix(package).expect("inside").display().to_string();
        found.extend(faults(&layers, &shown, &std::fs::read_to_string(file).expect("readable")));
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} faults:\n{}", lines.len(), lines.join("\n"));
}

const LIB: &str = "pub mod cli;\npub mod session;\npub mod backend;\n// Core: pure.\npub mod routing;\npub mod wire;\n";

/// `expected`: line and a piece of the message of each fault, in order.
fn check(path: &str, text: &str, expected: &[(usize, &str)]) {
    let found = faults(&Layers::read(LIB), path, text);
    let agree = found.len() == expected.len()
        && found.iter().zip(expected).all(|(fault, (line, piece))| fault.line == *line && fault.text.contains(piece));
    assert!(agree, "{path}: {text:?} gave {found:?}, expected {expected:?}");
}

#[test]
fn good_samples_pass() {
    check("src/session/query.rs", "//! Q.\nuse crate::backend::Pool;\nuse crate::routing::{Route, plan::Plan};\n", &[]);
    check("src/routing/route.rs", "//! R.\npub(super) fn random() {} // tokio::spawn\n", &[]);
    check("src/routing/tests.rs", "//! T.\nuse crate::session::Session;\n", &[]);
    check("src/main.rs", "//! M.\n", &[]);
    check("src/wire/copy.rs", "//! C.\nuse crate::wire::{Frame};\nlet operand = 1; let brand::x;\n", &[]);
}

#[test]
fn bad_samples_fail() {
    check("src/backend/pool.rs", "//! P.\nuse crate::session::Session;\n", &[(2, "backend may not use session")]);
    check("src/routing/plan.rs", "//! P.\nuse crate::{wire::Frame, backend::{Pool, Lease}, cli};\n", &[(2, "use backend"), (2, "use cli")]);
    check("src/wire/frame.rs", "//! F.\nlet x = crate::routing::Route::Any;\n", &[(2, "wire may not use routing")]);
    check("src/wire/frame.rs", "//! F.\nuse tokio::net::TcpStream;\n", &[(2, "may not name tokio")]);
    check("src/wire/frame.rs", "//! F.\nlet now = std::time::Instant::now();\n", &[(2, "std::time::Instant")]);
    check("src/routing/plan.rs", "//! F.\nlet x = rand::rng();\n", &[(2, "may not name rand")]);
    check("src/cli/mod.rs", "use crate::backend::*;\n", &[(1, "//!"), (1, "::*")]);
    check("src/cli/mod.rs", &format!("//! C.\npub use {SUPER}x::Y;\n"), &[(2, "parent's")]);
    check("tests/other.rs", &format!("//! T.\n{}", "\n".repeat(600)), &[(501, "601 lines")]);
}
