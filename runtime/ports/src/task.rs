//! Tasks that belong to someone.

use std::future::Future;

use tokio_util::task::AbortOnDropHandle;

/// A task that ends when its owner drops it.
pub type Task<T = ()> = AbortOnDropHandle<T>;

/// Starts a task owned by whoever keeps the handle. The only place that spawns one (a `JoinSet` aside).
#[expect(
    clippy::disallowed_methods,
    reason = "this is the owned form that the ban points to"
)]
pub fn own<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(future))
}
