//! A gateway under attack, beside clients that do nothing wrong: who attacks is cut within its deadline and told why, as
//! far as it can be told anything; what it held is given back; the others are served throughout.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::config::is_general;
use super::healthy::{HEALTHY, HEALTHY_UPLOAD, Healthy, Took};
use super::request::{get, request};
use super::swarm::{Null, Script, Swarm};
use super::{BroadUpstream, Config, Gateway, Key, count, wait_for, wait_within};

/// The most that a healthy client may wait for an answer, and nearly all of them.
fn patient() -> [Duration; 2] {
    count([20, 10], [5, 2]).map(Duration::from_secs)
}
/// What memory may have grown by when the attack is over: what the allocator keeps for the next.
const KEPT_KIB: u64 = 32 << 10;
/// How much later than the gateway an attacker may have looked at the clock, among all the others.
pub const EARLY: Duration = Duration::from_millis(300);

/// A megabyte, without a key.
pub const OPEN: &str = "/bytes/1000000";

/// Of heads, bodies and writes; in the long form long enough that all attackers are there before the first is cut.
pub fn deadline() -> Duration {
    count(Duration::from_secs(1), Duration::from_secs(20))
}

/// Between two requests.
pub fn idle() -> Duration {
    count(Duration::from_secs(2), Duration::from_secs(25))
}

/// For a request with its answer.
pub fn age() -> Duration {
    count(Duration::from_secs(2), Duration::from_secs(30))
}

/// How much later than its deadline somebody may be cut: a tick of the timers, and the queue of thousands of ends. The
/// program under test is not optimised, and in the short form the machine may have stopped for a while; that it was this
/// deadline, and no later one, is told by what is counted.
fn late() -> Duration {
    count(Duration::from_secs(10), Duration::from_secs(3))
}

/// How long it may take until all that is between an upstream and clients that read nothing is full; in the short form also
/// on a machine that has stopped for a while.
fn filled() -> Duration {
    count(Duration::from_secs(20), Duration::from_secs(15))
}

/// Several of one kind.
pub struct Attack {
    pub name: &'static str,
    pub attackers: usize,
    pub script: Script,
    /// From the first byte, or from the last answer; `None`: by what it sends, however long the machine takes over it.
    pub cut_after: Option<Duration>,
    /// The last status is one of these; nothing at all is told where there is none.
    pub told: &'static [u16],
}

/// See the module's text.
pub struct Rig {
    pub upstream: BroadUpstream,
    /// The healthy have a thread of their own to answer them: what the attackers have another one do is no fault of the
    /// gateway.
    _for_healthy: BroadUpstream,
    pub gateway: Gateway,
    pub key: Key,
    memory_kib: u64,
}

impl Rig {
    /// With deadlines that are soon over.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same, and these limits.
    pub fn with(limits: &str) -> Self {
        let (deadline, idle, age) = (deadline().as_secs(), idle().as_secs(), age().as_secs());
        Self::patient(&format!(
            "header_timeout = \"{deadline}s\"\nbody_stall = \"{deadline}s\"\nwrite_stall = \"{deadline}s\"\n\
             idle_timeout = \"{idle}s\"\nmax_stream_age = \"{age}s\"\n{limits}"
        ))
    }

    /// With these limits, and deadlines that nobody reaches who is not told to.
    pub fn patient(limits: &str) -> Self {
        raise_descriptors();
        let (upstream, for_healthy) = (BroadUpstream::giving_way(), BroadUpstream::start());
        // For whoever brings no key.
        let open = format!("path = {OPEN:?}\nupstream = \"api\"\naccess = \"public\"");
        let config = Config::default()
            .upstream_at("api", &[upstream.address().to_string()], "")
            .upstream_at("healthy", &[for_healthy.address().to_string()], "")
            .route("path = \"/\"\nupstream = \"api\"")
            .route(&format!("path = {HEALTHY:?}\nupstream = \"healthy\""))
            .route(&format!("path = {HEALTHY_UPLOAD:?}\nupstream = \"healthy\""))
            .route(&open)
            .limits(limits);
        let config =
            if limits.contains("max_connections =") { config } else { config.limits("max_connections = 16000") };
        let config = if limits.contains("timeout") { config } else { config.limits("header_timeout = \"5m\"") };
        let gateway = Gateway::start(&config);
        let key = gateway.key_add("admin", "admin");
        assert_eq!(gateway.node.get("/warm", &key).status, 200);
        let memory_kib = memory_kib(&gateway);
        Self { upstream, _for_healthy: for_healthy, gateway, key, memory_kib }
    }

