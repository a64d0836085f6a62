//! The admin plane in this process: its state, its listener, its certificate.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use crate::admin::server::Serving;
use crate::admin::state::{Admin, InForce, Origin};
use crate::admin::tls::Certificates;
use crate::config::resolved;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

/// A bound listener that nobody answers yet.
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    settings: resolved::Admin,
    certificates: Option<Arc<Certificates>>,
}

/// Takes the address and reads the certificate; `None` where the plane is off.
pub(super) fn bind(settings: &resolved::Admin) -> anyhow::Result<Option<Bound>> {
    let Some(wanted) = settings.listen else { return Ok(None) };
    let certificates = settings.tls.as_ref().map(|files| Certificates::load(files).map(Arc::new)).transpose()?;
    let listener = TcpListener::bind(wanted).with_context(|| format!("cannot listen on {wanted}"))?;
    let address = listener.local_addr()?;
    if certificates.is_none() && !address.ip().is_loopback() {
        tracing::warn!(%address, "the admin plane has no TLS and can be reached by others: set [admin.tls]");
    }
    Ok(Some(Bound { listener, address, settings: settings.clone(), certificates }))
}

impl Bound {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a reload puts new certificates into.
    pub(super) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// Answers until `shutdown` is done, and what is under way then for some seconds more.
    pub(super) async fn serve(
        self,
        lifecycle: Lifecycle,
        in_force: Arc<ArcSwap<InForce>>,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let Self { listener, address, settings, certificates } = self;
        let origin = Origin::of(address, certificates.is_some());
        let head_timeout = settings.request_timeout;
        let admin = Admin::new(lifecycle, settings, origin, in_force, metrics);
        let router = crate::admin::router(Arc::new(admin));
        if let Err(error) =
            crate::admin::server::serve(listener, Serving { router, certificates, head_timeout }, shutdown).await
        {
            tracing::error!(%error, "the admin plane does not work");
        }
    }
}
