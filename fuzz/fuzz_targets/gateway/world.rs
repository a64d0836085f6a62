//! Two gateways that differ in `server.express_lane` alone, and a plan that happens in front of and behind one of them.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use keygate::clock::{BootTime, Clock, WallTime};
use keygate::config::resolved::Config;
use keygate::credential::{AppKey, KeyId, KeyState, Role, SharedSecret, encode};
use keygate::entropy::Entropy;
use keygate::fleet::lease::LeaseGate;
use keygate::keyring::{Generation, Generations, Keyring, Record};
use keygate::metrics::{Metrics, Registry, names};
use keygate::proxy::connection::Front;
use keygate::proxy::gateway::{Gateway, Live};
use keygate::proxy::general::General;
use keygate::proxy::reject::Rejection;
use keygate::proxy::route::Routes;
use keygate::proxy::telemetry::Telemetry;
use keygate::proxy::upstream::Upstream;
use pingora_core::connectors::L4Connect;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::runtime::RngSeed;

use super::messages::Asked;
use super::plan::{Deed, Plan};
use super::servers::{Play, Servers};
use super::sockets::{End, Held};

const CONFIG: &str = r#"
    [server]
    listen = ["127.0.0.1:0"]
    threads = 1
    [server.limits]
    max_body = "4KiB"
    max_header_size = "4KiB"
    max_headers = 30
    [[upstream]]
    name = "api"
    servers = ["127.0.0.1:9"]
    [[route]]
    path = "/"
    upstream = "api"
    [[route]]
    path = "/open"
    upstream = "api"
    access = "public"
    lenient_paths = true
    [store]
    url = "sqlite:keygate.db"
    [secrets]
    master_key_file = "master.key"
"#;

/// The same bytes in every run: a finding can be repeated.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) {
        for (at, byte) in (0u8..).zip(out) {
            *byte = at;
        }
    }
}

static SECRET: LazyLock<SharedSecret> = LazyLock::new(|| SharedSecret::generate(NonZeroU32::MIN, &Fixed));
static APP_KEY: LazyLock<AppKey> = LazyLock::new(|| AppKey::generate(KeyId::draw(&Fixed), &Fixed));
/// A key that is let in, and may do all.
pub static KEY: LazyLock<String> = LazyLock::new(|| encode(&APP_KEY, &SECRET).to_string());

/// Where the client is.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// tokio's clock, which stands still unless all wait for it.
struct Still(Instant);

impl Clock for Still {
    fn boot(&self) -> BootTime {
        let now = tokio::time::Instant::now().into_std();
        BootTime::ZERO.plus(Duration::from_hours(1) + now.saturating_duration_since(self.0))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_millis(1_800_000_000_000)
    }

    fn wall_coarse(&self) -> WallTime {
        self.wall()
    }
}

/// One gateway.
pub struct Lane {
    config: Config,
    gateway: Arc<Gateway>,
    front: Arc<Front>,
    metrics: Arc<Metrics>,
    servers: Arc<Servers>,
}

