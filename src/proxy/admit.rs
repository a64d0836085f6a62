//! From what came on a connection to what is to be done with it: parses a head, finds the route, decides, and writes either
//! the head that goes on or the refusal. Not async, and called by `connection` alone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::BootTime;
use crate::metrics::LaneReason;
use crate::proxy::authorize::{Permit, authorize};
use crate::proxy::body::Framing;
use crate::proxy::forward::{self, Identity, To};
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::general::Exchange;
use crate::proxy::head::{self, FIELDS_MAX, Head, HeadLimits, Parsed, Space};
use crate::proxy::headers::BASIC_MAX;
use crate::proxy::path::PathFault;
use crate::proxy::reject::{Asker, Rejection};
use crate::proxy::route::{Route, is_idempotent};
use crate::proxy::session::{Session, begin};
use crate::proxy::telemetry::{Refused, Request};
use crate::proxy::token_exchange::Asked;
use crate::proxy::waiting::Waits;
use crate::proxy::wire::Wire;
use crate::proxy::{lanes, path, request_id};

/// Fields that a head is parsed into without allocating; configurations that allow more pay for it.
const USUAL_FIELDS: usize = 101;

/// What is to be done after looking at what came.
pub(super) enum Step {
    /// Read more.
    More,
    /// Write the answer that is in the buffer, for as long as `stall` at most; close afterwards, or not.
    Answer { close: bool, stall: Duration },
    /// It is for the token exchange.
    Ask(Box<Asked>),
    /// It is plain: the forwarded head is in the buffer, and this goes with it.
    Express(Plain),
    /// It is not plain: likewise.
    Forward { exchange: Box<Exchange>, head_length: usize, framing: Framing },
}

/// A request that was admitted and takes the express lane. What else is known of it, the session has.
pub(super) struct Plain {
    pub(super) permit: Permit,
    pub(super) live: Arc<Live>,
    pub(super) route: Arc<Route>,
    pub(super) framing: Framing,
    pub(super) head_length: usize,
    /// Lengths in the forwarded head, which begins with both.
    pub(super) method: usize,
    pub(super) target: usize,
    pub(super) to_head: bool,
    pub(super) is_idempotent: bool,
    pub(super) close: bool,
}

impl Gateway {
    /// Parses and decides on what came so far. Not async: the arrays of a parse are not kept across an await. **HOT**
    pub(super) fn look(&self, session: &mut Session, wire: &Wire) -> Step {
        let bytes = wire.input.bytes();
        if bytes.is_empty() {
            return Step::More;
        }
        let live = self.live.load();
        session.waits = Waits::of(&live.limits);
        let seen = std::mem::replace(&mut session.seen, bytes.len());
        // A head that comes in small pieces is parsed when its end has come, not at each piece.
        if seen > 0 && bytes.len() < live.limits.max_header_size && !holds_end(bytes, seen) {
            return Step::More;
        }
        let limits = HeadLimits { size: live.limits.max_header_size, fields: live.limits.max_headers };
        if limits.fields < USUAL_FIELDS {
            self.look_at(session, &live, head::parse(bytes, &mut Space::<USUAL_FIELDS>::new(), limits))
        } else {
            let mut space = Box::new(Space::<{ FIELDS_MAX + 1 }>::new());
            self.look_at(session, &live, head::parse(bytes, &mut *space, limits))
        }
    }

    fn look_at(&self, session: &mut Session, live: &Arc<Live>, parsed: Parsed<'_, '_>) -> Step {
        match parsed {
            Parsed::Partial => Step::More,
            Parsed::Refused(rejection) => {
                self.refuse_bare(session, &rejection);
                Step::Answer { close: true, stall: live.limits.write_stall }
            }
            Parsed::Head(head) => self.decide(session, live, &head),
        }
    }

