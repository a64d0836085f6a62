//! What the themes share: a gateway in a directory of its own, a client that sends exact bytes, upstreams that
//! record exact bytes. Nothing here knows what is right; the themes say that.

pub mod admin;
pub mod answers;
pub mod asked;
pub mod base64;
pub mod broad_upstream;
pub mod browser;
pub mod client;
pub mod config;
pub mod corpus;
pub mod exchange;
pub mod healthy;
pub mod held;
pub mod leaks;
pub mod load;
pub mod namespaces;
pub mod node;
pub mod page;
pub mod real_upstream;
pub mod request;
pub mod saw;
pub mod scripted;
pub mod siege;
pub mod site;
pub mod sockets;
pub mod swarm;
pub mod tools;
pub mod upstream;
pub mod wire;

pub use admin::Plane;
pub use broad_upstream::BroadUpstream;
pub use browser::Browser;
pub use client::Client;
pub use config::Config;
pub use node::{Gateway, Node};
pub use page::Page;
pub use request::{Request, request};
pub use site::{Key, Site};
pub use upstream::Upstream;
pub use wire::Response;

use std::time::{Duration, Instant};

/// How long anything may take before the test gives up on it. A guard, never a measure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many rounds: `long` with `KEYGATE_TEST_LONG=1`, else `short`.
pub fn count<T>(short: T, long: T) -> T {
    if std::env::var_os("KEYGATE_TEST_LONG").is_some_and(|v| v == "1") { long } else { short }
}

/// Looks every 5 ms until the condition holds; fails, naming it, when [`PATIENCE`] is at its end.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for_some(what, || holds().then_some(()));
}

/// The same, when so long a time is at its end; looks only ten times a second, where looking would be felt by who is timed.
pub fn wait_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    look_for(patience, Duration::from_millis(100), what, || holds().then_some(()));
}

/// Looks every 5 ms until there is a value.
pub fn wait_for_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(PATIENCE, Duration::from_millis(5), what, look)
}

fn look_for<T>(patience: Duration, pause: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for: {what}");
        std::thread::sleep(pause);
    }
}
