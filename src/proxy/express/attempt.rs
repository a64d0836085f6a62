//! **HOT** One admitted request, from the choice of a server to the end of its exchange; once more where that can do no
//! harm. What `exchange` does not know: servers, kept connections, whether the permit still holds, what is counted.
//!
//! | what happened | once more? |
//! |---|---|
//! | no connection to the server | at another server if there is one: nothing was sent |
//! | a kept connection ends before an answer's first byte | on a new one, if that is harmless and all is still here |
//! | anything else | no |
//!
//! Harmless are idempotent methods (RFC 9112, section 9.3.1).

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pingora_core::protocols::Stream;

use crate::clock::BootTime;
use crate::metrics::{CutReason, UpstreamFailure, UpstreamMetrics};
use crate::proxy::cutting::Watch;
use crate::proxy::express::deadlines::{Deadlines, Running};
use crate::proxy::express::exchange::{End, Exchange, Facts};
use crate::proxy::express::{Admitted, Done, Ended, Express, Turn, thread};
use crate::proxy::general::ATTEMPTS;
use crate::proxy::reject::Rejection;
use crate::proxy::upstream::{Server, Upstream};
use crate::proxy::wire::Wire;

/// So much earlier than its server says, a kept connection is no longer used.
const MARGIN: Duration = Duration::from_secs(1);

/// One try to serve a request.
struct Attempt<'a> {
    admitted: &'a Admitted<'a>,
    server: &'a Server,
    /// The server's position in its upstream.
    at: usize,
    metrics: Option<&'a UpstreamMetrics>,
    /// The server's connection was kept, and looked at in this poll.
    is_kept: bool,
    /// If the server has closed its connection before it was asked, it may be asked once more.
    may_repeat: bool,
}

impl Attempt<'_> {
    /// Keeps the server's connection for later requests.
    fn keep(&self, server: Wire, keeps_for: Option<u64>, is_doubtful: bool, now: BootTime) {
        let upstream = &*self.admitted.route.upstream;
        let told = keeps_for.map(|seconds| Duration::from_secs(seconds).saturating_sub(MARGIN));
        let wait = told.map_or(upstream.idle_timeout(), |told| told.min(upstream.idle_timeout()));
        upstream.pool().put(thread::index(), self.at, server.io, now.plus(wait), is_doubtful);
    }
}

impl Express {
    /// Serves one request. `client`'s input begins with its head, as it came; afterwards, if the connection goes on,
    /// with what follows it.
    pub async fn serve(&self, client: &mut Wire, mut turn: Turn<'_>, admitted: &Admitted<'_>) -> Done {
        client.input.consume(admitted.head_length);
        let upstream = &*admitted.route.upstream;
        let metrics = admitted.live.upstream_metrics.get(upstream.index).map(|metrics| &**metrics);
        let mut watch = Watch::new(&self.gateway, admitted.permit);
        let mut done = Done::nothing_yet(self.gateway.clock.boot());
        let (mut not, mut only_new, mut last) = (None, false, Rejection::NoUpstream);
        for attempt in 1..=ATTEMPTS {
            if let Some(metrics) = metrics.filter(|_| attempt > 1) {
                metrics.retried();
            }
            let Some(at) = upstream.choose(admitted.permit, not) else {
                count(metrics, Some(UpstreamFailure::NoServer));
                last = Rejection::NoUpstream;
                break;
            };
            let server = upstream.server(at);
            done.server = Some(at);
            let kept = if only_new { None } else { kept(upstream, at, done.at, !admitted.is_idempotent).await };
            let is_kept = kept.is_some();
            let io = match kept {
                Some(io) => io,
                // Boxed, since it is rare: every connection would be larger by it.
                None => match Box::pin(connected(upstream, at, &mut watch)).await {
                    Ok(io) => io,
                    Err(Unconnected::Cut(rejection)) => {
                        (last, done.at) = (rejection, self.gateway.clock.boot());
                        break;
                    }
                    Err(Unconnected::Failed(error)) => {
                        let (rejection, failure) = not_connected(&error);
                        count(metrics, Some(failure));
                        tracing::warn!(
                            request_id = turn.request_id, route = %admitted.route.label, server = &*server.label,
                            %error, "no connection to a server"
                        );
                        (not, last, done.at) = (Some(at), rejection, self.gateway.clock.boot());
                        continue;
                    }
                },
            };
            if !is_kept {
                metrics.inspect(|metrics| metrics.connected());
                done.at = self.gateway.clock.boot();
            }
            // The last moment before it is sent. From here to there nothing is waited for: the exchange begins in the
            // poll in which the kept connection was looked at. If something was, all is asked anew.
            let why = if is_kept && attempt == 1 { watch.lost_at(done.at) } else { watch.look() };
            if let Some(rejection) = why {
                last = rejection;
                break;
            }
            let may_repeat = is_kept && admitted.is_idempotent && attempt < ATTEMPTS;
            let attempt = Attempt { admitted, server, at, metrics, is_kept, may_repeat };
            match self.exchange(&attempt, client, Wire::new(io), &mut turn, &mut watch, &mut done).await {
                // The other servers have had nothing to do with it.
                End::Stale => (not, only_new, last) = (None, true, Rejection::UpstreamFailed),
                _ => return done,
            }
        }
        done.ended = Ended::Answer(last);
        done
    }

