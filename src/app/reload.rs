//! Applying a changed configuration file: routes, upstreams, limits and the admin plane's certificate, whole or not at
//! all.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::admin::state::InForce;
use crate::admin::tls::{self, Certificates};
use crate::config::resolved::Config;
use crate::metrics::{Metrics, ReloadResult};
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::upstream::Upstream;

/// The one who reloads.
pub(super) struct Reloader {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    certificates: Option<Arc<Certificates>>,
    /// What the admin plane asks for.
    in_force: Arc<ArcSwap<InForce>>,
    /// The configuration in force, and the health checks of its upstreams. One reload at a time.
    current: Mutex<(Config, JoinSet<()>)>,
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        gateway: Arc<Gateway>,
        metrics: Arc<Metrics>,
        certificates: Option<Arc<Certificates>>,
    ) -> Self {
        let in_force = Arc::new(ArcSwap::from_pointee(InForce::of(&config)));
        Self { gateway, metrics, certificates, in_force, current: Mutex::new((config, JoinSet::new())) }
    }

    /// For the admin plane: what each reload replaces.
    pub(super) fn in_force(&self) -> Arc<ArcSwap<InForce>> {
        Arc::clone(&self.in_force)
    }

    /// Begins the health checks of what is in force from the start.
    pub(super) async fn begin(&self) {
        let live = self.gateway.live.load_full();
        prepare(&live).await;
        self.current.lock().await.1 = self.watch(&live);
    }

    /// Reads the file again and puts it in force; or says why not, and everything stays as it was.
    pub(super) async fn reload(&self) -> Result<(), String> {
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(()) => {
                self.metrics.reloaded(ReloadResult::Applied);
                tracing::info!("the configuration was applied");
            }
            Err(why) => {
                self.metrics.reloaded(ReloadResult::Refused);
                tracing::error!(why, "the configuration was refused; the one before it stays in force");
            }
        }
        outcome
    }

    async fn try_reload(&self) -> Result<(), String> {
        let mut current = self.current.lock().await;
        let file = current.0.file.clone();
        let metrics = Arc::clone(&self.metrics);
        let before = self.gateway.live.load_full();
        // Reading files and looking up names may take its time: not on the threads that renew the lease.
        let made = tokio::task::spawn_blocking(move || {
            let config = crate::config::load(&file).map_err(|error| error.to_string())?;
            let live = Live::after(Some(&before), &config, &metrics).map_err(|error| error.to_string())?;
            let tls = config.admin.tls.as_ref().filter(|_| config.admin.listen.is_some());
            let tls = tls.map(tls::read).transpose().map_err(|error| error.to_string())?;
            Ok::<_, String>((config, live, tls))
        });
        let (config, live, tls) = made.await.map_err(|error| error.to_string())??;
        if let Some(setting) = needs_restart(&current.0, &config) {
            return Err(format!("a change of {setting} needs a restart; nothing was applied"));
        }
        let live = Arc::new(live);
        prepare(&live).await;
        self.gateway.live.store(Arc::clone(&live));
        self.in_force.store(Arc::new(InForce::of(&config)));
        if let (Some(certificates), Some(tls)) = (&self.certificates, tls) {
            certificates.replace(tls);
        }
        // The old checks end here; requests that are under way keep their own upstreams.
        *current = (config, self.watch(&live));
        Ok(())
    }

    fn watch(&self, live: &Live) -> JoinSet<()> {
        let mut checks = JoinSet::new();
        for upstream in &live.upstreams {
            let (upstream, metrics) = (Arc::clone(upstream), Arc::clone(&self.metrics));
            checks.spawn(async move {
                let handles: Vec<_> = upstream
                    .health()
                    .iter()
                    .filter_map(|(server, _)| metrics.server(&upstream.name, &server.to_string()).ok())
                    .collect();
                let tell = |upstream: &Upstream| {
                    for ((_, well), handle) in upstream.health().iter().zip(&handles) {
                        handle.set(*well);
                    }
                };
                tell(&upstream);
                upstream.watch_health(tell).await;
                // Without checks there is nothing more to tell, but the figures stay.
                std::future::pending::<()>().await;
            });
        }
        checks
    }
}

async fn prepare(live: &Live) {
    for upstream in &live.upstreams {
        upstream.prepare().await;
    }
}

/// The first setting that differs and cannot be changed while the process runs.
fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    [
        (old.server.listen == new.server.listen, "server.listen"),
        (old.server.threads == new.server.threads, "server.threads"),
        (old.server.run_dir == new.server.run_dir, "server.run_dir"),
        (old.server.drain_timeout == new.server.drain_timeout, "server.drain_timeout"),
        (old.store == new.store, "store"),
        (old.secrets == new.secrets, "secrets"),
        (old.usage == new.usage, "usage"),
        (old.admin == new.admin, "admin"),
        (old.metrics == new.metrics, "metrics"),
        (old.log.access == new.log.access && old.log.level == new.log.level, "log"),
    ]
    .into_iter()
    .find_map(|(same, setting)| (!same).then_some(setting))
}
