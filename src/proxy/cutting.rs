//! Ending what goes on when the authority behind it was taken away, or the gateway stops: within a quarter of a second
//! (`keep`), whatever it waits for.
//!
//! An exchange asks its [`Watch`] each time before it waits. In the express lane that is all. In the general lane the
//! exchange is pingora-proxy's, and [`guarded`] is around it: it marks the connection's [`Place`], at which the client's
//! stream looks before it reads or writes, so that pingora-proxy meets an error and ends as it does when a client goes. It
//! does not look at the client while it waits for the server to take bytes; so a second later its future is dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::clock::BootTime;
use crate::metrics::CutReason;
use crate::proxy::authorize::{Permit, PermittedKey};
use crate::proxy::gateway::Gateway;
use crate::proxy::open::Place;
use crate::proxy::patience::Patience;
use crate::proxy::reject::{NotProvenReason, Rejection};

/// For pingora-proxy to end an exchange that was cut.
const TO_END: Duration = Duration::from_secs(1);
/// As good as never, and no more than a timer can wait.
const NEVER: Duration = Duration::from_hours(10 * 365 * 24);

/// What one exchange knows of the authority behind it.
#[derive(Debug)]
pub struct Watch<'g> {
    gateway: &'g Gateway,
    /// `None` on what is public: nothing takes that away.
    key: Option<PermittedKey>,
    known: u64,
}

impl<'g> Watch<'g> {
    /// For the exchange that this permit is for.
    #[must_use]
    pub fn new(gateway: &'g Gateway, permit: &Permit) -> Self {
        Self { gateway, key: permit.key(), known: permit.known() }
    }

    /// Why the exchange must end, if it must; counted. Asked each time before something is waited for, on a connection that
    /// is marked as busy. **HOT**: one load, as long as nothing was taken away from anybody.
    pub fn lost(&mut self) -> Option<Rejection> {
        let news = self.gateway.open.news();
        if std::mem::replace(&mut self.known, news) == news {
            return None;
        }
        self.look()
    }

    /// The same for the moment before a request is sent, when the lease is always looked at. `now` is a reading of this
    /// moment. **HOT**
    pub fn lost_at(&mut self, now: BootTime) -> Option<Rejection> {
        let is_in_lease = self.key.is_none() || self.gateway.lease.admits(now);
        self.lost().or_else(|| (!is_in_lease).then_some(Rejection::NoLease))
    }

    /// The same after something was waited for: the keyring itself is asked, which may be ahead of the news.
    #[cold]
    #[must_use]
    pub fn look(&self) -> Option<Rejection> {
        if self.gateway.cuts_all() {
            self.gateway.telemetry.metrics.cut(CutReason::Stop);
            return Some(Rejection::Stopping);
        }
        let why = self.key?.still_holds(self.gateway.authority(&self.gateway.live.load())).err()?;
        self.gateway.telemetry.metrics.cut(reason(&why));
        Some(why)
    }
}

/// Lets pingora-proxy's exchange go on to its end, or until its permit is lost or it is too old. `None`: it did not end by
/// itself when it was cut, and nothing is left of it or of its connections.
pub async fn guarded<T>(
    mut watch: Watch<'_>,
    place: &Place,
    too_old_at: Option<BootTime>,
    patience: &mut Patience,
    exchange: impl Future<Output = T>,
) -> Option<T> {
    let _busy = place.busy();
    let clock = &*watch.gateway.clock;
    let now = clock.boot();
    patience.set(now, too_old_at.unwrap_or_else(|| now.plus(NEVER)));
    let (mut exchange, mut is_cut) = (pin!(exchange), false);
    poll_fn(|cx| {
        loop {
            if !is_cut && let Some(why) = watch.lost() {
                is_cut = true;
                cut(place, why, patience, clock.boot());
            }
            if let Poll::Ready(output) = exchange.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if patience.poll_over(cx, clock).is_pending() {
                return Poll::Pending;
            }
            if is_cut {
                return Poll::Ready(None);
            }
            // Too old. It is polled once more, to see that it was cut.
            is_cut = true;
            watch.gateway.telemetry.metrics.cut(CutReason::Age);
            cut(place, Rejection::UpstreamTimeout, patience, clock.boot());
        }
    })
    .await
}

fn cut(place: &Place, why: Rejection, patience: &mut Patience, now: BootTime) {
    place.cut(why);
    patience.set(now, now.plus(TO_END));
}

/// What metrics tell apart.
fn reason(why: &Rejection) -> CutReason {
    match why {
        Rejection::NoLease => CutReason::Lease,
        Rejection::StaleSecret { .. } | Rejection::InvalidCredential(NotProvenReason::Outdated) => CutReason::Secret,
        _ => CutReason::Key,
    }
}
