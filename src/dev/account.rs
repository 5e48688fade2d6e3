//! The operating-system account that servers run under: PostgreSQL refuses to run as root.

use std::path::Path;

use nix::unistd::{Gid, Uid, User, chown};
use tokio::process::Command;

use crate::dev::DevError;

/// Whose processes the servers are.
#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    /// `None`: as ourselves.
    ids: Option<(u32, u32)>,
}

impl Account {
    /// Ourselves; for root `postgres` if it exists, else `nobody`.
    ///
    /// # Errors
    /// When we are root and neither account exists.
    pub fn for_servers() -> Result<Self, DevError> {
        if !Uid::effective().is_root() {
            let name = User::from_uid(Uid::effective()).ok().flatten().map_or_else(|| "the current user".to_owned(), |user| user.name);
            return Ok(Self { name, ids: None });
        }
        let found = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = found.ok_or_else(|| {
            DevError::Refused(
                "PostgreSQL does not run as root, and there is no account postgres or nobody: run this as another user".to_owned(),
            )
        })?;
        Ok(Self { name: user.name, ids: Some((user.uid.as_raw(), user.gid.as_raw())) })
    }

    /// A command that runs under this account, without input. Root's supplementary groups are dropped.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(std::process::Stdio::null()).current_dir("/");
        // Ctrl-C is for us: we stop them in order.
        command.process_group(0);
        // Messages are read by the next line of code, and by people who search for them.
        command.env("LC_MESSAGES", "C").env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST").env_remove("PGSERVICE");
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid).env("HOME", "/nonexistent").env("USER", &self.name);
        }
        command
    }

    /// Gives a file or folder to this account.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn own(&self, path: &Path) -> Result<(), DevError> {
        let Some((uid, gid)) = self.ids else { return Ok(()) };
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|errno| DevError::file("cannot change the owner of", path)(errno.into()))
    }
}
