//! Attacks by waiting: heads, bodies and readers that never come to their end, and connections on which nothing
//! happens. Each attacker is cut within its deadline and told why, as far as it can be told anything; what it held is
//! given back; whoever does nothing wrong is served throughout.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::healthy::Healthy;
use crate::support::request::{get, request};
use crate::support::swarm::{Script, Swarm};
use crate::support::{Config, Gateway, Key, Upstream, count, wait_for};

/// The most that a healthy client may wait for an answer, and nearly all of them.
const PATIENT: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(2)];
/// What memory may have grown by when the attack is over: what the allocator keeps for the next.
const KEPT_KIB: u64 = 32 << 10;

/// Of heads, bodies and writes.
fn deadline() -> Duration {
    count(Duration::from_secs(1), Duration::from_secs(5))
}

/// Between two requests.
fn idle() -> Duration {
    deadline() * 2
}

/// For a request with its answer.
fn age() -> Duration {
    deadline() * 2
}

/// How much later than its deadline somebody may be cut: a tick of the timers, and the queue of thousands of ends.
/// The program under test is not optimised.
fn late() -> Duration {
    count(Duration::from_secs(2), Duration::from_secs(3))
}

/// How much later than the gateway an attacker may have looked at the clock, among all the others.
const EARLY: Duration = Duration::from_millis(300);
/// How long it may take until all that is between an upstream and clients that read nothing is full.
fn filled() -> Duration {
    count(Duration::from_secs(4), Duration::from_secs(15))
}

/// Several of one kind.
struct Attack {
    name: &'static str,
    attackers: usize,
    script: Script,
    /// From the first byte, or from the last answer.
    cut_after: Duration,
    /// The status, or one of these; nothing at all where there is none.
    told: &'static [u16],
}

struct Rig {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
    memory_kib: u64,
}

impl Rig {
    fn start() -> Self {
        raise_descriptors();
        let upstream = Upstream::echo();
        let (deadline, idle, age) = (deadline().as_secs(), idle().as_secs(), age().as_secs());
        let config = Config::in_front_of(&upstream).limits(&format!(
            "max_connections = 16000\nheader_timeout = \"{deadline}s\"\nbody_stall = \"{deadline}s\"\n\
             write_stall = \"{deadline}s\"\nidle_timeout = \"{idle}s\"\nmax_stream_age = \"{age}s\""
        ));
        let gateway = Gateway::start(&config);
        let key = gateway.key_add("admin", "admin");
        assert_eq!(gateway.node.get("/warm", &key).status, 200);
        let memory_kib = memory_kib(&gateway);
        Self { upstream, gateway, key, memory_kib }
    }

    /// All at once, beside healthy clients, until the last is cut.
    fn withstands(&self, attacks: &[Attack]) {
        let address = self.gateway.node.address();
        let healthy = Healthy::start(address, &self.key.encoded);
        let swarm =
            |(part, attack): (u8, &Attack)| Swarm::start(part, address, attack.attackers, attack.script.clone());
        let swarms: Vec<Swarm> = (1..).zip(attacks).map(swarm).collect();
        for (attack, swarm) in attacks.iter().zip(swarms) {
            let Attack { name, cut_after, told, .. } = attack;
            for cut in swarm.finish() {
                assert!(cut.by_gateway, "{name}: never cut, but told {:?}", cut.told);
                let is_in_time = cut.after + EARLY >= *cut_after && cut.after <= *cut_after + late();
                assert!(is_in_time, "{name}: cut after {:?}", cut.after);
                let is_told = match cut.told[..] {
                    [] => told.is_empty(),
                    [status] => told.contains(&status),
                    _ => false,
                };
                assert!(is_told, "{name}: told {:?} instead of one of {told:?}", cut.told);
            }
        }
        self.recovers(healthy);
    }