    fn decide(&self, session: &mut Session, live: &Arc<Live>, head: &Head<'_, '_>) -> Step {
        let peer_is_trusted = live.trusts(session.peer);
        let client = forward::client_address(head, session.peer, &live.trusted_proxies);
        self.begin(session, head, client, peer_is_trusted);
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
                request: session.request.clone(),
                live: Arc::clone(live),
            }));
        }
        let Some(route) = live.routes.find(head.host_name, head.path) else {
            let fault = head.path_fault.filter(|_| head.path != b"*");
            // A path that is no clear one is told so, rather than that nothing is there.
            return self.refuse(session, live, head, Turned::from(fault.map_or(Rejection::NoRoute, Rejection::Path)));
        };
        let resolved = match check_route(route, head, live) {
            Ok(resolved) => resolved,
            Err(rejection) => return self.refuse(session, live, head, Turned::at(route, rejection)),
        };
        let mut basic = [0; BASIC_MAX];
        let claims = forward::claims(head, &mut basic);
        let authority = self.authority(live);
        let admission = match authorize(authority, route, head, resolved.as_deref(), claims.presented, client) {
            Ok(admission) => admission,
            Err((rejection, found)) => {
                let key = found.map(|found| found.index);
                return self.refuse(session, live, head, Turned { key, ..Turned::at(route, rejection) });
            }
        };
        if let Some(found) = &admission.key {
            self.keyring.news.admitted(found.index, &found.slot.usage, session.request.time, client);
        }
        let identity = Identity {
            key: admission.key.as_ref(),
            request_id: &session.request.id,
            peer: &session.peer_text,
            peer_is_trusted,
            authorization_is_ours: claims.authorization_is_ours,
        };
        let reason = lanes::reason(head, live.express_lane);
        self.telemetry.metrics.lane(reason);
        let to = if reason == LaneReason::Plain { To::Server } else { To::Pingora };
        begin(&mut session.out);
        forward::write_head_to(to, &mut session.out, head, &identity);
        if reason == LaneReason::Plain {
            return Step::Express(Plain {
                permit: admission.permit,
                live: Arc::clone(live),
                route: Arc::clone(route),
                framing: head.framing,
                head_length: head.length,
                method: head.method.len(),
                target: head.target.len(),
                to_head: head.method == b"HEAD",
                is_idempotent: is_idempotent(head.method),
                close: head.close,
            });
        }
        let framing = if head.is_websocket { Framing::Tunnel } else { head.framing };
        let exchange = Exchange {
            permit: admission.permit,
            live: Arc::clone(live),
            route: Arc::clone(route),
            request: session.request.clone(),
            place: Arc::clone(&session.connected.place),
            is_tunnel: head.is_websocket,
            attempts: 0,
            server: None,
            chosen_at: BootTime::ZERO,
            answered_after: None,
            rejection: None,
        };
        Step::Forward { exchange: Box::new(exchange), head_length: head.length, framing }
    }

    /// Notes what is known of a request from its head.
    fn begin(&self, session: &mut Session, head: &Head<'_, '_>, client: IpAddr, trusted: bool) {
        self.begin_bare(session);
        let request = &mut session.request;
        request.client = client;
        if self.telemetry.access_log.is_some() {
            request.host.extend_from_slice(head.host);
        }
        if trusted && let Some(id) = request_id::given(head) {
            id.clone_into(&mut request.id);
        }
    }

    /// Notes what is known of a request without its head.
    fn begin_bare(&self, session: &mut Session) {
        session.requests += 1;
        let request = &mut session.request;
        self.request_ids.write(&mut request.id, session.connected.number, session.requests);
        request.began = session.began.unwrap_or_else(|| self.clock.boot());
        request.time = self.clock.wall_coarse();
        request.client = session.peer;
        request.host.clear();
    }

    /// Writes the answer to something that is no request, or cannot be waited for.
    #[cold]
    pub(super) fn refuse_bare(&self, session: &mut Session, rejection: &Rejection) {
        self.begin_bare(session);
        begin(&mut session.out);
        let Request { id, time, .. } = &session.request;
        let asker = Asker { request_id: id, now: *time, head_only: false, close: true };
        let length = rejection.write_http1(&mut session.out, &asker);
        let refused = Refused { request: &session.request, method: b"", target: b"", route: None, key: None };
        self.telemetry.refused(&refused, rejection, length as u64, self.clock.boot());
    }

    /// Writes the answer to a request that is refused. The connection stays where the whole request was read. **HOT**
    fn refuse(&self, session: &mut Session, live: &Live, head: &Head<'_, '_>, turned: Turned<'_>) -> Step {
        let Turned { rejection, route, key } = turned;
        let is_last = self.is_draining() && session.seen == head.length;
        let close = head.close || !head.framing.is_done() || rejection.poisons_connection() || is_last;
        begin(&mut session.out);
        let Request { id, time, .. } = &session.request;
        let asker = Asker { request_id: id, now: *time, head_only: head.method == b"HEAD", close };
        let length = rejection.write_http1(&mut session.out, &asker);
        session.head_length = head.length;
        session.over_at = self.clock.boot();
        let route = route.and_then(|r| live.route_metrics.get(r.index).map(|metrics| (&*r.label, &**metrics)));
        let refused = Refused { request: &session.request, method: head.method, target: head.target, route, key };
        self.telemetry.refused(&refused, &rejection, length as u64, session.over_at);
        Step::Answer { close, stall: live.limits.write_stall }
    }
}

/// A request that is turned away: why, and what was found out before.
struct Turned<'a> {
    rejection: Rejection,
    route: Option<&'a Route>,
    /// The slot of a key that was proven.
    key: Option<u32>,
}

impl<'a> Turned<'a> {
    fn at(route: &'a Route, rejection: Rejection) -> Self {
        Self { rejection, route: Some(route), key: None }
    }
}

impl From<Rejection> for Turned<'_> {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, route: None, key: None }
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
    if route.is_nearly_another(head.path) {
        return Err(Rejection::Path(PathFault::Case));
    }
    let Some(fault) = head.path_fault else { return Ok(None) };
    if !route.lenient_paths || path::holds_control(head.path) {
        return Err(Rejection::Path(fault));
    }
    let resolved = path::resolved(head.path);
    let stays = live.routes.find(head.host_name, &resolved).is_some_and(|other| Arc::ptr_eq(other, route));
    if stays && !route.is_nearly_another(&resolved) { Ok(Some(resolved)) } else { Err(Rejection::Path(fault)) }
}
