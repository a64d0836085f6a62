//! The general lane: pingora-proxy's phases, for exchanges whose request was read, checked and admitted by
//! `connection`. It decides nothing about keys; it demands the [`Permit`] and looks at the lease once more.

mod answer;
mod context;
mod tunnel;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::clock::BootTime;
use crate::metrics::UpstreamFailure;
use crate::proxy::authorize::Permit;
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::open::Place;
use crate::proxy::reject::Rejection;
use crate::proxy::route::{Route, is_idempotent};
use crate::proxy::stream::ClientStream;
use crate::proxy::telemetry::{CLIENT_STALLED, Request};
use answer::{end_hop, frame};
pub use context::Context;

/// The most times a request is sent: once, and once more where that cannot do harm.
pub const ATTEMPTS: usize = 2;

const NOT_HELD: ErrorType = ErrorType::Custom("permit not held");
const NO_SERVER: ErrorType = ErrorType::Custom("no server");
const NO_PERMIT: ErrorType = ErrorType::Custom("no permit");
/// As pingora names what is no chunk, and what is no end of chunks; its own constants are not public.
const NO_CHUNK: [ErrorType; 2] = [ErrorType::Custom("InvalidChunk"), ErrorType::Custom("InvalidTrailerEnd")];

/// One admitted request on its way.
#[derive(Debug)]
pub struct Exchange {
    /// Proof of admission.
    pub permit: Permit,
    /// The configuration that was in force when it was admitted.
    pub live: Arc<Live>,
    /// Its route.
    pub route: Arc<Route>,
    /// What is counted and logged of it.
    pub request: Request,
    /// Where a cut is told.
    pub place: Arc<Place>,
    /// It asks for a WebSocket.
    pub is_tunnel: bool,
    /// Servers tried so far.
    pub attempts: usize,
    /// The server that was tried last: its position in the upstream.
    pub server: Option<usize>,
    /// When it was chosen.
    pub chosen_at: BootTime,
    /// From then to the head of the response.
    pub answered_after: Option<Duration>,
    /// Why it was not served, if it was not.
    pub rejection: Option<Rejection>,
}

/// The application that pingora-proxy calls.
pub struct General {
    gateway: Arc<Gateway>,
}

impl General {
    /// For this gateway.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// The gateway is stopping, and nothing more of this client was read.
    fn ends_with_this(&self, session: &Session) -> bool {
        self.gateway.is_draining() && client_stream(session).is_none_or(|stream| stream.pending().is_empty())
    }

    /// Would it be admitted now?
    fn check(&self, exchange: &mut Exchange) -> Result<()> {
        let Err(rejection) = exchange.permit.still_holds(self.gateway.authority(&exchange.live)) else { return Ok(()) };
        exchange.rejection = Some(rejection);
        Err(Error::explain(NOT_HELD, "the permit did not hold until the request was sent"))
    }
}

