//! Places at which a test stops or kills the worker, and what a test may leave out to see that it is needed. Debug builds only.

/// Every place, in the order in which a move passes them.
pub const POINTS: &[&str] = &[
    "lease.taken",
    "prepare.before",
    "prepare.schema",
    "prepare.references",
    "prepare.after",
    "wave.planned",
    "arming.proxies",
    "arming.objects",
    "arming.guards",
    "arming.after",
    "copy.target-commits",
    "copy.after",
    "pass.target-commits",
    "pass.source-commits",
    "catching-up.after",
    "verify.after",
    "fence.published",
    "fence.locked",
    "fence.closed",
    "fence.passed",
    "flip.before",
    "flip.after",
    "release.acknowledged",
    "release.opened",
    "release.after",
    "clean.before",
    "clean.deleted",
    "clean.after",
    "end.objects",
    "end.after",
];

/// What may be left out: the negative controls.
pub const OMISSIONS: &[&str] = &["hard-fence", "last-pass", "acknowledgement", "proxy-fence", "token"];

/// Waits here if a file `worker-NAME-0` is in the folder of faults: see `execute::fault`.
pub(crate) async fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    #[cfg(debug_assertions)]
    crate::execute::fault::point(&format!("worker-{name}"), 0).await;
}

/// Whether a test wants this left out: a file `omit-NAME` is in the folder of faults.
#[cfg(debug_assertions)]
pub(crate) fn omits(name: &'static str) -> bool {
    debug_assert!(OMISSIONS.contains(&name), "{name} is not listed");
    std::env::var_os("SHARDYARD_FAULT_DIR").is_some_and(|folder| std::path::Path::new(&folder).join(format!("omit-{name}")).exists())
}

#[cfg(not(debug_assertions))]
pub(crate) fn omits(_name: &'static str) -> bool {
    false
}
