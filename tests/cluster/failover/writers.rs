//! Clients that each write numbered rows over both shards, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::resharding::stage::lock;
use crate::shardyard::Cluster;

const WRITERS: usize = 4;
const USERS: u64 = 40;

pub(crate) struct Writers<'a> {
    cluster: &'a Cluster,
    stop: AtomicBool,
    /// Acknowledged, by writer.
    acknowledged: [Mutex<Vec<u64>>; WRITERS],
    tried: AtomicUsize,
    errors: Mutex<BTreeMap<String, usize>>,
}

impl<'a> Writers<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Result<Self> {
        cluster.connect()?.query("create table followed (user_id bigint, client int, number bigint)")?;
        let (stop, tried) = (AtomicBool::new(false), AtomicUsize::new(0));
        Ok(Self { cluster, stop, acknowledged: Default::default(), tried, errors: Mutex::default() })
    }

    pub(crate) fn run<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|client| scope.spawn(move || self.write(client))).collect();
            let acted = act();
            self.stop.store(true, Ordering::Relaxed);
            writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| bail!("a writer panicked")))?;
            acted
        })
    }

    /// Until each has written every user's row from now on; how long that took.
    pub(crate) fn wait_for_all(&self) -> Result<Duration> {
        let began = Instant::now();
        let counts = || self.acknowledged.iter().map(|numbers| lock(numbers).len()).collect::<Vec<_>>();
        let before = counts();
        let users = usize::try_from(USERS)?;
        while counts().iter().zip(&before).any(|(now, before)| *now < before + users) {
            ensure!(began.elapsed() < Duration::from_secs(20), "writes do not go on: {:?}", lock(&self.errors));
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(began.elapsed())
    }

    fn write(&self, client: usize) -> Result<()> {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // A proxy is always there.
            let mut connection = self.cluster.connect()?;
            loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                number += 1;
                self.tried.fetch_add(1, Ordering::Relaxed);
                let user = number % USERS + 1;
                // One of them over both shards.
                let sql = match number % 8 {
                    0 => format!(
                        "begin; insert into followed values ({user}, {client}, {number}); insert into followed values ({}, {client}, -{number}); commit",
                        user + 1
                    ),
                    _ => format!("insert into followed values ({user}, {client}, {number})"),
                };
                match connection.query(&sql) {
                    Ok(_) => lock(&self.acknowledged[client]).push(number),
                    Err(error) => {
                        *lock(&self.errors).entry(format!("{:#}", error.root_cause())).or_default() += 1;
                        break;
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Every acknowledged row is there once, every other once or not at all, and halves come together.
    pub(crate) fn check(&self) -> Result<String> {
        // Commits in doubt are decided within some seconds.
        let mut there: BTreeMap<(usize, i64), usize> = BTreeMap::new();
        for row in self.cluster.connect()?.query("select client, number from followed")? {
            let [Some(client), Some(number)] = row.as_slice() else { bail!("a row of another form") };
            *there.entry((client.parse()?, number.parse()?)).or_default() += 1;
        }
        let mut acknowledged = 0;
        for (client, numbers) in self.acknowledged.iter().enumerate() {
            for number in lock(numbers).iter() {
                acknowledged += 1;
                let number = i64::try_from(*number)?;
                ensure!(there.contains_key(&(client, number)), "acknowledged row {number} of writer {client} is lost");
                let half = number % 8 != 0 || there.contains_key(&(client, -number));
                ensure!(half, "half of the acknowledged rows {number} of writer {client} are lost");
            }
        }
        if let Some((row, count)) = there.iter().find(|(_, count)| **count != 1) {
            bail!("row {row:?} is there {count} times");
        }
        Ok(format!("{acknowledged} of {} writes acknowledged, errors {:?}", self.tried.load(Ordering::Relaxed), lock(&self.errors)))
    }
}
