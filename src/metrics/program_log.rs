//! The program's own log: JSON on standard error, one object an event, what the `log` crate's users say included.
//!
//! Libraries that see requests are held to a level at which they print no bytes of them, whatever level is
//! configured: pingora prints headers at `debug` and `trace`, sqlx statements, the others frames and heads. Never
//! here: the access log. Called once, by `app`.

use std::fmt as text;
use std::io;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

/// Beginnings of targets, and the most that they may say.
const CLAMPED: &[(&str, LevelFilter)] = &[
    ("pingora", LevelFilter::INFO),
    // Says at ERROR that a pooled connection has ended, which is how every one of them ends. What a request fails of
    // reaches the access log and the metrics.
    ("pingora_core::connectors", LevelFilter::OFF),
    // Says that it starts and stops, which `app` says itself.
    ("pingora_core::services", LevelFilter::WARN),
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
        .event_format(Object)
        // Otherwise a standard error that is closed becomes a panic of whoever logs.
        .log_internal_errors(false)
        .with_writer(writer)
}

/// An event as one JSON object in one line: `timestamp`, `level`, the event's own fields, `target`.
struct Object;

impl<S, N> FormatEvent<S, N> for Object
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> text::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), timestamp.into());
        object.insert("level".to_owned(), meta.level().as_str().into());
        for (name, value) in fields.own {
            object.entry(name).or_insert(value);
        }
        object.insert("target".to_owned(), fields.target.unwrap_or_else(|| meta.target().to_owned()).into());
        writeln!(writer, "{}", Value::Object(object))
    }
}

/// The fields of an event. What the `log` crate's users say comes with fields of the bridge, `log.…`: of those the
/// target is the event's, and the others name files of the machine that built this program.
#[derive(Default)]
struct Fields {
    own: Map<String, Value>,
    target: Option<String>,
}

impl Fields {
    fn keep(&mut self, field: &Field, value: impl Into<Value>) {
        match field.name() {
            "log.target" => self.target = value.into().as_str().map(str::to_owned),
            bridge if bridge.starts_with("log.") => {}
            own => {
                self.own.insert(own.to_owned(), value.into());
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn text::Debug) {
        self.keep(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn events(&self) -> Vec<Value> {
            let written = self.0.lock().unwrap();
            let lines = written.split(|b| *b == b'\n').filter(|l| !l.is_empty());
            lines.map(|l| serde_json::from_slice(l).unwrap()).collect()
        }
    }

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
        kept.events()
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
            tracing::error!(target: "pingora_core::connectors", "failed to acquire reusable stream");
            tracing::info!(target: "pingora_core::services::background", "starting");
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

    #[test]
    fn bridged_records_have_their_own_target_and_no_place_of_the_build() {
        let kept = Kept::default();
        let writer = kept.clone();
        {
            // Sets up the bridge too, as `try_init` does.
            let _guard = subscriber(Level::INFO, move || writer.clone()).set_default();
            tracing::log::warn!(target: "pingora_proxy", "an upstream is gone");
            tracing::log::error!(target: "pingora_core::connectors", "failed to acquire reusable stream");
        }
        let events = kept.events();
        let [event] = &events[..] else { panic!("{events:?}") };
        let names: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["timestamp", "level", "message", "target"]);
        assert_eq!(event["level"], "WARN");
        assert_eq!(event["message"], "an upstream is gone");
        assert_eq!(event["target"], "pingora_proxy");
    }
}
