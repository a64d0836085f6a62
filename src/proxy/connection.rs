//! One client connection: reads requests, has each judged (`admit`), and serves what is admitted in one lane or the other.
//! Every refusal is written here, so each is a problem document, counted, logged and with a request id; and what
//! pingora-proxy is given is always a head that keygate wrote.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp as _, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

use crate::metrics::Held;
use crate::proxy::admit::{Plain, Session, Step};
use crate::proxy::cutting::{Watch, guarded};
use crate::proxy::express::{Admitted, Ended, Express, Turn};
use crate::proxy::gateway::Gateway;
use crate::proxy::general::{Exchange, General};
use crate::proxy::patience::Patience;
use crate::proxy::reject::Rejection;
use crate::proxy::stream::ClientStream;
use crate::proxy::telemetry::{Outcome, Served};
use crate::proxy::token_exchange::{self, Asked};
use crate::proxy::waiting::{LINGER, Waited, linger, stopped, wait, write};
use crate::proxy::wire::Wire;

/// The application on the data plane's listeners.
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

    async fn serve(&self, io: Stream, shutdown: &ShutdownWatch) {
        let peer =
            io.get_socket_digest().and_then(|d| d.peer_addr().and_then(|a| a.as_inet().map(std::net::SocketAddr::ip)));
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.to_canonical());
        let mut session = Session {
            peer,
            peer_text: peer.to_string(),
            connected: self.gateway.connected(peer),
            requests: 0,
            began: None,
            seen: 0,
            head_length: 0,
            out: Vec::new(),
            answer: Vec::new(),
        };
        // Whoever cuts this connection's exchanges wakes this task.
        poll_fn(|cx| {
            session.connected.place.belongs_to(cx.waker());
            Poll::Ready(())
        })
        .await;
        let mut wire = Wire::new(io);
        let limits = self.gateway.live.load().limits.clone();
        if session.connected.is_one_too_many {
            self.gateway.refuse_bare(&mut session, &Rejection::Overloaded);
            if write(&mut wire, &session.out, LINGER).await.is_ok() {
                linger(&mut wire).await;
            }
            return;
        }
        let mut patience = Patience::new(self.gateway.clock.boot(), limits.idle_timeout);
        let mut stop = Box::pin(stopped(shutdown.clone()));
        loop {
            match self.gateway.look(&mut session, &wire) {
                Step::More => {
                    match wait(&mut session.began, &mut wire, &mut patience, stop.as_mut(), &self.gateway).await {
                        Waited::Came => {}
                        Waited::Gone => return,
                        Waited::TooLong => {
                            self.gateway.refuse_bare(&mut session, &Rejection::HeadTimeout);
                            let _ = write(&mut wire, &session.out, LINGER).await;
                            return;
                        }
                    }
                }
                Step::Answer { close } => {
                    let stall = self.gateway.live.load().limits.write_stall;
                    if write(&mut wire, &session.out, stall).await.is_err() {
                        return;
                    }
                    if close {
                        linger(&mut wire).await;
                        return;
                    }
                    wire.input.consume(session.head_length);
                    (session.began, session.seen) = (None, 0);
                }
                Step::Ask(asked) => {
                    if !self.ask(&mut session, &mut wire, *asked).await {
                        linger(&mut wire).await;
                        return;
                    }
                    (session.began, session.seen) = (None, 0);
                }
                Step::Express(plain) => {
                    if !self.serve_plain(&mut session, &mut wire, &mut patience, &plain).await {
                        return;
                    }
                    (session.began, session.seen) = (None, 0);
                }
                Step::Forward { exchange, head_length, framing } => {
                    wire.input.consume(head_length);
                    let max_body = exchange.live.limits.max_body;
                    let head = std::mem::take(&mut session.out);
                    let place = Arc::clone(&session.connected.place);
                    let watch = Watch::new(&self.gateway, &exchange.permit);
                    let too_old_at = exchange.live.limits.max_stream_age.map(|age| exchange.request.began.plus(age));
                    let stream = Box::new(ClientStream::new(wire, head, framing, max_body, Arc::clone(&place)));
                    let exchanged = self.exchange(stream, exchange);
                    let done = Box::pin(guarded(watch, &place, too_old_at, &mut patience, exchanged)).await;
                    let Some((back, head)) = done.flatten() else { return };
                    (wire, session.out) = (back, head);
                    (session.began, session.seen) = (None, 0);
                }
            }
        }
    }

    /// Serves a request in the express lane. `false`: the connection is closed.
    async fn serve_plain(
        &self,
        session: &mut Session,
        wire: &mut Wire,
        patience: &mut Patience,
        plain: &Plain,
    ) -> bool {
        let _busy = session.connected.place.busy();
        let in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        let turn = Turn {
            forwarded: &mut session.out,
            out: &mut session.answer,
            patience,
            request_id: &plain.request.id,
            too_old_at: plain.live.limits.max_stream_age.map(|age| plain.request.began.plus(age)),
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
        let problem = rejection.map(|rejection| rejection.problem(&plain.request.id));
        let served = Served {
            permit: &plain.permit,
            live: &plain.live,
            route: &plain.route,
            request: &plain.request,
            method: session.out.get(..plain.method).unwrap_or_default(),
            target: session.out.get(plain.method + 1..=plain.method + plain.target).unwrap_or_default(),
            rejection,
        };
        let outcome = Outcome {
            status: rejection.map_or(done.status, Rejection::status),
            reason: rejection.map(Rejection::reason),
            bytes_in: done.bytes_in,
            bytes_out: problem.as_ref().map_or(done.bytes_out, |problem| problem.body.len() as u64),
            server: done.server,
            upstream_duration: done.upstream_duration,
        };
        self.gateway.telemetry.served(&served, &outcome);
        if let Some(problem) = problem {
            session.answer.clear();
            problem.write_http1(&mut session.answer, &plain.request.id, plain.to_head, true);
            let stall = plain.live.limits.write_stall;
            if write(wire, &session.answer, stall).await.is_ok() {
                linger(wire).await;
            }
            return false;
        }
        match done.ended {
            Ended::GoesOn => true,
            Ended::Closes { slowly: true } => {
                linger(wire).await;
                false
            }
            Ended::Closes { slowly: false } | Ended::Answer(_) => false,
        }
    }

    /// Lets the token exchange answer. `false`: the connection is to be closed.
    async fn ask(&self, session: &mut Session, wire: &mut Wire, asked: Asked) -> bool {
        let live = Arc::clone(&asked.live);
        let Some(endpoints) = &live.token_endpoints else { return false };
        let _in_flight = Held::new(&self.gateway.telemetry.metrics.requests_in_flight);
        token_exchange::serve(&self.gateway, wire, &mut session.out, asked, endpoints).await
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
