//! The token exchange's endpoints on an HTTP/1 connection: knows them by their paths, reads the small body that they take,
//! and writes the answer. What is decided is decided in [`crate::exchange`].
//!
//! In front of routing: a body that was meant for an endpoint holds an app key, so what is nearly an endpoint's path is
//! answered here as well, and reaches no upstream.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use zeroize::{Zeroize as _, Zeroizing};

use crate::config::resolved::TokenExchange;
use crate::exchange::{Answer, BODY_MAX, Endpoint, Refusal};
use crate::metrics::RequestMetrics;
use crate::proxy::body::Framing;
use crate::proxy::date::{self, Date};
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::head::Head;
use crate::proxy::path;
use crate::proxy::telemetry::Request;
use crate::proxy::waiting::write;
use crate::proxy::wire::Wire;

/// Bytes of a body as it comes, chunk lines included: enough for the smallest chunks that a client may send.
const RAW_MAX: usize = 8 * BODY_MAX;

/// The endpoints, as long as a configuration is in force.
#[derive(Debug)]
pub struct TokenEndpoints {
    /// `[token_exchange]`.
    pub settings: TokenExchange,
    /// Requests to them are counted here.
    pub metrics: Arc<RequestMetrics>,
}

/// A request to an endpoint, of which the head was read.
#[derive(Debug)]
pub struct Asked {
    /// What is to be answered; or why nothing is read.
    pub endpoint: Result<Endpoint, Refusal>,
    /// The path is the one for refresh tokens.
    pub is_refresh: bool,
    /// Of the head, which is still in the input.
    pub head_length: usize,
    /// Of the body.
    pub framing: Framing,
    /// The client waits for 100 (Continue) before it sends the body.
    pub expects_continue: bool,
    /// The client wants HEAD's answer.
    pub head_only: bool,
    /// The connection ends with this request.
    pub close: bool,
    /// For the log.
    pub method: Box<[u8]>,
    /// Who and when.
    pub request: Request,
    /// The configuration in force when it came.
    pub live: Arc<Live>,
}

impl TokenEndpoints {
    /// The path that a request is logged with: not the one that came, since what is nearly an endpoint's may hold the JWT.
    #[must_use]
    pub fn path(&self, asked: &Asked) -> &str {
        if asked.is_refresh { &self.settings.refresh_path } else { &self.settings.path }
    }

    /// Is this request for an endpoint, or nearly?
    #[must_use]
    pub fn find(&self, head: &Head<'_, '_>) -> Option<Result<Endpoint, Refusal>> {
        let TokenExchange { path, refresh_path, .. } = &self.settings;
        let endpoint = match head.path {
            asked if asked == path.as_bytes() => Endpoint::Token,
            asked if asked == refresh_path.as_bytes() => Endpoint::Refresh,
            _ => return is_nearly(head, [path, refresh_path]).then_some(Err(Refusal::NotHere)),
        };
        if head.method != b"POST" {
            return Some(Err(Refusal::Method));
        }
        match head.framing {
            Framing::Length(length) if length > BODY_MAX as u64 => Some(Err(Refusal::TooLarge)),
            _ => Some(Ok(endpoint)),
        }
    }
}

/// May some reader take the path for that of one of these endpoints, or for one below it?
fn is_nearly(head: &Head<'_, '_>, endpoints: [&str; 2]) -> bool {
    let begins = |path: &[u8]| endpoints.iter().any(|endpoint| begins_like(path, endpoint));
    if begins(head.path) {
        return true;
    }
    if head.path_fault.is_none() {
        return false;
    }
    // An odd path is resolved as often as anybody might decode it again.
    let mut path = path::resolved(head.path);
    for _ in 0..ODD_DEPTH {
        if begins(&path) {
            return true;
        }
        path = path::resolved(&path);
    }
    false
}

/// Times that a path may be encoded.
const ODD_DEPTH: usize = 4;

