//! Composition root: builds the services of a gateway process, starts and stops them in order.
//!
//! Nothing waits for another: threads for requests (`data_plane`); a thread for lease and follower, one for last logins, which
//! gives way to all others, and a small runtime for health checks, metrics, the admin plane and control, all of which end
//! after the first; and the access log's thread. The clocks and the random source enter here.
//!
//! Start: sockets are bound; metrics listener, store, upstreams, control socket; keyring and lease; the admin plane; and
//! only then the data plane's sockets listen.
//! Stop: not ready; accept nothing; answer what is in flight; the admin plane; write last logins; leave the fleet.

mod accept;
mod admin;
mod control;
mod data_plane;
mod descriptors;
mod observer;
mod phase;
mod reload;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::config::resolved::{Config, StoreLocation};
use crate::entropy::{Entropy, SystemEntropy};
use crate::fleet::lease::LeaseGate;
use crate::fleet::member::{Member, Setup};
use crate::keyring::Keyring;
use crate::keyring::follow::{BoxError, Follower, Opener};
use crate::lifecycle::{Lifecycle, MasterKeys};
use crate::metrics::server::{self, Readiness, Sources};
use crate::metrics::{AccessLog, Metrics, NotReady, default_registry, names, program_log};
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::reject::Rejection;
use crate::proxy::telemetry::Telemetry;
use crate::store::seal::Purpose;
use crate::store::sqlite::{SqliteNodeLocks, SqliteStore};
use crate::store::{Actor, Store as _};
use crate::usage::flush::Flusher;
use data_plane::{DRAIN_LOOK, DataPlane};
use observer::Observer;
use phase::Phase;
use reload::Reloader;

/// Bytes of access log that may wait for standard output.
const ACCESS_LOG_CAPACITY: usize = 8 * 1024 * 1024;
/// For the access log's last lines.
const ACCESS_LOG_CLOSE: Duration = Duration::from_secs(2);
/// For the last flush of last logins.
const LAST_FLUSH: Duration = Duration::from_secs(20);
/// What is added to the nice value of a thread that nobody waits for (nice(2)): it gets a tenth of a processor where others
/// want all of it, which is as much as ten thousand keys a second need.
const GIVES_WAY: i32 = 10;
/// For what is cut at the end of the drain: the general lane needs up to a second (`proxy::cutting`).
const CUT: Duration = Duration::from_secs(2);
/// Between two purges of old audit records and changes.
const PURGE_INTERVAL: Duration = Duration::from_hours(1);
/// Between two looks at whether a grace period is over.
const RETIRE_INTERVAL: Duration = Duration::from_mins(1);
/// Changes that are kept for followers; who is further behind reloads.
const CHANGES_KEPT: u64 = 100_000;

struct OpenWith(MasterKeys);

impl Opener for OpenWith {
    fn open(
        &self,
        sealed: &[u8],
        store_id: &str,
        purpose: Purpose,
        version: u32,
    ) -> Result<Zeroizing<Vec<u8>>, BoxError> {
        Ok(self.0.open_sealed(sealed, store_id, purpose, version)?.0)
    }
}

/// Runs a gateway until it is told to stop (SIGTERM or SIGINT), and then until all it has begun is done.
///
/// # Errors
/// Whatever keeps it from starting: an address that is taken, a store that cannot be read, …
pub fn serve(config: Config, master_keys: MasterKeys) -> anyhow::Result<()> {
    program_log::init(config.log.level)?;
    // Fails only where one is installed already, which then is this one: no other is compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Arc::new(Metrics::new(&default_registry(), &Rejection::REASONS)?);
    count_panics(&metrics);
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    let outcome = App { config, metrics, control: &control }.run(master_keys);
    control.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn count_panics(metrics: &Arc<Metrics>) {
    let panics = metrics.panics.clone();
    std::panic::set_hook(Box::new(move |panic| {
        panics.inc();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Not the payload: it may hold a request's bytes.
        tracing::error!(place, "a panic; it ends what it happened in, and nothing else");
    }));
}

struct App<'r> {
    config: Config,
    metrics: Arc<Metrics>,
    control: &'r Runtime,
}