/// Both.
pub struct World {
    pub express: Lane,
    pub general: Lane,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

impl World {
    /// The one that there is; making it takes a while.
    pub fn with<T>(work: impl FnOnce(&Self) -> T) -> T {
        WORLD.with_borrow_mut(|world| {
            work(world.get_or_insert_with(|| Self { express: Lane::new(true), general: Lane::new(false) }))
        })
    }
}

/// What came of a plan in one lane.
pub struct Seen {
    /// What servers were asked, in this order.
    pub asked: Vec<Asked>,
    /// What the client was sent.
    pub answered: Vec<u8>,
    /// The gateway closed the client's connection by itself.
    pub is_closed: bool,
}

impl Lane {
    fn new(is_express: bool) -> Self {
        let mut config = keygate::config::parse(CONFIG, Path::new("keygate.toml")).expect("a configuration");
        config.server.express_lane = is_express;
        let metrics = Arc::new(Metrics::new(&Registry::new(), &Rejection::REASONS).expect("metrics"));
        let clock = Arc::new(Still(Instant::now()));
        let keyring = Arc::new(Keyring::new(&Fixed));
        keyring.set_generations(Generations::new(Generation::new(&SECRET, None), None));
        let record = Record {
            epoch: 0,
            role: Role::Admin,
            state: KeyState::Active,
            digest: APP_KEY.digest(),
            name: "fuzz".into(),
            policy: None,
        };
        keyring.put(APP_KEY.id(), record).expect("there is room");
        let lease = LeaseGate::closed();
        lease.admit_until(BootTime::from_nanos(u64::MAX));
        let telemetry = Telemetry {
            no_route: metrics.route(names::NO_ROUTE).expect("metrics"),
            metrics: Arc::clone(&metrics),
            access_log: None,
            keyring: Arc::clone(&keyring),
            clock: clock.clone(),
        };
        let servers = Arc::new(Servers::default());
        let live = live(&config, &metrics, &servers);
        let gateway = Arc::new(Gateway::new(keyring, Arc::new(lease), clock, live, telemetry, 1));
        let conf = Arc::new(ServerConf { threads: 1, max_retries: 2, ..ServerConf::default() });
        let mut general = HttpProxy::new(General::new(Arc::clone(&gateway)), conf);
        general.handle_init_modules();
        let front = Arc::new(Front::new(Arc::clone(&gateway), Arc::new(general)));
        Self { config, gateway, front, metrics, servers }
    }

    /// Lets the plan happen.
    pub fn run(&self, plan: &Plan) -> Seen {
        // With connections to servers of its own, none of them left over from another plan.
        self.servers.begin(plan);
        self.gateway.live.store(Arc::new(live(&self.config, &self.metrics, &self.servers)));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // In which order `select!` looks at its branches.
        runtime.rng_seed(RngSeed::from_bytes(&plan.seed));
        let runtime = runtime.enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(self.happen(plan))
    }

    async fn happen(&self, plan: &Plan) -> Seen {
        let (client, stream) = Held::pair(plan.most);
        let front = Arc::clone(&self.front);
        let connection = tokio::spawn(async move { front.serve(Box::new(stream), CLIENT).await });
        let mut play = Play::new(plan, client.clone(), &self.servers);
        for deed in &plan.client {
            match deed {
                Deed::Sends(bytes) => client.give(bytes),
                Deed::SendsAnd(bytes) => {
                    client.give(bytes);
                    continue;
                }
                Deed::Ends => client.end(End::Ended),
                Deed::Breaks => client.end(End::Broken),
            }
            play.rest().await;
            play.go_on().await;
        }
        play.rest().await;
        while play.go_on().await {}
        // Whoever lingers has gone; nobody's patience has ended yet.
        tokio::time::sleep(Duration::from_secs(5)).await;
        play.rest().await;
        let is_closed = client.is_closed();
        let answered = client.state().written.clone();
        client.end(End::Ended);
        for server in self.servers.connections() {
            server.end(End::Ended);
        }
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert!(connection.is_finished(), "the connection never ends\n{plan}");
        Seen { asked: play.asked(), answered, is_closed }
    }
}

/// With upstreams of its own.
fn live(config: &Config, metrics: &Metrics, servers: &Arc<Servers>) -> Live {
    let mut api = Upstream::new(0, &config.upstreams[0], 1).expect("an address needs no look-up");
    api.connect_through(&(Arc::clone(servers) as Arc<dyn L4Connect + Send + Sync>));
    let upstreams = vec![Arc::new(api)];
    Live {
        routes: Routes::new(&config.routes, &upstreams),
        upstreams,
        trusted_proxies: Vec::new(),
        limits: config.server.limits.clone(),
        route_metrics: config.routes.iter().map(|route| metrics.route(&route.label()).expect("metrics")).collect(),
        upstream_metrics: config.upstreams.iter().map(|u| metrics.upstream(&u.name).expect("metrics")).collect(),
        express_lane: config.server.express_lane,
        token_endpoints: None,
        threads: 1,
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", if self.is_closed { "closed" } else { "open" })?;
        for asked in &self.asked {
            writeln!(f, "  asked {asked}")?;
        }
        writeln!(f, "  answered \"{}\"", self.answered.escape_ascii())
    }
}
