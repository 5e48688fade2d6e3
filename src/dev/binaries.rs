//! Finds PostgreSQL's programs: on PATH, or where Debian, Red Hat and Homebrew put them.

use std::path::{Path, PathBuf};

use crate::dev::DevError;

/// The programs a cluster is made of.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub initdb: PathBuf,
    pub pg_ctl: PathBuf,
    pub pg_basebackup: PathBuf,
}

impl Binaries {
    /// Looks in `SHARDYARD_PG_BIN`, then on PATH, then in the usual folders, the newest version first.
    ///
    /// # Errors
    /// When a program is found nowhere.
    pub fn find() -> Result<Self, DevError> {
        let folders = folders();
        let find = |name: &str| {
            let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
            found.ok_or_else(|| {
                DevError::Refused(format!(
                    "{name} is not installed: install PostgreSQL 15 or newer with its server programs (Debian: postgresql), or set SHARDYARD_PG_BIN to their folder"
                ))
            })
        };
        Ok(Self { initdb: find("initdb")?, pg_ctl: find("pg_ctl")?, pg_basebackup: find("pg_basebackup")? })
    }
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("SHARDYARD_PG_BIN").map(PathBuf::from).into_iter().collect();
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    folders.extend(versions(Path::new("/usr/lib/postgresql"), "bin"));
    folders
        .extend(["/usr/pgsql-17/bin", "/usr/pgsql-16/bin", "/usr/pgsql-15/bin", "/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from));
    folders
}

/// `base/VERSION/leaf`, the newest first.
fn versions(base: &Path, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    let mut versions: Vec<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable();
    versions.iter().rev().map(|version| base.join(version.to_string()).join(leaf)).collect()
}
