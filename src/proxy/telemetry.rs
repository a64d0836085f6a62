//! What is counted and logged of a request, however it ended. **HOT: handles only; nothing is looked up by name.**

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::clock::{BootTime, Clock, WallTime};
use crate::exchange::Answer;
use crate::keyring::Keyring;
use crate::metrics::series::RequestMetrics;
use crate::metrics::{AccessLog, Decision, Entry, EntryKey, ExchangeOutcome, MethodClass, Metrics, StatusClass, names};
use crate::proxy::authorize::Permit;
use crate::proxy::gateway::Live;
use crate::proxy::reject::Rejection;
use crate::proxy::route::Route;
use crate::proxy::token_exchange::{Asked, TokenEndpoints};

/// What is known of a request from its beginning. A connection keeps one, and writes each request's in the place of the
/// one before.
#[derive(Clone, Debug)]
pub struct Request {
    /// `X-Request-Id`.
    pub id: String,
    /// When its first byte was seen.
    pub began: BootTime,
    /// The same, for people.
    pub time: WallTime,
    /// The client, as `trusted_proxies` makes it out.
    pub client: IpAddr,
    /// As sent; kept only while an access log is written.
    pub host: Vec<u8>,
}

/// Why an exchange ended before its end, of a client that took no more of its answer for `write_stall`. In the log alone:
/// nobody is told.
pub const CLIENT_STALLED: &str = "client_stalled";

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// Status code; 0: the client was gone before there was one.
    pub status: u16,
    /// Why it was refused, as in metrics.
    pub reason: Option<&'static str>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// The label of the server that was asked last.
    pub server: Option<&'a str>,
    /// To the head of its response.
    pub upstream_duration: Option<Duration>,
}

/// An exchange that had a permit, whichever lane did it.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// Proof of admission.
    pub permit: &'a Permit,
    /// The configuration that was in force when it was admitted.
    pub live: &'a Live,
    /// Its route.
    pub route: &'a Route,
    /// Who and when.
    pub request: &'a Request,
    /// As sent.
    pub method: &'a [u8],
    /// As sent.
    pub target: &'a [u8],
    /// Why it was not served, if it was not.
    pub rejection: Option<&'a Rejection>,
}

/// A request that was refused before it had a route or a permit.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Who and when.
    pub request: &'a Request,
    /// As far as it could be read.
    pub method: &'a [u8],
    /// As far as it could be read.
    pub target: &'a [u8],
    /// The route's label and handles, once there is one.
    pub route: Option<(&'a str, &'a RequestMetrics)>,
    /// The slot of the key, once proven.
    pub key: Option<u32>,
}

/// The handles.
pub struct Telemetry {
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// `None`: off.
    pub access_log: Option<AccessLog>,
    /// For requests without a route.
    pub no_route: Arc<RequestMetrics>,
    /// For names of keys in the log.
    pub keyring: Arc<Keyring>,
    /// For durations.
    pub clock: Arc<dyn Clock>,
}

impl Telemetry {
    /// Counts and logs an exchange that had a permit and was over at `now`.
    pub fn served(&self, served: &Served<'_>, outcome: &Outcome<'_>, now: BootTime) {
        let decision = match (served.rejection, served.permit.key()) {
            (Some(_), _) => Decision::Refused,
            (None, Some(_)) => Decision::Admitted,
            (None, None) => Decision::Public,
        };
        let took = now.since(served.request.began);
        if let Some(rejection) = served.rejection {
            self.metrics.refused(rejection.index());
        }
        if let Some(metrics) = served.live.route_metrics.get(served.route.index) {
            metrics.record(MethodClass::of(served.method), decision, StatusClass::of(outcome.status), took);
        }
        if let Some(log) = &self.access_log {
            let line = Line {
                method: served.method,
                target: served.target,
                decision,
                took,
                slot: served.permit.key().map(|key| key.index),
                route: Some(&served.route.label),
                upstream: Some(&*served.route.upstream.name),
            };
            self.log(log, served.request, line, outcome);
        }
    }