#[async_trait]
impl ProxyHttp for General {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(&self.gateway)
    }

    fn on_connection_reuse(&self, session: &mut Session, ctx: &mut Context, exchange: Box<dyn Any + Send + Sync>) {
        let Ok(exchange) = exchange.downcast::<Exchange>() else { return };
        let limits = &exchange.live.limits;
        // HTTP/1.0 knows no interim responses (RFC 9110, section 15.2).
        let is_http10 = session.req_header().version == http::Version::HTTP_10;
        session.set_ignore_info_resp(is_http10);
        // By itself pingora closes after a 100 that came before the body, which it always does: `response_filter` looks.
        session.set_close_on_response_before_downstream_finish(false);
        // A WebSocket may be silent for as long as its ends like.
        session.set_read_timeout((!exchange.is_tunnel).then_some(limits.body_stall));
        session.set_write_timeout(Some(limits.write_stall));
        let head = session.req_header();
        ctx.begin(exchange, head.method.as_str().as_bytes(), head.raw_path());
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let exchange = ctx.exchange()?;
        self.check(exchange)?;
        let upstream = &exchange.route.upstream;
        let metrics = exchange.live.upstream_metrics.get(upstream.index);
        if let Some(metrics) = metrics.filter(|_| exchange.attempts > 0) {
            metrics.retried();
        }
        exchange.attempts += 1;
        let Some(at) = upstream.choose(&exchange.permit, exchange.server) else {
            if let Some(metrics) = metrics {
                metrics.failed(UpstreamFailure::NoServer);
            }
            return Error::e_explain(NO_SERVER, "no server of the upstream is well");
        };
        exchange.server = Some(at);
        let mut peer = upstream.server(at).peer.clone();
        if exchange.is_tunnel {
            peer.options.read_timeout = None;
            peer.group_key = tunnel::GROUP;
            peer.options.custom_l4.get_or_insert_with(|| Arc::new(tunnel::Tunnels));
        }
        exchange.chosen_at = self.gateway.clock.boot();
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let exchange = ctx.exchange()?;
        // Some servers that answer in place of 100 do not wait for the body (RFC 9110, section 10.1.1), and it is sent to
        // them all the same: they must not take it for a request.
        if request.headers.contains_key(http::header::EXPECT) && !exchange.is_tunnel {
            request.insert_header(http::header::CONNECTION, "close")?;
        }
        // The head is else as `forward` wrote it. This is the last moment before it is sent.
        self.check(exchange)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if client_stream(session).is_some_and(ClientStream::is_cut) {
            // An answer that comes at the moment of the cut is not begun.
            return Error::e_explain(NOT_HELD, "the exchange was cut");
        }
        frame(response, session.req_header().method == http::Method::HEAD)
            .map_err(|why| Error::explain(ErrorType::InvalidHTTPHeader, why).into_up())?;
        let exchange = ctx.exchange()?;
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            if !exchange.is_tunnel {
                let error = Error::explain(ErrorType::InvalidHTTPHeader, "101 to a request that asked for no upgrade");
                return Err(error.into_up());
            }
            if let Some(stream) = client_stream(session) {
                stream.open_tunnel();
            }
        } else if response.status.is_informational() {
            end_hop(response);
            return Ok(());
        } else if exchange.is_tunnel || !session.is_body_done() || self.ends_with_this(session) {
            // Nothing can follow on it: a refused upgrade, an answer before the body's end, a gateway that is stopping.
            session.set_keepalive(None);
        }
        end_hop(response);
        if session.req_header().version == http::Version::HTTP_10 {
            // No chunks for who does not know them (RFC 9112, section 6.1): the end of the connection ends the body.
            response.remove_header(&http::header::TRANSFER_ENCODING);
        }
        exchange.answered_after = Some(self.gateway.clock.boot().since(exchange.chosen_at));
        response.insert_header("X-Request-Id", exchange.request.id.as_str())
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
        // Nothing was sent: any method may go to another server.
        if let Ok(exchange) = ctx.exchange() {
            count_failure(exchange, &error);
            error.set_retry(exchange.attempts < ATTEMPTS);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let Ok(exchange) = ctx.exchange() else { return error };
        let refusal = client_stream(session).and_then(ClientStream::refusal);
        if let Some(Rejection::UpstreamTimeout) = refusal
            && let Some(metrics) = exchange.live.upstream_metrics.get(exchange.route.upstream.index)
        {
            metrics.failed(UpstreamFailure::ReadTimeout);
        }
        count_failure(exchange, &error);
        // An idle connection that the server was closing: it has not acted on the request. Only what may be sent
        // twice is, and only with its body whole.
        let again = reused
            && *error.esource() == ErrorSource::Upstream
            && exchange.attempts < ATTEMPTS
            && is_idempotent(session.req_header().method.as_str().as_bytes())
            && session.response_written().is_none()
            && !session.as_ref().retry_buffer_truncated()
            && matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError);
        if again {
            // The other servers have had nothing to do with it.
            exchange.server = None;
        }
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let stream = client_stream(session);
        let refused = stream.and_then(|stream| stream.refusal().cloned().or_else(|| stream.why_cut()));
        // What `check` found.
        let lost = ctx.exchange().ok().and_then(|exchange| exchange.rejection.clone());
        let Some(rejection) = refused.or(lost).or_else(|| rejection_for(error)) else {
            // The client is gone.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let status = rejection.status();
        let written = session.response_written().map(|head| head.status);
        if written.is_some_and(|s| s == http::StatusCode::SWITCHING_PROTOCOLS || !s.is_informational()) {
            // It had its answer, or a tunnel, in which a problem document would be somebody's data. Closing says it.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let id = ctx.exchange().map(|exchange| exchange.request.id.clone()).unwrap_or_default();
        if let Err(error) = answer(session, &rejection, &id).await {
            tracing::debug!(%error, "the client did not take the refusal");
        }
        if let Ok(exchange) = ctx.exchange() {
            exchange.rejection = Some(rejection);
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        // Of an answer that had begun, the log tells why it ended: it was cut, or the server broke it off.
        let cut = client_stream(session).and_then(ClientStream::why_cut).or_else(|| rejection_for(error?));
        let cut = cut.as_ref().map(Rejection::reason).or_else(|| {
            let has_stalled = client_stream(session).is_some_and(ClientStream::has_stalled);
            (has_stalled || error.is_some_and(has_client_stalled)).then_some(CLIENT_STALLED)
        });
        let (bytes_in, bytes_out) =
            (client_stream(session).map_or(0, ClientStream::body_bytes), session.body_bytes_sent() as u64);
        if let Ok(exchange) = ctx.exchange()
            && let Some(error) = error
            && exchange.rejection.is_some()
        {
            // pingora's errors name peers and causes; never the request's bytes at this place.
            tracing::warn!(request_id = %exchange.request.id, route = %exchange.route.label, %error, "not served");
        }
        ctx.end(status, cut, bytes_in, bytes_out);
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, ctx: &Context) -> String {
        // The library's own holds the query.
        ctx.request_id().to_owned()
    }
}

fn client_stream(session: &Session) -> Option<&ClientStream> {
    session.downstream_session.as_http1()?.stream().as_any().downcast_ref()
}

fn has_client_stalled(error: &Error) -> bool {
    *error.esource() == ErrorSource::Downstream && *error.etype() == ErrorType::WriteTimedout
}

fn count_failure(exchange: &Exchange, error: &Error) {
    let Some(metrics) = exchange.live.upstream_metrics.get(exchange.route.upstream.index) else { return };
    if *error.esource() != ErrorSource::Upstream {
        return;
    }
    metrics.failed(match error.etype() {
        ErrorType::ConnectTimedout => UpstreamFailure::ConnectTimeout,
        ErrorType::ReadTimedout => UpstreamFailure::ReadTimeout,
        ErrorType::WriteTimedout => UpstreamFailure::WriteTimeout,
        kind if is_malformed(kind) => UpstreamFailure::Protocol,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => UpstreamFailure::Closed,
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError | ErrorType::SocketError => {
            UpstreamFailure::Connect
        }
        _ => UpstreamFailure::Other,
    });
}

/// What came from the server is no HTTP/1 message: its head, its chunks, or what should be their end.
fn is_malformed(kind: &ErrorType) -> bool {
    matches!(kind, ErrorType::InvalidHTTPHeader | ErrorType::H1Error) || NO_CHUNK.contains(kind)
}

/// What the client is told of an error; `None` when there is no client any more.
fn rejection_for(error: &Error) -> Option<Rejection> {
    Some(match (error.esource(), error.etype()) {
        (_, e) if *e == NO_SERVER => Rejection::NoUpstream,
        (ErrorSource::Upstream, ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
            Rejection::UpstreamTimeout
        }
        (ErrorSource::Upstream, kind) if is_malformed(kind) => Rejection::UpstreamMalformed,
        (ErrorSource::Upstream, _) => Rejection::UpstreamFailed,
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Rejection::BodyTimeout,
        (ErrorSource::Downstream, _) => return None,
        _ => Rejection::Internal,
    })
}

/// Writes a refusal through pingora's session; the connection is closed after it.
async fn answer(session: &mut Session, rejection: &Rejection, request_id: &str) -> Result<()> {
    let problem = rejection.problem(request_id);
    let mut head = ResponseHeader::build(problem.status, Some(8))?;
    for (name, value) in problem.fields {
        head.insert_header(name, value)?;
    }
    head.insert_header("Content-Type", "application/problem+json")?;
    head.insert_header("Content-Length", problem.body.len().to_string())?;
    head.insert_header("Cache-Control", "no-store")?;
    head.insert_header("X-Request-Id", request_id)?;
    session.set_keepalive(None);
    let bodyless = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), bodyless).await?;
    if !bodyless {
        session.write_response_body(Some(Bytes::from(problem.body)), true).await?;
    }
    Ok(())
}
