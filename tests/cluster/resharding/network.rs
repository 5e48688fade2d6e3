//! The lines from the processes to the servers, each of which can be cut: silently, so that what is sent arrives when it is whole again,
//! or with every connection's end.
//!
//! Every process has a folder of its own to live in, with a unix socket for each server; the catalog names the servers as sockets of the
//! folder in which whoever reads it lives. So all use one catalog, and each its own lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::resharding::stage::lock;

/// The folder in which the process that opens it lives; and the same in a URL.
pub(crate) const HERE: &str = "/proc/self/cwd";
pub(crate) const HERE_IN_URL: &str = "%2Fproc%2Fself%2Fcwd";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Process {
    Proxy(usize),
    Worker,
    /// Who types commands.
    Operator,
}

const PROCESSES: [Process; 4] = [Process::Proxy(0), Process::Proxy(1), Process::Worker, Process::Operator];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    /// Nothing passes, and nobody is told.
    Silent,
    /// Connections end, and no new one is made.
    Closed,
}

pub(crate) struct Network {
    runtime: Runtime,
    folder: PathBuf,
    /// By process and server's port.
    lines: Mutex<BTreeMap<(Process, u16), watch::Sender<Passage>>>,
}

impl Network {
    /// Below `folder`, without lines.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let network = Self { runtime, folder: folder.to_owned(), lines: Mutex::default() };
        for process in PROCESSES {
            std::fs::create_dir_all(network.folder(process))?;
        }
        Ok(network)
    }

    /// Where the process lives.
    pub(crate) fn folder(&self, process: Process) -> PathBuf {
        self.folder.join(match process {
            Process::Proxy(at) => format!("proxy{at}"),
            Process::Worker => "worker".to_owned(),
            Process::Operator => "operator".to_owned(),
        })
    }

    /// A line from every process to the server on this port.
    pub(crate) fn lay(&self, port: u16) -> Result<()> {
        let _inside = self.runtime.enter();
        for process in PROCESSES {
            let socket = self.folder(process).join(format!(".s.PGSQL.{port}"));
            let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
            let (sender, passage) = watch::channel(Passage::Open);
            lock(&self.lines).insert((process, port), sender);
            self.runtime.spawn(accept(listener, port, passage));
        }
        Ok(())
    }

    /// Cuts the process off from these servers until the answer is dropped.
    pub(crate) fn cut(&self, process: Process, ports: &[u16], passage: Passage) -> Cut<'_> {
        let cut = Cut { network: self, process, ports: ports.to_vec() };
        cut.set(passage);
        cut
    }
}

/// A process that is cut off; dropping mends the lines.
pub(crate) struct Cut<'a> {
    network: &'a Network,
    process: Process,
    ports: Vec<u16>,
}

impl Cut<'_> {
    fn set(&self, passage: Passage) {
        let lines = lock(&self.network.lines);
        for line in self.ports.iter().filter_map(|port| lines.get(&(self.process, *port))) {
            line.send_replace(passage);
        }
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.set(Passage::Open);
    }
}

async fn accept(listener: UnixListener, port: u16, passage: watch::Receiver<Passage>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => drop(connections.spawn(relay(near, port, passage.clone()))),
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, to its end or the line's.
async fn relay(near: UnixStream, port: u16, mut passage: watch::Receiver<Passage>) {
    let closed = passage.clone();
    let carry = async {
        passes(&mut passage).await;
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let _ = far.set_nodelay(true);
        let (near_reader, near_writer) = near.into_split();
        let (far_reader, far_writer) = far.into_split();
        tokio::join!(pump(near_reader, far_writer, passage.clone()), pump(far_reader, near_writer, passage.clone()));
    };
    tokio::select! {
        () = carry => {}
        () = is_closed(closed) => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut passage: watch::Receiver<Passage>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // Also a connection's end takes its time to arrive.
        passes(&mut passage).await;
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn passes(passage: &mut watch::Receiver<Passage>) {
    // The network's end is the end of all.
    let _ = passage.wait_for(|passage| *passage != Passage::Silent).await;
}

async fn is_closed(mut passage: watch::Receiver<Passage>) {
    let _ = passage.wait_for(|passage| *passage == Passage::Closed).await;
}