    /// Healthy clients were served, and what attackers held is given back.
    fn recovers(&self, healthy: Healthy) {
        let took = healthy.finish();
        let (p99, worst) = (took[took.len() * 99 / 100], took[took.len() - 1]);
        let told = format!("of {} healthy requests one took {worst:?}, 99 % below {p99:?}", took.len());
        println!("{told}");
        assert!(worst < PATIENT[0] && p99 < PATIENT[1], "{told}");
        wait_for("no connection is left", || self.gauge("keygate_connections") == 0);
        wait_for("no request is left", || self.gauge("keygate_requests_in_flight") == 0);
        // The allocator takes its time, and looks only when it is asked for something.
        if count(false, true) {
            wait_for("memory is given back", || {
                let kib = memory_kib(&self.gateway);
                assert_eq!(self.gateway.node.get("/cold", &self.key).status, 200);
                kib < self.memory_kib + KEPT_KIB
            });
        }
    }

    /// Readers of an answer that has no end worth waiting for. They see nothing of the cut behind all that they do not
    /// read: the gateway's gauge does.
    fn cuts_readers(&self, attackers: usize, sip: (usize, Duration), cut_after: Duration) {
        let address = self.gateway.node.address();
        let healthy = Healthy::start(address, &self.key.encoded);
        let first = get("/bytes/1000000000").bearer(&self.key).bytes();
        let swarm = Swarm::start(1, address, attackers, Script { first, sip: Some(sip), ..Script::default() });
        wait_for("all readers are there", || swarm.is_complete());
        let began = Instant::now();
        wait_for("all of them are served", || self.gauge("keygate_requests_in_flight") >= attackers);
        wait_for("the readers are cut", || self.gauge("keygate_requests_in_flight") < 10);
        let after = began.elapsed();
        assert!(after + EARLY >= cut_after && after <= cut_after + filled(), "cut after {after:?}");
        self.lets_the_upstream_go();
        let cuts = swarm.stop();
        assert!(cuts.iter().all(|cut| matches!(cut.told[..], [] | [200])), "{cuts:?}");
        self.recovers(healthy);
    }

    /// None of its connections is held for an attacker any more.
    fn lets_the_upstream_go(&self) {
        wait_for("the upstream is let go", || self.upstream.open_connections() < 16);
    }

    fn gauge(&self, name: &str) -> usize {
        self.metric(name, &[])
    }

    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "they count")]
    fn metric(&self, name: &str, labels: &[&str]) -> usize {
        self.gateway.node.metric(name, labels).round() as usize
    }

    #[track_caller]
    fn assert_refused(&self, reason: &str, times: usize) {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(self.metric("keygate_refusals_total", &[&label]), times, "{reason}");
    }

    /// The head of a request with a body of a million bytes.
    fn upload(&self, field: &str) -> Vec<u8> {
        let request = request("POST", "/sink/attack").field("Content-Length", "1000000");
        let request = if field.is_empty() { request } else { request.field("Expect", field) };
        request.bearer(&self.key).bytes()
    }
}

/// A connection of each attacker needs a descriptor here and one in the gateway, which inherits the limit.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("its own limit");
    let enough = count(4000, 12_000);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most >= enough, "RLIMIT_NOFILE is {most}, and {enough} are needed");
}

/// What the gateway holds.
fn memory_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.node.pid())).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// These bytes, again and again.
fn dripping(first: Vec<u8>, bytes: &[u8], millis: u64) -> Script {
    Script { first, drip: Some((bytes.to_vec(), Duration::from_millis(millis))), ..Script::default() }
}

