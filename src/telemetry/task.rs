//! Tasks with names. A task that panics is told; the process goes on.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Starts a task on the current runtime.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn_on(&Handle::current(), name, future)
}

/// Starts a task on `runtime`.
pub fn spawn_on<F>(runtime: &Handle, name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the one place where tasks are made")]
    runtime.spawn(async move {
        let guard = Named(name);
        future.await;
        std::mem::forget(guard);
    })
}

/// Dropped while panicking, it says whose task it was. Dropped at shutdown it says nothing.
struct Named(&'static str);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "task panicked");
        }
    }
}
