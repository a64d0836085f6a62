//! The id of the request that is being answered: in `X-Request-Id`, in problem documents and in the log.
//!
//! Kept with the task that answers, so that whatever refuses a request needs not be handed it.

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that this task answers; empty elsewhere.
#[must_use]
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Does `work` as part of the request with this id.
pub async fn within<T>(id: String, work: impl Future<Output = T>) -> T {
    CURRENT.scope(id, work).await
}
