//! One client connection: reads and checks every HTTP/1 head itself, decides, and hands what is admitted to the
//! general lane. Every refusal is written here, so each is a problem document, counted, logged and with a
//! request id; and what pingora-proxy is given is always a head that keygate wrote.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp as _, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

use crate::clock::BootTime;
use crate::metrics::Held;
use crate::proxy::authorize::authorize;
use crate::proxy::body::Framing;
use crate::proxy::forward::{self, Identity};
use crate::proxy::gateway::{Connected, Gateway, Live};
use crate::proxy::general::{Exchange, General};
use crate::proxy::head::{self, FIELDS_MAX, Head, HeadLimits, Parsed};
use crate::proxy::headers::BASIC_MAX;
use crate::proxy::patience::Patience;
use crate::proxy::reject::Rejection;
use crate::proxy::route::Route;
use crate::proxy::stream::ClientStream;
use crate::proxy::telemetry::{Refused, Request};
use crate::proxy::token_exchange::{self, Asked};
use crate::proxy::waiting::{LINGER, Waited, linger, stopped, wait, write};
use crate::proxy::{path, request_id};

/// Fields that a head is parsed into without allocating; configurations that allow more pay for it.
const USUAL_FIELDS: usize = 101;

/// The application on the data plane's listeners.
pub struct Front {
    gateway: Arc<Gateway>,
    general: Arc<HttpProxy<General>>,
    /// What the general lane is told of the gateway's end: nothing. Whether a connection goes on is decided here and in
    /// `general`, where it is known what was read from it.
    never: (watch::Sender<bool>, ShutdownWatch),
}

/// What is to be done after looking at what came.
enum Step {
    /// Read more.
    More,
    /// Write the answer that is in the buffer; close afterwards, or not.
    Answer { close: bool },
    /// It is for the token exchange.
    Ask(Box<Asked>),
    /// The forwarded head is in the buffer, and this goes with it.
    Forward { exchange: Box<Exchange>, head_length: usize, framing: Framing },
}

/// What lives as long as the connection.
struct Session {
    peer: IpAddr,
    peer_text: String,
    connected: Connected,
    requests: u64,
    /// When the first byte of the request that is being read was seen.
    began: Option<BootTime>,
    /// Bytes that were there when a head was last looked for; 0: none was looked for yet.
    seen: usize,
    /// Length of the head that was refused last.
    head_length: usize,
    /// The answer or forwarded head that is being written.
    out: Vec<u8>,
}

