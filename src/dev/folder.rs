//! The cluster's folder: where things lie in it, and whether it may be used.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::dev::DevError;
use crate::dev::account::Account;
use crate::dev::record::Record;

/// A cluster's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if it is missing, and opens it.
    ///
    /// # Errors
    /// When it holds something else, cannot be made, or the servers' account could not enter it.
    pub fn create(path: &Path) -> Result<Self, DevError> {
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(DevError::file("cannot make the folder", path))?;
        }
        let folder = Self::resolve(path)?;
        if !folder.record_path().exists() && !folder.is_empty()? {
            return Err(DevError::Refused(format!(
                "{} is not empty and not a cluster of shardyard: choose another --dir, or remove it yourself",
                folder.path.display()
            )));
        }
        std::fs::set_permissions(&folder.path, Permissions::from_mode(0o755))
            .map_err(DevError::file("cannot open to the servers' account the folder", &folder.path))?;
        Ok(folder)
    }

    /// Opens a folder that holds a cluster.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self, DevError> {
        let none = || DevError::Refused(format!("{} holds no cluster: make one with \"shardyard dev up --dir {0}\"", path.display()));
        if !path.is_dir() {
            return Err(none());
        }
        let folder = Self::resolve(path)?;
        if folder.record_path().exists() { Ok(folder) } else { Err(none()) }
    }

    fn resolve(path: &Path) -> Result<Self, DevError> {
        Ok(Self { path: path.canonicalize().map_err(DevError::file("cannot find", path))? })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("shard-config")
    }

    #[must_use]
    pub fn proxy_pid(&self) -> PathBuf {
        self.path.join("proxy.pid")
    }

    #[must_use]
    pub fn proxy_log(&self) -> PathBuf {
        self.path.join("proxy.log")
    }

    #[must_use]
    pub fn worker_pid(&self) -> PathBuf {
        self.path.join("worker.pid")
    }

    #[must_use]
    pub fn worker_log(&self) -> PathBuf {
        self.path.join("worker.log")
    }

    /// One server's folder: `data`, `log`.
    #[must_use]
    pub fn server(&self, name: &str) -> PathBuf {
        self.servers().join(name)
    }

    #[must_use]
    pub fn servers(&self) -> PathBuf {
        self.path.join("servers")
    }

    /// Where servers put their unix sockets; `None` when the path would be longer than the 107 bytes that a socket's may have.
    #[must_use]
    pub fn sockets(&self) -> Option<PathBuf> {
        let sockets = self.path.join("sockets");
        let longest = sockets.join(".s.PGSQL.65535");
        (longest.as_os_str().len() <= 107).then_some(sockets)
    }

    /// Makes the folders that the servers' account writes to.
    ///
    /// # Errors
    /// When the file system refuses, or the account could not reach them.
    pub async fn prepare(&self, account: &Account) -> Result<(), DevError> {
        for path in [Some(self.servers()), self.sockets()].into_iter().flatten() {
            make_owned(&path, 0o755, account)?;
        }
        let reached = account.command(Path::new("/bin/ls")).arg(self.servers()).output().await;
        if reached.is_ok_and(|output| output.status.success()) {
            return Ok(());
        }
        Err(DevError::Refused(format!(
            "the servers run as {}, who cannot enter {}: choose a --dir whose parents are open to others (chmod o+x)",
            account.name,
            self.path.display()
        )))
    }

    /// Held while a cluster is being made, started or stopped.
    ///
    /// # Errors
    /// When another command holds it.
    pub fn lock(&self) -> Result<Flock<File>, DevError> {
        let path = self.path.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(DevError::file("cannot open", &path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| DevError::Refused(format!("another \"shardyard dev\" command is at work in {}", self.path.display())))
    }

    #[must_use]
    pub fn record_path(&self) -> PathBuf {
        self.path.join("cluster.json")
    }

    /// The cluster's record.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub fn record(&self) -> Result<Record, DevError> {
        let path = self.record_path();
        Record::read(&path)?.ok_or_else(|| DevError::Record { path: path.display().to_string(), reason: "it is missing".to_owned() })
    }

    /// Writes the record in one step: it is the old one or the new one, never half of one.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_record(&self, record: &Record) -> Result<(), DevError> {
        let path = self.record_path();
        let reason = |error: serde_json::Error| DevError::Record { path: path.display().to_string(), reason: error.to_string() };
        let text = serde_json::to_string_pretty(record).map_err(reason)?;
        let fresh = self.path.join("cluster.json.new");
        write_secret(&fresh, &text)?;
        std::fs::rename(&fresh, &path).map_err(DevError::file("cannot replace", &path))
    }

    /// Removes what a cluster consists of, and nothing else.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn clear(&self) -> Result<(), DevError> {
        for name in ["servers", "sockets", "shard-config"] {
            let path = self.path.join(name);
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(DevError::file("cannot remove", &path))?;
            }
        }
        for name in ["proxy.pid", "proxy.log", "worker.pid", "worker.log", "cluster.json.new", "cluster.json"] {
            match std::fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DevError::file("cannot remove", &self.path.join(name))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> Result<bool, DevError> {
        let mut entries = std::fs::read_dir(&self.path).map_err(DevError::file("cannot read the folder", &self.path))?;
        Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock")))
    }
}

/// Makes a folder with this mode for the account; one that is there is kept.
///
/// # Errors
/// When the file system refuses.
pub fn make_owned(path: &Path, mode: u32, account: &Account) -> Result<(), DevError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(DevError::file("cannot make the folder", path))?;
    account.own(path)
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When the file system refuses.
pub fn write_secret(path: &Path, text: &str) -> Result<(), DevError> {
    let _ = std::fs::remove_file(path);
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(DevError::file("cannot write", path))
}
