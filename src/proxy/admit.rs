//! From what came on a connection to what is to be done with it: parses a head, finds the route, decides, and writes either
//! the head that goes on or the refusal. Not async, and called by `connection` alone.

use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::BootTime;
use crate::metrics::LaneReason;
use crate::proxy::authorize::{Permit, authorize};
use crate::proxy::body::Framing;
use crate::proxy::forward::{self, Identity, To};
use crate::proxy::gateway::{Connected, Gateway, Live};
use crate::proxy::general::Exchange;
use crate::proxy::head::{self, FIELDS_MAX, Head, HeadLimits, Parsed};
use crate::proxy::headers::BASIC_MAX;
use crate::proxy::reject::Rejection;
use crate::proxy::route::{Route, is_idempotent};
use crate::proxy::telemetry::{Refused, Request};
use crate::proxy::token_exchange::Asked;
use crate::proxy::wire::Wire;
use crate::proxy::{lanes, path, request_id};

/// Fields that a head is parsed into without allocating; configurations that allow more pay for it.
const USUAL_FIELDS: usize = 101;

/// What is to be done after looking at what came.
pub(super) enum Step {
    /// Read more.
    More,
    /// Write the answer that is in the buffer; close afterwards, or not.
    Answer { close: bool },
    /// It is for the token exchange.
    Ask(Box<Asked>),
    /// It is plain: the forwarded head is in the buffer, and this goes with it.
    Express(Box<Plain>),
    /// It is not plain: likewise.
    Forward { exchange: Box<Exchange>, head_length: usize, framing: Framing },
}

/// A request that was admitted and takes the express lane.
pub(super) struct Plain {
    pub(super) permit: Permit,
    pub(super) live: Arc<Live>,
    pub(super) route: Arc<Route>,
    pub(super) request: Request,
    pub(super) framing: Framing,
    pub(super) head_length: usize,
    /// Lengths in the forwarded head, which begins with both.
    pub(super) method: usize,
    pub(super) target: usize,
    pub(super) to_head: bool,
    pub(super) is_idempotent: bool,
    pub(super) close: bool,
}

/// What lives as long as the connection.
pub(super) struct Session {
    pub(super) peer: IpAddr,
    pub(super) peer_text: String,
    pub(super) connected: Connected,
    pub(super) requests: u64,
    /// When the first byte of the request that is being read was seen.
    pub(super) began: Option<BootTime>,
    /// Bytes that were there when a head was last looked for; 0: none was looked for yet.
    pub(super) seen: usize,
    /// Length of the head that was refused last.
    pub(super) head_length: usize,
    /// The answer or forwarded head that is being written.
    pub(super) out: Vec<u8>,
    /// The head of an answer in the express lane.
    pub(super) answer: Vec<u8>,
}

impl Gateway {
    /// Parses and decides on what came so far. Not async: the arrays of a parse are not kept across an await.
    pub(super) fn look(&self, session: &mut Session, wire: &Wire) -> Step {
        let bytes = wire.input.bytes();
        if bytes.is_empty() {
            return Step::More;
        }
        let live = self.live.load();
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
            match authorize(self.authority(live), route, head, resolved.as_deref(), claims.presented, client) {
                Ok(admission) => admission,
                Err((rejection, found)) => {
                    let key = found.map(|found| found.index);
                    return self.refuse(session, live, head, &request, Some(route), key, &rejection);
                }
            };
        if let Some(found) = &admission.key {
            let now = self.clock.wall_coarse();
            self.keyring.news.admitted(found.index, &found.slot.usage, now, client);
        }
        let identity = Identity {
            key: admission.key.as_ref(),
            request_id: &request.id,
            peer: &session.peer_text,
            peer_is_trusted,
            authorization_is_ours: claims.authorization_is_ours,
        };
        let reason = lanes::reason(head, live.express_lane);
        self.telemetry.metrics.lane(reason);
        let to = if reason == LaneReason::Plain { To::Server } else { To::Pingora };
        session.out.clear();
        forward::write_head_to(to, &mut session.out, head, &identity);
        if reason == LaneReason::Plain {
            return Step::Express(Box::new(Plain {
                permit: admission.permit,
                live: Arc::clone(live),
                route: Arc::clone(route),
                request,
                framing: head.framing,
                head_length: head.length,
                method: head.method.len(),
                target: head.target.len(),
                to_head: head.method == b"HEAD",
                is_idempotent: is_idempotent(head.method),
                close: head.close,
            }));
        }
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
        if self.telemetry.access_log.is_some() {
            request.host = head.host.into();
        }
        if trusted && let Some(id) = request_id::given(head) {
            id.clone_into(&mut request.id);
        }
        request
    }

    fn bare_request(&self, session: &mut Session) -> Request {
        session.requests += 1;
        let id = request_id::make(self.process_id, session.connected.number, session.requests);
        let clock = &self.clock;
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
    pub(super) fn refuse_bare(&self, session: &mut Session, rejection: &Rejection) {
        let request = self.bare_request(session);
        let problem = rejection.problem(&request.id);
        session.out.clear();
        problem.write_http1(&mut session.out, &request.id, false, true);
        let refused = Refused { request: &request, method: b"", target: b"", route: None, key: None };
        self.telemetry.refused(&refused, rejection, problem.body.len() as u64);
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
        let is_last = self.is_draining() && session.seen == head.length;
        let close = head.close || !head.framing.is_done() || rejection.poisons_connection() || is_last;
        let problem = rejection.problem(&request.id);
        session.out.clear();
        problem.write_http1(&mut session.out, &request.id, head.method == b"HEAD", close);
        session.head_length = head.length;
        let route = route.and_then(|r| live.route_metrics.get(r.index).map(|metrics| (&*r.label, &**metrics)));
        let refused = Refused { request, method: head.method, target: head.target, route, key };
        self.telemetry.refused(&refused, rejection, problem.body.len() as u64);
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
    if !route.lenient_paths || path::holds_control(head.path) {
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
