//! The program's own log: JSON on standard error, one object an event, what the `log` crate's users say included.
//!
//! Libraries that see requests are held to a level at which they print no bytes of them, whatever level is
//! configured: pingora prints headers at `debug` and `trace`, sqlx statements, the others frames and heads. Never
//! here: the access log. Called once, by `app`.

use std::io;

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

/// Beginnings of targets, and the most that they may say.
const CLAMPED: &[(&str, LevelFilter)] = &[
    ("pingora", LevelFilter::INFO),
    ("sqlx", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
];

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProgramLogError {
    /// Something else has set up a log in this process before.
    #[error("the program log could not be set up: {0}")]
    Taken(#[from] TryInitError),
}

/// Sends everything of `level` and more severe to standard error, from now on and for the whole process.
///
/// # Errors
/// There is a log already.
pub fn init(level: Level) -> Result<(), ProgramLogError> {
    subscriber(level, io::stderr).try_init()?;
    Ok(())
}

fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    Registry::default().with(filter(level)).with(json(writer))
}

fn filter(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    // Of levels, the greater one says more.
    Targets::new().with_default(level).with_targets(CLAMPED.iter().map(|(target, most)| (*target, level.min(*most))))
}

fn json<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        // Otherwise a standard error that is closed becomes a panic of whoever logs.
        .log_internal_errors(false)
        .with_writer(writer)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Level, say: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), say);
        let Kept(written) = kept;
        let written = written.lock().unwrap();
        written.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    }

    fn targets(events: &[Value]) -> Vec<&str> {
        events.iter().map(|e| e["target"].as_str().unwrap()).collect()
    }

    #[test]
    fn events_are_flat_objects() {
        let events = logged(Level::INFO, || {
            tracing::info!(target: "keygate::x", revision = 7, "applied \"it\"\u{1b}[31m\n");
            tracing::debug!("not this");
        });
        let [event] = &events[..] else { panic!("{events:?}") };
        assert_eq!(event["level"], "INFO");
        assert_eq!(event["target"], "keygate::x");
        assert_eq!(event["revision"], 7);
        assert_eq!(event["message"], "applied \"it\"\u{1b}[31m\n");
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn libraries_that_see_requests_are_held_back() {
        let say = || {
            tracing::trace!(target: "pingora_core::protocols", "headers");
            tracing::debug!(target: "pingora_proxy", "headers");
            tracing::info!(target: "pingora_core", "started");
            tracing::info!(target: "sqlx::query", "statement");
            tracing::warn!(target: "sqlx_core::pool", "slow");
            tracing::info!(target: "h2::proto", "frame");
            tracing::info!(target: "hyper_util::server", "head");
            tracing::info!(target: "rustls::client", "hello");
            tracing::trace!(target: "keygate::proxy", "ours");
        };
        assert_eq!(targets(&logged(Level::TRACE, say)), ["pingora_core", "sqlx_core::pool", "keygate::proxy"]);
        assert_eq!(targets(&logged(Level::WARN, say)), ["sqlx_core::pool"]);
        assert!(logged(Level::ERROR, say).is_empty());
    }
}