impl Front {
    /// In front of this gateway's general lane.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, general: Arc<HttpProxy<General>>) -> Self {
        Self { gateway, general, never: watch::channel(false) }
    }

    async fn serve(&self, io: Stream, shutdown: &ShutdownWatch) {
        let peer =
            io.get_socket_digest().and_then(|d| d.peer_addr().and_then(|a| a.as_inet().map(std::net::SocketAddr::ip)));
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.to_canonical());
        let mut session = Session {
            peer,
            peer_text: peer.to_string(),
            connected: self.gateway.connected(),
            requests: 0,
            began: None,
            seen: 0,
            head_length: 0,
            out: Vec::new(),
        };
        let mut stream = Box::new(ClientStream::new(io));
        let limits = self.gateway.live.load().limits.clone();
        if session.connected.others >= limits.max_connections {
            self.refuse_bare(&mut session, &Rejection::Overloaded);
            if write(&mut stream, &session.out, LINGER).await.is_ok() {
                linger(&mut stream).await;
            }
            return;
        }
        let mut patience = Patience::new(limits.idle_timeout);
        let mut stop = Box::pin(stopped(shutdown.clone()));
        loop {
            match self.look(&mut session, &stream) {
                Step::More => {
                    match wait(&mut session.began, &mut stream, &mut patience, stop.as_mut(), &self.gateway).await {
                        Waited::Came => {}
                        Waited::Gone => return,
                        Waited::TooLong => {
                            self.refuse_bare(&mut session, &Rejection::HeadTimeout);
                            let _ = write(&mut stream, &session.out, LINGER).await;
                            return;
                        }
                    }
                }
                Step::Answer { close } => {
                    let stall = self.gateway.live.load().limits.write_stall;
                    if write(&mut stream, &session.out, stall).await.is_err() {
                        return;
                    }
                    if close {
                        linger(&mut stream).await;
                        return;
                    }
                    stream.skip(session.head_length);
                    (session.began, session.seen) = (None, 0);
                }
                Step::Ask(asked) => {
                    if !self.ask(&mut session, &mut stream, *asked).await {
                        linger(&mut stream).await;
                        return;
                    }
                    (session.began, session.seen) = (None, 0);
                }
                Step::Forward { exchange, head_length, framing } => {
                    let max_body = exchange.live.limits.max_body;
                    stream.begin(head_length, framing, max_body, &mut session.out);
                    let Some(mut back) = self.exchange(stream, exchange).await else { return };
                    if !back.is_request_done() {
                        return;
                    }
                    session.out = back.take_head_buffer();
                    (session.began, session.seen) = (None, 0);
                    stream = back;
                }
            }
        }
    }

    /// Lets the token exchange answer. `false`: the connection is to be closed.
    async fn ask(&self, session: &mut Session, stream: &mut ClientStream, asked: Asked) -> bool {
        let live = Arc::clone(&asked.live);
        let Some(endpoints) = &live.token_endpoints else { return false };
        let _in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        token_exchange::serve(&self.gateway, stream, &mut session.out, asked, endpoints).await
    }

    /// Lets the general lane do one exchange. `None`: the connection is closed.
    async fn exchange(&self, stream: Box<ClientStream>, exchange: Box<Exchange>) -> Option<Box<ClientStream>> {
        let _in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        let mut session = ServerSession::H1(HttpSession::new(stream));
        session.set_connection_user_context(Some(exchange));
        let reused = self.general.process_new_http(session, &self.never.1).await?;
        reused.consume().0.into_any().downcast().ok()
    }

    /// Parses and decides on what came so far. Not async: the arrays of a parse are not kept across an await.
    fn look(&self, session: &mut Session, stream: &ClientStream) -> Step {
        let bytes = stream.pending();
        if bytes.is_empty() {
            return Step::More;
        }
        let live = self.gateway.live.load();
        let seen = std::mem::replace(&mut session.seen, bytes.len());
        // A head that comes in small pieces is parsed when its end has come, not at each piece.
        if seen > 0 && bytes.len() < live.limits.max_header_size && !holds_end(bytes, seen) {
            return Step::More;
        }
        let limits = HeadLimits { size: live.limits.max_header_size, fields: live.limits.max_headers };
        if limits.fields < USUAL_FIELDS {
            let mut storage = [httparse::EMPTY_HEADER; USUAL_FIELDS];
            self.look_at(session, &live, head::parse(bytes, &mut storage, limits))
        } else {
            let mut storage = vec![httparse::EMPTY_HEADER; FIELDS_MAX + 1];
            self.look_at(session, &live, head::parse(bytes, &mut storage, limits))
        }
    }

    fn look_at(&self, session: &mut Session, live: &Arc<Live>, parsed: Parsed<'_, '_>) -> Step {
        match parsed {
            Parsed::Partial => Step::More,
            Parsed::Refused(rejection) => {
                self.refuse_bare(session, &rejection);
                Step::Answer { close: true }
            }
            Parsed::Head(head) => self.decide(session, live, &head),
        }
    }

    fn decide(&self, session: &mut Session, live: &Arc<Live>, head: &Head<'_, '_>) -> Step {
        let peer_is_trusted = live.trusts(session.peer);
        let client = forward::client_address(head, session.peer, &live.trusted_proxies);
        let request = self.request(session, head, client, peer_is_trusted);
        if let Some(endpoints) = &live.token_endpoints
            && let Some(endpoint) = endpoints.find(head)
        {
            return Step::Ask(Box::new(Asked {
                endpoint,
                is_refresh: head.path == endpoints.settings.refresh_path.as_bytes(),
                head_length: head.length,
                framing: head.framing,
                expects_continue: head.expects_continue,
                head_only: head.method == b"HEAD",
                close: head.close,
                method: head.method.into(),
                request,
                live: Arc::clone(live),
            }));
        }
        let Some(route) = live.routes.find(head.host, head.path) else {
            let rejection = route_fault(head).unwrap_or(Rejection::NoRoute);
            return self.refuse(session, live, head, &request, None, None, &rejection);
        };
        let resolved = match check_route(route, head, live) {
            Ok(resolved) => resolved,
            Err(rejection) => return self.refuse(session, live, head, &request, Some(route), None, &rejection),
        };
        let mut basic = [0; BASIC_MAX];
        let claims = forward::claims(head, &mut basic);
        let admission =
            match authorize(self.gateway.authority(live), route, head, resolved.as_deref(), claims.presented, client) {
                Ok(admission) => admission,
                Err((rejection, found)) => {
                    let key = found.map(|found| found.index);
                    return self.refuse(session, live, head, &request, Some(route), key, &rejection);
                }
            };
        if let Some(found) = &admission.key {
            let now = self.gateway.clock.wall_coarse();
            self.gateway.keyring.news.admitted(found.index, &found.slot.usage, now, client);
        }
        let identity = Identity {
            key: admission.key.as_ref(),
            request_id: &request.id,
            peer: &session.peer_text,
            peer_is_trusted,
            authorization_is_ours: claims.authorization_is_ours,
        };
        session.out.clear();
        forward::write_head(&mut session.out, head, &identity);
        let framing = if head.is_websocket { Framing::Tunnel } else { head.framing };
        let exchange = Exchange {
            permit: admission.permit,
            live: Arc::clone(live),
            route: Arc::clone(route),
            request,
            is_tunnel: head.is_websocket,
            attempts: 0,
            server: None,
            chosen_at: BootTime::ZERO,
            answered_after: None,
            rejection: None,
        };
        Step::Forward { exchange: Box::new(exchange), head_length: head.length, framing }
    }

    /// What is known of a request from its head.
    fn request(&self, session: &mut Session, head: &Head<'_, '_>, client: IpAddr, trusted: bool) -> Request {
        let mut request = self.bare_request(session);
        request.client = client;
        if self.gateway.telemetry.access_log.is_some() {
            request.host = head.host.into();
        }
        if trusted && let Some(id) = request_id::given(head) {
            id.clone_into(&mut request.id);
        }
        request
    }

    fn bare_request(&self, session: &mut Session) -> Request {
        session.requests += 1;
        let id = request_id::make(self.gateway.process_id, session.connected.number, session.requests);
        let clock = &self.gateway.clock;
        Request {
            id,
            began: session.began.unwrap_or_else(|| clock.boot()),
            time: clock.wall_coarse(),
            client: session.peer,
            host: Box::default(),
        }
    }

    /// Writes the answer to something that is no request, or cannot be waited for.
    #[cold]
    fn refuse_bare(&self, session: &mut Session, rejection: &Rejection) {
        let request = self.bare_request(session);
        let problem = rejection.problem(&request.id);
        session.out.clear();
        problem.write_http1(&mut session.out, &request.id, false, true);
        let refused = Refused { request: &request, method: b"", target: b"", route: None, key: None };
        self.gateway.telemetry.refused(&refused, rejection, problem.body.len() as u64);
    }

    /// Writes the answer to a request that is refused. The connection stays where the whole request was read.
    #[expect(clippy::too_many_arguments, reason = "what a refusal is told and logged with")]
    fn refuse(
        &self,
        session: &mut Session,
        live: &Live,
        head: &Head<'_, '_>,
        request: &Request,
        route: Option<&Arc<Route>>,
        key: Option<u32>,
        rejection: &Rejection,
    ) -> Step {
        let is_last = self.gateway.is_draining() && session.seen == head.length;
        let close = head.close || !head.framing.is_done() || rejection.poisons_connection() || is_last;
        let problem = rejection.problem(&request.id);
        session.out.clear();
        problem.write_http1(&mut session.out, &request.id, head.method == b"HEAD", close);
        session.head_length = head.length;
        let route = route.and_then(|r| live.route_metrics.get(r.index).map(|metrics| (&*r.label, &**metrics)));
        let refused = Refused { request, method: head.method, target: head.target, route, key };
        self.gateway.telemetry.refused(&refused, rejection, problem.body.len() as u64);
        Step::Answer { close }
    }
}

