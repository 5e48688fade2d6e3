//! Places at which a test stops a statement, to kill what it will: only in debug builds, only where `SHARDYARD_FAULT_DIR` is set.

/// Waits here if the folder has a file with this place's name and number. Renames it to `….reached`, and goes on when that is gone.
#[cfg(debug_assertions)]
pub(crate) async fn point(name: &str, number: usize) {
    const POLL: std::time::Duration = std::time::Duration::from_millis(2);
    let Some(folder) = std::env::var_os("SHARDYARD_FAULT_DIR") else { return };
    let file = |ending: &str| std::path::Path::new(&folder).join(format!("{name}-{number}{ending}"));
    let (armed, reached) = (file(""), file(".reached"));
    if std::fs::rename(&armed, &reached).is_ok() {
        while reached.exists() {
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(not(debug_assertions))]
#[expect(clippy::unused_async, reason = "the same as in debug builds")]
pub(crate) async fn point(_name: &str, _number: usize) {}
