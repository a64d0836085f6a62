//! One client connection: reads requests, has each judged (`admit`), and serves what is admitted in one lane or the other.
//! Every refusal is written here, so each is a problem document, counted, logged and with a request id; and what
//! pingora-proxy is given is always a head that keygate wrote.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::Poll;
use std::time::Duration;

use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

use crate::clock::BootTime;
use crate::metrics::Held;
use crate::proxy::admit::{Plain, Step};
use crate::proxy::cutting::{Watch, guarded};
use crate::proxy::express::{Admitted, Ended, Express, Turn};
use crate::proxy::gateway::{Gateway, Welcome};
use crate::proxy::general::{Exchange, General};
use crate::proxy::patience::Patience;
use crate::proxy::reject::{Asker, Rejection};
use crate::proxy::session::{Session, begin};
use crate::proxy::stream::ClientStream;
use crate::proxy::telemetry::{CLIENT_STALLED, Outcome, Served};
use crate::proxy::token_exchange::{self, Asked};
use crate::proxy::waiting::{LINGER, Waited, Waits, linger, wait, write};
use crate::proxy::wire::Wire;

/// What serves the connections of the data plane's listeners.
pub struct Front {
    gateway: Arc<Gateway>,
    general: Arc<HttpProxy<General>>,
    express: Express,
    /// What the general lane is told of the gateway's end: nothing. Whether a connection goes on is decided here and in
    /// `general`, where it is known what was read from it.
    never: (watch::Sender<bool>, ShutdownWatch),
}