/// Is there an empty line, of which the last byte came after the first `seen`?
fn holds_end(bytes: &[u8], seen: usize) -> bool {
    let fresh = bytes.get(seen.saturating_sub(3)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', fresh).any(|at| {
        let rest = fresh.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// Path rules, of the route's kind, and the size of the body as far as it is told. For an odd path that the route
/// lets through: what it might be taken for, which must not be on another route.
fn check_route(route: &Arc<Route>, head: &Head<'_, '_>, live: &Live) -> Result<Option<Vec<u8>>, Rejection> {
    if let Framing::Length(length) = head.framing
        && length > live.limits.max_body
    {
        return Err(Rejection::BodyTooLarge);
    }
    let Err(fault) = path::check(head.path) else { return Ok(None) };
    if !route.lenient_paths {
        return Err(Rejection::Path(fault));
    }
    let resolved = path::resolved(head.path);
    let stays = live.routes.find(head.host, &resolved).is_some_and(|other| Arc::ptr_eq(other, route));
    if stays { Ok(Some(resolved)) } else { Err(Rejection::Path(fault)) }
}

/// A path that is no clear one is told so, rather than that nothing is there.
fn route_fault(head: &Head<'_, '_>) -> Option<Rejection> {
    path::check(head.path).err().filter(|_| head.path != b"*").map(Rejection::Path)
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.serve(io, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.general.http_cleanup().await;
    }
}