    /// Counts and logs a request that was refused at `now`.
    pub fn refused(&self, refused: &Refused<'_>, rejection: &Rejection, bytes_out: u64, now: BootTime) {
        let took = now.since(refused.request.began);
        self.metrics.refused(rejection.index());
        let metrics = refused.route.map_or(&*self.no_route, |(_, metrics)| metrics);
        metrics.record(MethodClass::of(refused.method), Decision::Refused, StatusClass::of(rejection.status()), took);
        if let Some(log) = &self.access_log {
            let line = Line {
                method: refused.method,
                target: refused.target,
                decision: Decision::Refused,
                took,
                slot: refused.key,
                route: refused.route.map(|(label, _)| label),
                upstream: None,
            };
            let outcome = Outcome {
                status: rejection.status(),
                reason: Some(rejection.reason()),
                bytes_in: 0,
                bytes_out,
                server: None,
                upstream_duration: None,
            };
            self.log(log, refused.request, line, &outcome);
        }
    }

    /// Counts and logs a request to the token exchange.
    pub fn exchanged(&self, asked: &Asked, endpoints: &TokenEndpoints, answer: &Answer, bytes_in: u64) {
        let took = self.clock.boot().since(asked.request.began);
        self.metrics.exchanged(answer.outcome);
        let is_granted = answer.outcome == ExchangeOutcome::Granted;
        let decision = if is_granted { Decision::Admitted } else { Decision::Refused };
        endpoints.metrics.record(MethodClass::of(&asked.method), decision, StatusClass::of(answer.status), took);
        let Some(log) = &self.access_log else { return };
        let line = Line {
            method: &asked.method,
            target: endpoints.path(asked).as_bytes(),
            decision,
            took,
            slot: answer.slot,
            route: Some(names::TOKEN_EXCHANGE),
            upstream: None,
        };
        let outcome = Outcome {
            status: answer.status,
            reason: (!is_granted).then(|| answer.outcome.as_str()),
            bytes_in,
            bytes_out: if asked.head_only { 0 } else { answer.body.expose().len() as u64 },
            server: None,
            upstream_duration: None,
        };
        self.log(log, &asked.request, line, &outcome);
    }

    fn log(&self, log: &AccessLog, request: &Request, line: Line<'_>, outcome: &Outcome<'_>) {
        let slot = line.slot.and_then(|index| self.keyring.slot(index));
        let record = slot.map(crate::keyring::Slot::record);
        let id = slot.map(|slot| slot.id().text());
        let name = record.as_ref().map(|record| decoded(&record.name));
        let key = match (&id, &record, &name) {
            (Some(id), Some(record), Some(name)) => {
                Some(EntryKey { id: std::str::from_utf8(id).unwrap_or_default(), name, role: record.role })
            }
            _ => None,
        };
        log.log(&Entry {
            time: request.time,
            request_id: request.id.as_bytes(),
            client: request.client,
            method: line.method,
            host: &request.host,
            path: line.target,
            status: outcome.status,
            decision: line.decision,
            reason: outcome.reason,
            key,
            route: line.route,
            upstream: line.upstream,
            server: outcome.server,
            bytes_in: outcome.bytes_in,
            bytes_out: outcome.bytes_out,
            duration: line.took,
            upstream_duration: outcome.upstream_duration,
        });
    }
}

/// A key's name as it was given.
fn decoded(name: &str) -> Cow<'_, str> {
    if name.contains('%') { percent_decode_str(name).decode_utf8_lossy() } else { Cow::Borrowed(name) }
}

/// What differs between the two kinds of lines.
#[derive(Clone, Copy)]
struct Line<'a> {
    method: &'a [u8],
    target: &'a [u8],
    decision: Decision,
    took: Duration,
    slot: Option<u32>,
    route: Option<&'a str>,
    upstream: Option<&'a str>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}