impl Front {
    /// In front of this gateway's general lane.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, general: Arc<HttpProxy<General>>) -> Self {
        let express = Express::new(Arc::clone(&gateway));
        Self { gateway, general, express, never: watch::channel(false) }
    }

    /// Serves a connection to its end, on the thread that has its socket.
    pub async fn serve(&self, io: Stream, peer: IpAddr) {
        let peer = peer.to_canonical();
        let waits = Waits::of(&self.gateway.live.load().limits);
        let now = self.gateway.clock.boot();
        let mut session = Session::new(peer, self.gateway.connected(peer), waits, now);
        // Whoever cuts this connection's exchanges wakes this task.
        poll_fn(|cx| {
            session.connected.place.belongs_to(cx.waker());
            Poll::Ready(())
        })
        .await;
        // See `Gateway::drain`.
        fence(Ordering::SeqCst);
        let mut wire = Wire::new(io);
        let welcome = session.connected.welcome;
        if welcome != Welcome::Served {
            self.gateway.refuse_bare(&mut session, &Rejection::Overloaded);
            if welcome == Welcome::Refused {
                farewell(&mut wire, &session.out, LINGER).await;
            }
            return;
        }
        let mut patience = Patience::new(now, waits.first());
        loop {
            match self.gateway.look(&mut session, &wire) {
                Step::More => match wait(&mut session, &mut wire, &mut patience, &self.gateway).await {
                    Waited::Came => {}
                    Waited::Gone => return,
                    Waited::TooLong => {
                        self.gateway.refuse_bare(&mut session, &Rejection::HeadTimeout);
                        let _ = write(&mut wire, &session.out, LINGER).await;
                        return;
                    }
                },
                Step::Answer { close: true, stall } => return farewell(&mut wire, &session.out, stall).await,
                Step::Answer { close: false, stall } => {
                    if write(&mut wire, &session.out, stall).await.is_err() {
                        return;
                    }
                    wire.input.consume(session.head_length);
                    session.next(session.over_at);
                }
                Step::Express(plain) => {
                    let served = self.serve_plain(&mut session, &mut wire, &mut patience, &plain).await;
                    let Some(over_at) = served else { return };
                    session.next(over_at);
                }
                Step::Ask(asked) => {
                    if !Box::pin(self.ask(&mut session, &mut wire, *asked)).await {
                        Box::pin(linger(&mut wire)).await;
                        return;
                    }
                    session.next(self.gateway.clock.boot());
                }
                Step::Forward { exchange, head_length, framing } => {
                    wire.input.consume(head_length);
                    let head = std::mem::take(&mut session.out);
                    let place = Arc::clone(&session.connected.place);
                    let watch = Watch::new(&self.gateway, &exchange.permit);
                    let too_old_at = exchange.live.limits.max_stream_age.map(|age| exchange.request.began.plus(age));
                    let limits = &exchange.live.limits;
                    let mut stream = ClientStream::new(wire, head, framing, limits, Arc::clone(&place));
                    if exchange.is_tunnel {
                        stream = stream.upgraded_within(exchange.route.upstream.read_timeout());
                    }
                    let exchanged = self.exchange(Box::new(stream), exchange);
                    let done = Box::pin(guarded(watch, &place, too_old_at, &mut patience, exchanged)).await;
                    let Some((back, head)) = done.flatten() else { return };
                    (wire, session.out) = (back, head);
                    session.next(self.gateway.clock.boot());
                }
            }
        }
    }

    /// Serves a request in the express lane; answers when it was over. `None`: the connection is closed. **HOT**
    async fn serve_plain(
        &self,
        session: &mut Session,
        wire: &mut Wire,
        patience: &mut Patience,
        plain: &Plain,
    ) -> Option<BootTime> {
        let _busy = session.connected.place.busy();
        let in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        begin(&mut session.answer);
        let request = &session.request;
        let turn = Turn {
            forwarded: &mut session.out,
            out: &mut session.answer,
            patience,
            request_id: &request.id,
            too_old_at: plain.live.limits.max_stream_age.map(|age| request.began.plus(age)),
        };
        let admitted = Admitted {
            permit: &plain.permit,
            live: &plain.live,
            route: &plain.route,
            framing: plain.framing,
            head_length: plain.head_length,
            to_head: plain.to_head,
            is_idempotent: plain.is_idempotent,
            close: plain.close,
        };
        let done = self.express.serve(wire, turn, &admitted).await;
        drop(in_flight);
        let rejection = if let Ended::Answer(rejection) = &done.ended { Some(rejection) } else { None };
        let refused_with = rejection.map(|rejection| {
            session.answer.clear();
            let now = self.gateway.clock.wall_coarse();
            let asker = Asker { request_id: &request.id, now, head_only: plain.to_head, close: true };
            rejection.write_http1(&mut session.answer, &asker)
        });
        let served = Served {
            permit: &plain.permit,
            live: &plain.live,
            route: &plain.route,
            request,
            method: session.out.get(..plain.method).unwrap_or_default(),
            target: session.out.get(plain.method + 1..=plain.method + plain.target).unwrap_or_default(),
            rejection,
        };
        let outcome = Outcome {
            status: rejection.map_or(done.status, Rejection::status),
            // Of an answer that had begun, the log tells why it ended.
            reason: rejection
                .or(done.cut.as_ref())
                .map(Rejection::reason)
                .or(done.client_stalled.then_some(CLIENT_STALLED)),
            bytes_in: done.bytes_in,
            bytes_out: refused_with.map_or(done.bytes_out, |length| length as u64),
            server: done.server.map(|at| &*plain.route.upstream.server(at).label),
            upstream_duration: done.upstream_duration,
        };
        self.gateway.telemetry.served(&served, &outcome, done.at);
        match done.ended {
            Ended::GoesOn => return Some(done.at),
            Ended::Closes { slowly: true } => Box::pin(linger(wire)).await,
            Ended::Closes { slowly: false } => {}
            Ended::Answer(_) => farewell(wire, &session.answer, plain.live.limits.write_stall).await,
        }
        None
    }

    /// Lets the token exchange answer. `false`: the connection is to be closed.
    async fn ask(&self, session: &mut Session, wire: &mut Wire, asked: Asked) -> bool {
        let live = Arc::clone(&asked.live);
        let Some(endpoints) = &live.token_endpoints else { return false };
        let _busy = session.connected.place.busy();
        let _in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        token_exchange::serve(&self.gateway, wire, &mut session.out, asked, endpoints).await
    }

    /// Ends what the general lane keeps.
    pub async fn cleanup(&self) {
        self.general.http_cleanup().await;
    }

    /// Lets the general lane do one exchange. `None`: the connection is closed.
    async fn exchange(&self, stream: Box<ClientStream>, exchange: Box<Exchange>) -> Option<(Wire, Vec<u8>)> {
        let _in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        let mut session = ServerSession::H1(HttpSession::new(stream));
        session.set_connection_user_context(Some(exchange));
        let reused = self.general.process_new_http(session, &self.never.1).await?;
        let back: Box<ClientStream> = reused.consume().0.into_any().downcast().ok()?;
        back.into_parts()
    }
}

/// The last answer of a connection, and the care that it is read. Boxed, since it is rare: every connection would be
/// larger by it.
async fn farewell(wire: &mut Wire, answer: &[u8], stall: Duration) {
    Box::pin(async {
        if write(wire, answer, stall).await.is_ok() {
            linger(wire).await;
        }
    })
    .await;
}