impl App<'_> {
    fn run(self, master_keys: MasterKeys) -> anyhow::Result<()> {
        descriptors::raise(self.config.server.limits.max_connections);
        let sockets = data_plane::bind(&self.config.server.listen)?;
        let phase = Arc::new(Phase::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let keyring = Arc::new(Keyring::new(&*entropy));
        let lease = Arc::new(LeaseGate::closed());
        let (ended, _) = watch::channel(false);
        let metrics_address = self.serve_metrics(&phase, &keyring, &lease, &clock, &ended)?;
        let admin = admin::bind(&self.config.admin)?;
        let admin_address = admin.as_ref().map(admin::Bound::address);

        // All that may be refused comes before the node joins: then there is nothing to undo.
        let StoreLocation::Sqlite(path) = &self.config.store.location;
        let store = Arc::new(self.control.block_on(SqliteStore::open(path))?);
        let gateway = self.gateway(&keyring, &lease, &clock, &*entropy)?;
        let certificates = admin.as_ref().and_then(admin::Bound::certificates);
        let reloader =
            Reloader::new(self.config.clone(), Arc::clone(&gateway), Arc::clone(&self.metrics), certificates);
        self.control.block_on(reloader.begin());
        let reloader = Arc::new(reloader);
        let control_socket = control::bind(&self.config.server.run_dir)?;
        let stop = self.control.block_on(async { control::stop_signal() })?;
        let on_hangup = self.control.block_on(async { control::on_hangup(Arc::clone(&reloader)) })?;

        let lifecycle = self.lifecycle(path, &master_keys, &clock, &entropy)?;
        self.control.block_on(sign_tokens(&lifecycle));
        self.control.spawn(keep_signing(lifecycle.clone()));

        let observer = Arc::new(Observer(Arc::clone(&self.metrics)));
        let member = self.control.block_on(Member::join(Setup {
            store: store.clone(),
            locks: Arc::new(SqliteNodeLocks::new(path)),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            follower: Follower::new(Arc::clone(&keyring), Arc::new(OpenWith(master_keys))),
            gate: Arc::clone(&lease),
            observer: observer.clone(),
            node_id: node_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lease: self.config.store.lease,
        }))?;
        // On a thread of its own: nothing that the others do can keep the lease from being renewed.
        let member = std::thread::Builder::new().name("lease".to_owned()).spawn({
            let (control, ended) = (self.control.handle().clone(), ended.subscribe());
            move || control.block_on(stay_member(member, ended))
        })?;
        let (end_admin, _) = watch::channel(false);
        let admin = admin.map(|admin| {
            let (in_force, metrics) = (reloader.in_force(), Arc::clone(&self.metrics));
            self.control.spawn(admin.serve(lifecycle, in_force, metrics, until(end_admin.subscribe())))
        });
        let mut data_plane = match data_plane::start(&self.config, &gateway, sockets) {
            Ok(data_plane) => data_plane,
            Err(error) => {
                ended.send_replace(true);
                let _ = member.join();
                return Err(error);
            }
        };
        let flusher = Flusher::new(Arc::clone(&keyring), store.clone(), Arc::clone(&clock), observer);
        let interval = self.config.usage.flush_interval;
        // On a thread that gives way: requests would have to wait for what it does. The store's thread for last logins begins
        // with it, and is like it.
        let flusher = std::thread::Builder::new().name("usage".to_owned()).spawn({
            let (control, ended) = (self.control.handle().clone(), ended.subscribe());
            move || {
                // Where it may not, it works as all others do.
                let _ = rustix::process::nice(GIVES_WAY);
                control.block_on(flusher.run(interval, until(ended), LAST_FLUSH))
            }
        })?;
        self.control.spawn(retire(Arc::clone(&store), Arc::clone(&clock)));
        self.control.spawn(purge(store, Arc::clone(&clock), self.config.store.audit_retention));
        self.control.spawn(control_socket.serve(reloader));
        self.control.spawn(on_hangup);
        phase.set(Phase::SERVING);
        announce(data_plane.addresses(), admin_address, metrics_address);

        self.control.block_on(stop);
        tracing::info!("stopping");
        phase.set(Phase::DRAINING);
        gateway.drain();
        data_plane.stop_accepting();
        self.drain(&gateway, &mut data_plane);
        data_plane.end();
        end_admin.send_replace(true);
        // A panic in it was logged.
        let _ = admin.map(|admin: JoinHandle<()>| self.control.block_on(admin));
        // Leases and last logins are needed as long as requests are, and no longer.
        ended.send_replace(true);
        // A panic in it was logged.
        let lost = flusher.join().unwrap_or_default();
        self.metrics.usage_dropped.inc_by(lost as u64);
        // A panic in it was logged; its row is found to be gone by its lock.
        let _ = member.join();
        if let Some(log) = &gateway.telemetry.access_log {
            log.close(ACCESS_LOG_CLOSE);
        }
        anyhow::ensure!(lost == 0, "the last logins of {lost} keys could not be written before the end");
        Ok(())
    }

    /// What the admin plane changes things with. On connections of its own: its lists must not keep the follower
    /// waiting.
    fn lifecycle(
        &self,
        path: &Path,
        master: &MasterKeys,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> anyhow::Result<Lifecycle> {
        Ok(Lifecycle {
            store: Arc::new(self.control.block_on(SqliteStore::open(path))?),
            locks: Arc::new(SqliteNodeLocks::new(path)),
            master: master.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
        })
    }

    fn gateway(
        &self,
        keyring: &Arc<Keyring>,
        lease: &Arc<LeaseGate>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> anyhow::Result<Arc<Gateway>> {
        let live = Live::new(&self.config, &self.metrics)?;
        let access_log = match self.config.log.access {
            true => {
                Some(AccessLog::to_stdout(ACCESS_LOG_CAPACITY, &self.metrics).context("cannot start the access log")?)
            }
            false => None,
        };
        let telemetry = Telemetry {
            no_route: self.metrics.route(names::NO_ROUTE)?,
            metrics: Arc::clone(&self.metrics),
            access_log,
            keyring: Arc::clone(keyring),
            clock: Arc::clone(clock),
        };
        let mut process_id = [0; 8];
        entropy.fill(&mut process_id);
        let process_id = u64::from_be_bytes(process_id);
        Ok(Arc::new(Gateway::new(
            Arc::clone(keyring),
            Arc::clone(lease),
            Arc::clone(clock),
            live,
            telemetry,
            process_id,
        )))
    }

    fn serve_metrics(
        &self,
        phase: &Arc<Phase>,
        keyring: &Arc<Keyring>,
        lease: &Arc<LeaseGate>,
        clock: &Arc<dyn Clock>,
        ended: &watch::Sender<bool>,
    ) -> anyhow::Result<Option<SocketAddr>> {
        let Some(address) = self.config.metrics.listen else { return Ok(None) };
        let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let bound = listener.local_addr()?;
        let sources = Sources {
            readiness: Arc::new({
                let (phase, lease, clock) = (Arc::clone(phase), Arc::clone(lease), Arc::clone(clock));
                move || {
                    let no_lease = (!lease.admits(clock.boot())).then_some(NotReady::NoLease);
                    Readiness { reasons: phase.reason().into_iter().chain(no_lease).collect() }
                }
            }),
            refresh: Arc::new({
                let (metrics, keyring) = (Arc::clone(&self.metrics), Arc::clone(keyring));
                let (lease, clock) = (Arc::clone(lease), Arc::clone(clock));
                move || observer::refresh(&metrics, &keyring, &lease, &*clock)
            }),
            registry: default_registry(),
        };
        self.control.spawn(server::serve(listener, sources, until(ended.subscribe())));
        Ok(Some(bound))
    }

    /// Until no connection is open, or for the configured time.
    fn drain(&self, gateway: &Gateway, data_plane: &mut DataPlane) {
        let limit = self.config.server.drain_timeout;
        let drained = self.control.block_on(async { tokio::time::timeout(limit, data_plane.drained()).await });
        if drained.is_err() {
            let connections = gateway.open_connections();
            tracing::warn!(connections, "connections are cut: they took longer than drain_timeout");
            self.control.block_on(cut(gateway));
        }
    }
}

/// Ends what goes on, so that each is told and logged as far as it can be.
async fn cut(gateway: &Gateway) {
    let _ = tokio::time::timeout(CUT, async {
        while gateway.open.busy() > 0 {
            gateway.cut_all();
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    })
    .await;
}

async fn stay_member(mut member: Member, ended: watch::Receiver<bool>) {
    member.run(until(ended)).await;
    member.leave().await;
}

async fn until(mut ended: watch::Receiver<bool>) {
    // An error means that the sender is gone, and the process at its end.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// A generation that an older gateway made beside this one has no signing key either.
async fn keep_signing(lifecycle: Lifecycle) {
    loop {
        tokio::time::sleep(RETIRE_INTERVAL).await;
        sign_tokens(&lifecycle).await;
    }
}

/// A store that was made before there were access tokens has no key to sign them with. Without one, requests are served all
/// the same, and the token exchange says that it cannot decide.
async fn sign_tokens(lifecycle: &Lifecycle) {
    let actor = Actor { who: "system".to_owned(), from: "local".to_owned() };
    if let Err(error) = lifecycle.ensure_signing_keys(&actor).await {
        tracing::warn!(%error, "there is no key to sign access tokens with, and none could be made");
    }
}

/// What a grace period kept must not lie about after its end. Looks first: a write each minute would be one too many.
async fn retire(store: Arc<SqliteStore>, clock: Arc<dyn Clock>) {
    loop {
        let outcome = async {
            let secrets = store.secrets().await?.secrets;
            match secrets.previous.is_some() && secrets.in_grace(clock.wall()).is_none() {
                true => store.retire_ended_grace(clock.wall()).await,
                false => Ok(()),
            }
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, "the shared secret of a grace period that is over could not be erased; it will be");
        }
        tokio::time::sleep(RETIRE_INTERVAL).await;
    }
}

async fn purge(store: Arc<SqliteStore>, clock: Arc<dyn Clock>, retention: Option<Duration>) {
    loop {
        let before = retention.map(|keep| clock.wall().minus(keep));
        if let Err(error) = store.purge(before, CHANGES_KEPT).await {
            tracing::warn!(%error, "old audit records could not be removed; they will be next time");
        }
        if let Err(error) = store.purge_sessions(clock.wall()).await {
            tracing::warn!(%error, "sessions that have ended could not be removed; they will be next time");
        }
        tokio::time::sleep(PURGE_INTERVAL).await;
    }
}

/// `hostname:pid`, for people.
fn node_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// The one line that says that requests are taken.
fn announce(server: &[SocketAddr], admin: Option<SocketAddr>, metrics: Option<SocketAddr>) {
    let line = serde_json::json!({ "event": "listening", "server": server, "admin": admin, "metrics": metrics });
    // One write: whoever waits for the line gets it whole.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