#[test]
fn slow_heads_are_cut_in_time() {
    let rig = Rig::start();
    let start = b"GET /x HTTP/1.1\r\nHost: gateway.test\r\nX-A: ".to_vec();
    let long = [&start[..], &vec![b'a'; 31_000]].concat();
    let served = get("/status/204").bearer(&rig.key).bytes();
    let slow = |name, attackers, script| Attack { name, attackers, script, cut_after: deadline(), told: &[408] };
    let pace = count(200, 1000);
    let attacks = vec![
        slow("bytes of a head", count(200, 1500), dripping(start.clone(), b"a", pace)),
        slow("a head without its end", count(100, 500), dripping(long, b"a", pace)),
        slow("a second head", count(100, 500), Script { before: served, ..dripping(start, b"a", pace) }),
        slow("empty lines", count(100, 500), dripping(b"\r\n".to_vec(), b"\r\n", pace / 2)),
    ];
    let all = attacks.iter().map(|attack| attack.attackers).sum();
    rig.withstands(&attacks);
    rig.assert_refused("head_timeout", all);
}

#[test]
fn slow_bodies_are_cut_in_time_and_never_look_whole() {
    let rig = Rig::start();
    let script = |bytes: &[u8]| Script { first: [bytes, b"0123456789"].concat(), ..Script::default() };
    let silent = |name, attackers, script| Attack { name, attackers, script, cut_after: deadline(), told: &[408] };
    let without_key = request("POST", "/sink/attack").field("Content-Length", "1000000").bytes();
    let attacks = vec![
        silent("a body that stops", count(100, 500), script(&rig.upload(""))),
        silent(
            "nothing after 100-continue",
            count(50, 200),
            Script { first: rig.upload("100-continue"), ..Script::default() },
        ),
        Attack {
            name: "a body without a key",
            attackers: count(100, 1000),
            script: dripping(without_key, b"a", count(300, 1000)),
            // Answered at once, and with the answer comes the end.
            cut_after: Duration::ZERO,
            told: &[401],
        },
    ];
    let admitted: usize = attacks.iter().take(2).map(|attack| attack.attackers).sum();
    let others = attacks[2].attackers;
    rig.withstands(&attacks);
    rig.assert_refused("body_timeout", admitted);
    rig.assert_refused("missing_credential", others);
    rig.lets_the_upstream_go();
    let seen = rig.upstream.seen_at("/sink/attack");
    assert_eq!(seen.len(), admitted);
    assert!(seen.iter().all(|seen| !seen.complete), "an upstream took one for whole");
}

#[test]
fn idle_connections_are_ended_in_time() {
    let rig = Rig::start();
    let attack = |name, before| Attack {
        name,
        attackers: count(300, 2000),
        script: Script { before, ..Script::default() },
        cut_after: idle(),
        told: &[],
    };
    let large = get("/status/204").bearer(&rig.key).field("X-Large", &"a".repeat(30_000)).bytes();
    rig.withstands(&[attack("nothing", Vec::new()), attack("nothing after a large head", large)]);
}

#[test]
fn bodies_that_never_stall_are_ended_by_their_age() {
    let rig = Rig::start();
    let length = rig.upload("");
    let chunks = request("POST", "/sink/attack").field("Transfer-Encoding", "chunked").bearer(&rig.key).bytes();
    let chunk = format!("1;a={}\r\nb\r\n", "c".repeat(200)).into_bytes();
    let attack = |name, first, bytes: &[u8]| Attack {
        name,
        attackers: count(50, 300),
        script: dripping(first, bytes, count(300, 1000)),
        cut_after: age(),
        told: &[408, 504],
    };
    rig.withstands(&[attack("a byte now and then", length, b"a"), attack("a chunk now and then", chunks, &chunk)]);
    rig.lets_the_upstream_go();
    assert!(rig.upstream.seen_at("/sink/attack").iter().all(|seen| !seen.complete), "an upstream took one for whole");
}

#[test]
fn readers_that_stop_are_cut_in_time() {
    Rig::start().cuts_readers(count(50, 100), (1, Duration::from_hours(1)), deadline());
}

/// The kernel takes a third of a connection's buffer at a time: whoever reads less than that within the deadline has
/// stalled.
#[test]
fn readers_that_never_stall_are_ended_by_their_age() {
    Rig::start().cuts_readers(count(10, 20), (256 << 10, Duration::from_millis(50)), age());
}
