//! File descriptors: as many as the system lets this process have.
//!
//! The usual soft limit (1,024) is made for programs that call select(2); the hard one is what an administrator has decided.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything but connections: files, listeners, the runtimes.
const OTHERS: u64 = 64;

/// Raises the limit as far as that is allowed, and says so when it is too low for that many connections of clients, each with
/// one to a server.
pub(super) fn raise(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let wanted = (max_connections as u64).saturating_mul(2).saturating_add(OTHERS);
    if let Some(descriptors) = current.filter(|current| *current < wanted) {
        tracing::warn!(descriptors, wanted, "too few file descriptors for server.limits.max_connections");
    }
}