/// Does the path, in any case of letters and decoded once, begin with the endpoint's, and not go on as another word?
fn begins_like(asked: &[u8], endpoint: &str) -> bool {
    let mut rest = path::decoded(asked);
    endpoint.bytes().all(|byte| rest.next().is_some_and(|asked| asked.eq_ignore_ascii_case(&byte)))
        && rest.next().is_none_or(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')))
}

/// Reads the body, decides and answers. `false`: the connection must not be read on.
pub async fn serve(
    gateway: &Gateway,
    wire: &mut Wire,
    out: &mut Vec<u8>,
    asked: Asked,
    endpoints: &TokenEndpoints,
) -> bool {
    wire.input.consume(asked.head_length);
    let (answer, read) = match &asked.endpoint {
        Err(refusal) => (Answer::refused(refusal), 0),
        Ok(endpoint) => ask(gateway, wire, &asked, *endpoint, &endpoints.settings).await,
    };
    let is_unread = asked.endpoint.is_err() && !asked.framing.is_done();
    let is_last = gateway.is_draining() && wire.input.is_empty();
    let close = asked.close || is_unread || answer.closes || is_last;
    // Before it is written: whoever has the answer finds it counted.
    gateway.telemetry.exchanged(&asked, endpoints, &answer, read);
    if answer.status == 0 {
        return false;
    }
    out.clear();
    write_http1(out, &answer, date::at(gateway.clock.wall_coarse()), &asked, close);
    let written = write(wire, out, asked.live.limits.write_stall).await;
    out.zeroize();
    written.is_ok() && !close
}

/// The answer, and how many bytes of body were read for it.
async fn ask(
    gateway: &Gateway,
    wire: &mut Wire,
    asked: &Asked,
    endpoint: Endpoint,
    settings: &TokenExchange,
) -> (Answer, u64) {
    let mut body = Body::new(asked.framing);
    let read = match body.take(wire) {
        Ok(()) if !body.framing.is_done() => wait_for(gateway, wire, &mut body, asked.expects_continue, settings).await,
        other => other.map_err(Unread::Refused),
    };
    let length = body.content.len() as u64;
    match read {
        Ok(()) => (gateway.exchanges.answer(settings, endpoint, &body.content, asked.request.client), length),
        Err(Unread::Refused(refusal)) => (Answer { closes: true, ..Answer::refused(&refusal) }, length),
        Err(Unread::Gone) => (Answer::none(), length),
    }
}

/// Why there is no body.
enum Unread {
    Refused(Refusal),
    Gone,
}

/// The rest of a body that did not come with its head: within the deadline, and as long as there is a place to wait at.
async fn wait_for(
    gateway: &Gateway,
    wire: &mut Wire,
    body: &mut Body,
    expects_continue: bool,
    settings: &TokenExchange,
) -> Result<(), Unread> {
    let place = gateway.exchanges.begin(settings);
    let rest = async {
        if expects_continue {
            let continues = b"HTTP/1.1 100 Continue\r\n\r\n";
            write(wire, continues, settings.request_timeout).await.map_err(|_| Unread::Gone)?;
        }
        while !body.framing.is_done() {
            if poll_fn(|cx| wire.poll_fill(cx, RAW_MAX)).await.unwrap_or(0) == 0 {
                return Err(Unread::Gone);
            }
            body.take(wire).map_err(Unread::Refused)?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        read = tokio::time::timeout(settings.request_timeout, rest) => {
            read.unwrap_or(Err(Unread::Refused(Refusal::TooSlow)))
        }
        () = place.gives_way() => Err(Unread::Refused(Refusal::Busy)),
        // The connection is woken for it.
        () = poll_fn(|_| if gateway.cuts_all() { Poll::Ready(()) } else { Poll::Pending }) => {
            Err(Unread::Refused(Refusal::Stopping))
        }
    }
}

/// A body as far as it has come.
struct Body {
    framing: Framing,
    /// Without its coding. Never grows: what grows leaves copies behind.
    content: Zeroizing<Vec<u8>>,
    /// Bytes that came, chunk lines included.
    raw: usize,
}

impl Body {
    fn new(framing: Framing) -> Self {
        Self { framing, content: Zeroizing::new(Vec::with_capacity(BODY_MAX)), raw: 0 }
    }

    /// Takes what has come, and nothing of what follows the body.
    fn take(&mut self, wire: &mut Wire) -> Result<(), Refusal> {
        let (content, mut fits) = (&mut self.content, true);
        let taken = self
            .framing
            .feed_with(wire.input.bytes(), |data| {
                fits &= content.len() + data.len() <= BODY_MAX;
                if fits {
                    content.extend_from_slice(data);
                }
            })
            .map_err(|_| Refusal::Malformed("The body is not chunked as its head says."))?;
        wire.input.erase(taken);
        self.raw += taken;
        if fits && self.raw <= RAW_MAX { Ok(()) } else { Err(Refusal::TooLarge) }
    }
}

fn write_http1(out: &mut Vec<u8>, answer: &Answer, date: Date, asked: &Asked, close: bool) {
    let phrase = http::StatusCode::from_u16(answer.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
    let body = answer.body.expose();
    let mut head = String::with_capacity(256);
    // Writing to a string does not fail.
    let _ = write!(head, "HTTP/1.1 {} {phrase}\r\nDate: {}\r\n", answer.status, date.as_str());
    for (name, value) in answer.fields() {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(
        head,
        "Content-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\nX-Request-Id: {}\r\n{}\r\n",
        body.len(),
        asked.request.id,
        if close { "Connection: close\r\n" } else { "" }
    );
    out.reserve(head.len() + body.len());
    out.extend_from_slice(head.as_bytes());
    if !asked.head_only {
        out.extend_from_slice(body.as_bytes());
    }
}