    pub fn address(&self) -> SocketAddr {
        self.gateway.node.address()
    }

    pub fn healthy(&self) -> Healthy {
        Healthy::start(self.address(), &self.key.encoded)
    }

    /// All at once, beside healthy clients, until the last is cut. In the long form the healthy are watched before and after,
    /// too, while the attackers do the same to somebody else: what these take of the machine is no fault of the gateway.
    /// (Not where nobody waits for anything: that is over too soon to be timed.)
    pub fn withstands(&self, attacks: &[Attack]) {
        let is_slow = attacks.iter().any(|attack| attack.cut_after.is_some());
        let before = (count(false, true) && is_slow).then(|| self.calm(attacks));
        let healthy = self.healthy();
        let swarm =
            |(part, attack): (u8, &Attack)| Swarm::start(part, self.address(), attack.attackers, attack.script.clone());
        let swarms: Vec<Swarm> = (1..).zip(attacks).map(swarm).collect();
        if count(false, true) {
            wait_for("all attackers are there", || swarms.iter().all(Swarm::is_complete));
            self.print_memory("at most");
        }
        for (attack, swarm) in attacks.iter().zip(swarms) {
            attack.assert_cut(swarm);
        }
        self.recovers(healthy.finish(), before, || self.calm(attacks));
    }

    /// Healthy clients, while the attackers do the same to somebody else, who ends them as soon.
    fn calm(&self, attacks: &[Attack]) -> Took {
        let null = |attack: &Attack| Null::start(attack.cut_after.unwrap_or_default(), false);
        let nulls: Vec<Null> = attacks.iter().map(null).collect();
        let healthy = self.healthy();
        let swarm = |((part, attack), null): ((u8, &Attack), &Null)| {
            Swarm::start(part, null.address(), attack.attackers, attack.script.clone())
        };
        let swarms: Vec<Swarm> = (100..).zip(attacks).zip(&nulls).map(swarm).collect();
        for swarm in swarms {
            swarm.finish();
        }
        healthy.finish()
    }

    /// Healthy clients were served, hardly slower than else, and what attackers held is given back.
    fn recovers(&self, took: Took, before: Option<Took>, after: impl FnOnce() -> Took) {
        println!("healthy, attacked: {took}");
        let [most, p99] = patient();
        assert!(took.most < most && took.p99 < p99, "{took}");
        self.gives_back();
        let Some(before) = before else { return };
        println!("healthy, before: {before}");
        if took.p99 >= 2 * before.p99 {
            let after = after();
            println!("healthy, afterwards: {after}");
            assert!(took.p99 < 2 * after.p99, "{took}, but else {before}; {after}");
        }
    }

    /// What attackers held is free again.
    pub fn gives_back(&self) {
        wait_for("no connection is left", || self.gauge("keygate_connections") == 0);
        wait_for("no request is left", || self.gauge("keygate_requests_in_flight") == 0);
        self.print_memory("afterwards");
        // The allocator takes its time, and looks only when it is asked for something.
        if count(false, true) {
            wait_for("memory is given back", || {
                assert_eq!(self.gateway.node.get("/cold", &self.key).status, 200);
                memory_kib(&self.gateway) < self.memory_kib + KEPT_KIB
            });
            self.print_memory("in the end");
        }
    }

    pub fn print_memory(&self, when: &str) {
        let (now, before, sockets) = (memory_kib(&self.gateway), self.memory_kib, sockets_kib());
        println!("memory {when}: {now} KiB, {before} before; the system's for all sockets: {sockets} KiB");
    }

    /// Readers of an answer that has no end worth waiting for, or of many. They see nothing of the cut behind all that they
    /// do not read: the gateway's gauge does.
    pub fn cuts_readers(&self, attackers: usize, script: &Script, gauge: &str, cut_after: Duration) {
        let before = count(false, true).then(|| self.calm_readers(attackers, script, gauge, cut_after));
        let healthy = self.healthy();
        let swarm = Swarm::start(1, self.address(), attackers, script.clone());
        wait_for("all readers are there", || swarm.is_complete());
        let began = Instant::now();
        wait_within(filled(), "all of them are served", || self.gauge(gauge) >= attackers);
        self.print_memory("at most");
        wait_within(cut_after + filled(), "the readers are cut", || self.gauge(gauge) < 10);
        let after = began.elapsed();
        assert!(after + EARLY >= cut_after && after <= cut_after + filled(), "cut after {after:?}");
        self.lets_the_upstream_go();
        let cuts = swarm.stop();
        assert!(cuts.iter().all(|cut| cut.told.iter().all(|status| [200, 401].contains(status))), "{cuts:?}");
        self.recovers(healthy.finish(), before, || self.calm_readers(attackers, script, gauge, cut_after));
    }

