//! What pingora-proxy keeps for a request, and what is counted and logged of it: once, also when its future is dropped
//! before its end (a panic; an exchange that was cut and did not end by itself).

use std::sync::Arc;

use pingora_error::{Error, Result};

use super::{Exchange, NO_PERMIT};
use crate::proxy::gateway::Gateway;
use crate::proxy::reject::Rejection;
use crate::proxy::telemetry::{Outcome, Served};

/// See the module's text.
#[derive(Debug)]
pub struct Context {
    gateway: Arc<Gateway>,
    /// From the beginning of the exchange until it was logged.
    exchange: Option<Box<Exchange>>,
    method: Box<[u8]>,
    target: Box<[u8]>,
}

impl Context {
    pub(super) fn new(gateway: &Arc<Gateway>) -> Self {
        Self { gateway: Arc::clone(gateway), exchange: None, method: Box::default(), target: Box::default() }
    }

    pub(super) fn begin(&mut self, exchange: Box<Exchange>, method: &[u8], target: &[u8]) {
        (self.exchange, self.method, self.target) = (Some(exchange), method.into(), target.into());
    }

    pub(super) fn exchange(&mut self) -> Result<&mut Exchange> {
        // Every request comes through `connection`, which gives it one.
        self.exchange.as_deref_mut().ok_or_else(|| Error::explain(NO_PERMIT, "a request without a permit"))
    }

    pub(super) fn request_id(&self) -> &str {
        self.exchange.as_ref().map(|exchange| &*exchange.request.id).unwrap_or_default()
    }

    /// Counts and logs it. `cut`: why it ended before its end.
    pub(super) fn end(&mut self, status: u16, cut: Option<&'static str>, bytes_in: u64, bytes_out: u64) {
        let Some(exchange) = self.exchange.take() else { return };
        let upstream = &exchange.route.upstream;
        let outcome = Outcome {
            status,
            reason: exchange.rejection.as_ref().map(Rejection::reason).or(cut),
            bytes_in,
            bytes_out,
            server: exchange.server.map(|at| &*upstream.server(at).label),
            upstream_duration: exchange.answered_after,
        };
        if let (Some(took), Some(metrics)) =
            (exchange.answered_after, exchange.live.upstream_metrics.get(upstream.index))
        {
            metrics.answered(took);
        }
        let served = Served {
            permit: &exchange.permit,
            live: &exchange.live,
            route: &exchange.route,
            request: &exchange.request,
            method: &self.method,
            target: &self.target,
            rejection: exchange.rejection.as_ref(),
        };
        self.gateway.telemetry.served(&served, &outcome, self.gateway.clock.boot());
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let Some(exchange) = &self.exchange else { return };
        // What was sent is not known any more; why it ended is, unless that was a panic.
        let cut = exchange.place.why_cut();
        self.end(0, cut.as_ref().map(Rejection::reason), 0, 0);
    }
}