    /// Lets one server answer, as long as the permit holds. What came of it stands in `done`, unless it is to be tried
    /// once more.
    async fn exchange(
        &self,
        attempt: &Attempt<'_>,
        client: &mut Wire,
        mut server: Wire,
        turn: &mut Turn<'_>,
        watch: &mut Watch<'_>,
        done: &mut Done,
    ) -> End {
        let Attempt { admitted, .. } = *attempt;
        let (clock, stops) = (&*self.gateway.clock, || self.gateway.is_draining());
        let facts = Facts {
            request_id: turn.request_id,
            to_head: admitted.to_head,
            may_repeat: attempt.may_repeat,
            is_awaited: attempt.is_kept,
            closes: admitted.close,
            max_body: admitted.live.limits.max_body,
            stops: &stops,
            clock,
        };
        let mut exchange = Exchange::new(client, &mut server, turn.forwarded, admitted.framing, turn.out, facts);
        let asked_at = done.at;
        let mut running = Running::new(&mut exchange, deadlines(attempt, turn.too_old_at), asked_at);
        let mut cut = None;
        let end = poll_fn(|cx| match watch.lost() {
            Some(why) => {
                cut = Some(why.clone());
                Poll::Ready(End::Failed(why, None))
            }
            None => running.poll(cx, turn.patience, clock),
        })
        .await;
        if running.is_too_old {
            self.gateway.telemetry.metrics.cut(CutReason::Age);
            cut = Some(Rejection::UpstreamTimeout);
        }
        done.cut = cut;
        done.client_stalled = running.has_client_stalled;
        let (keeps_server, keeps_for) = (exchange.keeps_server(), exchange.down.keeps_for);
        let is_doubtful = exchange.down.is_bodyless(admitted.to_head);
        note(done, &end, &exchange, asked_at);
        done.at = clock.boot();
        let failure = match &end {
            End::Failed(_, failure) => *failure,
            End::Stale => Some(UpstreamFailure::Closed),
            End::Over | End::ClientGone => None,
        };
        count(attempt.metrics, failure);
        if let (Some(metrics), Some(took)) = (attempt.metrics, done.upstream_duration) {
            metrics.answered(took);
        }
        if let (End::Failed(..), Some(failure)) = (&end, failure) {
            tracing::warn!(
                request_id = turn.request_id, route = %admitted.route.label, server = &*attempt.server.label,
                failure = failure.as_str(), "not served, or not wholly"
            );
        }
        if keeps_server && matches!(end, End::Over | End::ClientGone) {
            attempt.keep(server, keeps_for, is_doubtful, done.at);
        }
        end
    }
}

impl Done {
    fn nothing_yet(at: BootTime) -> Self {
        let ended = Ended::Closes { slowly: false };
        Self {
            ended,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            server: None,
            upstream_duration: None,
            cut: None,
            client_stalled: false,
            at,
        }
    }
}

/// What came of an exchange, and what is to be done with the client's connection.
fn note(done: &mut Done, end: &End, exchange: &Exchange<'_>, asked_at: BootTime) {
    let (up, down) = (&exchange.up, &exchange.down);
    done.status = down.status_told();
    (done.bytes_in, done.bytes_out) = (up.body_bytes(), down.body_bytes());
    done.upstream_duration = down.answered_at.map(|at| at.since(asked_at));
    done.ended = match end {
        End::Over if !down.closes => Ended::GoesOn,
        // A client that wanted this, and has sent no more than this request, reads the answer without any care.
        End::Over => Ended::Closes { slowly: !exchange.is_all_that_came() },
        End::Failed(rejection, _) if down.may_answer() => Ended::Answer(rejection.clone()),
        End::Failed(rejection, _) => {
            done.cut.get_or_insert_with(|| rejection.clone());
            Ended::Closes { slowly: down.is_written() }
        }
        End::ClientGone | End::Stale => Ended::Closes { slowly: false },
    };
}

fn deadlines(attempt: &Attempt<'_>, too_old_at: Option<BootTime>) -> Deadlines {
    let (limits, options) = (&attempt.admitted.live.limits, &attempt.server.peer.options);
    Deadlines {
        body_stall: limits.body_stall,
        write_stall: limits.write_stall,
        // Both are always configured.
        read_timeout: options.read_timeout.unwrap_or(limits.body_stall),
        write_timeout: options.write_timeout.unwrap_or(limits.write_stall),
        too_old_at,
    }
}

fn count(metrics: Option<&UpstreamMetrics>, failure: Option<UpstreamFailure>) {
    if let (Some(metrics), Some(failure)) = (metrics, failure) {
        metrics.failed(failure);
    }
}

/// A connection that was kept, and is silent: it wakes this task when the server speaks, or ends. Nothing is waited for.
async fn kept(upstream: &Upstream, at: usize, now: BootTime, is_sure: bool) -> Option<Stream> {
    poll_fn(|cx| Poll::Ready(upstream.pool().take(thread::index(), at, now, is_sure, cx))).await
}

/// Why there is no new connection.
enum Unconnected {
    Failed(io::Error),
    /// The permit was lost meanwhile.
    Cut(Rejection),
}

/// A new connection to this server.
async fn connected(upstream: &Upstream, at: usize, watch: &mut Watch<'_>) -> Result<Stream, Unconnected> {
    let mut connecting = pin!(upstream.connect(at));
    poll_fn(|cx| match watch.lost() {
        Some(rejection) => Poll::Ready(Err(Unconnected::Cut(rejection))),
        None => connecting.as_mut().poll(cx).map_err(Unconnected::Failed),
    })
    .await
}

/// What the client is told when there is no connection, and what is counted.
fn not_connected(error: &io::Error) -> (Rejection, UpstreamFailure) {
    match error.kind() {
        io::ErrorKind::TimedOut => (Rejection::UpstreamTimeout, UpstreamFailure::ConnectTimeout),
        _ => (Rejection::UpstreamFailed, UpstreamFailure::Connect),
    }
}