    /// As [`Self::calm`]; and the gateway is asked for its gauge as often.
    fn calm_readers(&self, attackers: usize, script: &Script, gauge: &str, cut_after: Duration) -> Took {
        let null = Null::start(cut_after, true);
        let healthy = self.healthy();
        let swarm = Swarm::start(100, null.address(), attackers, script.clone());
        wait_for("all readers are there", || swarm.is_complete());
        wait_within(cut_after + filled(), "the readers are cut", || {
            self.gauge(gauge) < attackers && null.open_connections() == 0
        });
        swarm.stop();
        healthy.finish()
    }

    /// None of its connections is held for an attacker any more.
    pub fn lets_the_upstream_go(&self) {
        wait_for("the upstream is let go", || self.upstream.open_connections() < 16);
    }

    pub fn gauge(&self, name: &str) -> usize {
        self.metric(name, &[])
    }

    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "they count")]
    pub fn metric(&self, name: &str, labels: &[&str]) -> usize {
        self.gateway.node.metric(name, labels).round() as usize
    }

    #[track_caller]
    pub fn assert_refused(&self, reason: &str, times: usize) {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(self.metric("keygate_refusals_total", &[&label]), times, "{reason}");
    }

    /// The head of a request with a body of a million bytes.
    pub fn upload(&self, expect: &str) -> Vec<u8> {
        let request = request("POST", "/sink/attack").field("Content-Length", "1000000");
        let request = if expect.is_empty() { request } else { request.field("Expect", expect) };
        request.bearer(&self.key).bytes()
    }

    /// The head of a request with a body in chunks, and these bytes of it.
    pub fn chunks(&self, begun: &str) -> Vec<u8> {
        let head = request("POST", "/sink/attack").field("Transfer-Encoding", "chunked").bearer(&self.key).bytes();
        [&head, begun.as_bytes()].concat()
    }

    /// `GET target` with the key.
    pub fn get(&self, target: &str) -> Vec<u8> {
        get(target).bearer(&self.key).bytes()
    }
}

impl Attack {
    fn assert_cut(&self, swarm: Swarm) {
        let Self { name, cut_after, told, .. } = self;
        for cut in swarm.finish() {
            assert!(cut.by_gateway, "{name}: never cut, but told {:?}", cut.told);
            let is_in_time = cut_after.is_none_or(|due| cut.after + EARLY >= due && cut.after <= due + late());
            assert!(is_in_time, "{name}: cut after {:?}", cut.after);
            let is_told = cut.told.last().map_or(told.is_empty(), |status| told.contains(status));
            assert!(is_told, "{name}: told {:?} instead of one of {told:?}", cut.told);
        }
    }
}

/// A connection of each attacker needs a descriptor here and one in the gateway, which inherits the limit; two here while
/// they attack somebody else.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("its own limit");
    let enough = count(4000, 18_000);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most >= enough, "RLIMIT_NOFILE is {most}, and {enough} are needed");
}

/// These bytes, again and again.
pub fn dripping(first: Vec<u8>, bytes: &[u8], millis: u64) -> Script {
    Script { first, drip: Some((bytes.to_vec(), Duration::from_millis(millis))), ..Script::default() }
}

/// So many attackers; of those that cost the general lane more, fewer.
pub fn attackers(short: usize, long: usize, long_in_general: usize) -> usize {
    count(short, if is_general() { long_in_general } else { long })
}

/// What the system holds for TCP, in all.
fn sockets_kib() -> u64 {
    let stat = std::fs::read_to_string("/proc/net/sockstat").expect("/proc");
    let line = stat.lines().find_map(|line| line.strip_prefix("TCP: ")).expect("TCP");
    let pages = line.rsplit(' ').next().and_then(|pages| pages.parse::<u64>().ok()).expect("a number");
    // It counts in pages, of 4 KiB wherever these tests run.
    pages * 4
}

/// What the gateway holds.
pub fn memory_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.node.pid())).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
