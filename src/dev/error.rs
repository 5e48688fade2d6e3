//! Why a local cluster could not be made, started or stopped.

use std::path::Path;

use crate::catalog::migrate::MigrateError;
use crate::catalog::{ConnectError, StoreError};

/// Why a local cluster could not be made, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The operator must change something first; the text says what.
    #[error("{0}")]
    Refused(String),
    #[error("{action} {path}")]
    File { action: &'static str, path: String, source: std::io::Error },
    #[error("cannot run {program}")]
    Spawn { program: String, source: std::io::Error },
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error("{0}")]
    Proxy(String),
    #[error("{action} failed")]
    Sql { action: &'static str, source: tokio_postgres::Error },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Catalog(#[from] StoreError),
    #[error("the cluster's record {path} cannot be read: {reason}")]
    Record { path: String, reason: String },
    #[error("a part of the work panicked")]
    Panicked,
}

impl DevError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn sql(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { action, source }
    }
}
