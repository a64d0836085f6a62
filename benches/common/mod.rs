//! What the benches and the allocation test stand on: a keyring of any size, and one request's way to a decision.

#![allow(dead_code, reason = "each of them uses a part")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use keygate::clock::{BootTime, Clock, SystemClock};
use keygate::config::resolved::{self, Access};
use keygate::credential::{
    AppKey, Claims, EncodedKey, KeyId, KeyState, Role, SharedSecret, SigningKey, TokenKind, encode,
};
use keygate::entropy::{Entropy, SystemEntropy};
use keygate::fleet::lease::LeaseGate;
use keygate::keyring::{Generation, Generations, Keyring, Record};
use keygate::proxy::authorize::{Admission, Authority, authorize};
use keygate::proxy::head::{self, HeadLimits, Parsed};
use keygate::proxy::headers::Presented;
use keygate::proxy::reject::Rejection;
use keygate::proxy::route::{Route, Routes};
use keygate::proxy::upstream::Upstream;

pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub fn version(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("versions begin at 1")
}

/// The sizes to measure: up to `KEYGATE_BENCH_KEYS`, without it a million.
#[allow(clippy::disallowed_methods, reason = "a bench is told its size by the environment")]
pub fn sizes() -> impl Iterator<Item = usize> {
    let most: usize = std::env::var("KEYGATE_BENCH_KEYS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000_000);
    [10_000, 1_000_000, 10_000_000].into_iter().filter(move |n| *n <= most)
}

/// Where a decision is made, with nothing around it.
pub struct Bench {
    pub keyring: Keyring,
    pub lease: LeaseGate,
    pub clock: SystemClock,
    pub secret: SharedSecret,
    pub signing: SigningKey,
    pub route: Arc<Route>,
}

impl Bench {
    pub fn new() -> Self {
        let keyring = Keyring::new(&SystemEntropy);
        let secret = SharedSecret::generate(version(7), &SystemEntropy);
        let signing = SigningKey::generate(&SystemEntropy);
        keyring.set_generations(Generations::new(Generation::new(&secret, Some(&signing)), None));
        let lease = LeaseGate::closed();
        lease.admit_until(BootTime::from_nanos(u64::MAX));
        Self { keyring, lease, clock: SystemClock, secret, signing, route: route() }
    }

    /// Adds keys; gives the encoded keys of the first `keep`.
    pub fn fill(&self, keys: usize, keep: usize) -> Vec<String> {
        let mut kept = Vec::with_capacity(keep);
        let source = Quick::new();
        for n in 0..keys {
            let app_key = AppKey::generate(KeyId::draw(&source), &source);
            self.put(&app_key, n, if n % 2 == 0 { Role::Admin } else { Role::ReadOnly });
            if kept.len() < keep {
                kept.push(encode(&app_key, &self.secret).to_string());
            }
        }
        kept
    }

    /// Access tokens of these keys, of now.
    pub fn tokens(&self, keys: &[String]) -> Vec<String> {
        let mac = self.signing.mac_key();
        let end = u32::try_from(self.clock.wall().as_millis() / 1000).expect("before 2106") + 86_400;
        let token = |key: &String| {
            let (version, id) = EncodedKey::claim(key.as_bytes()).expect("an encoded key");
            Claims { version, id, epoch: 0, end }.sign(TokenKind::Access, &mac).to_string()
        };
        keys.iter().map(token).collect()
    }

    fn put(&self, app_key: &AppKey, n: usize, role: Role) {
        let record = Record {
            epoch: 0,
            role,
            state: KeyState::Active,
            digest: app_key.digest(),
            name: format!("application-{n:08}").into(),
            policy: None,
        };
        self.keyring.put(app_key.id(), record).expect("there is room");
    }

    /// One key of this role, encoded with this secret.
    pub fn key(&self, role: Role, secret: &SharedSecret) -> String {
        let app_key = AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy);
        self.put(&app_key, 0, role);
        encode(&app_key, secret).to_string()
    }

    /// One key, encoded with the current secret and with one that is in its grace period: in turn, each pushes the
    /// other's fingerprint out of the slot, so that every sight is a first one.
    pub fn pair(&self, previous: &SharedSecret) -> [String; 2] {
        let app_key = AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy);
        self.put(&app_key, 0, Role::Admin);
        let until = self.clock.wall().plus(Duration::from_hours(24));
        let generations =
            Generations::new(Generation::new(&self.secret, None), Some((Generation::new(previous, None), until)));
        self.keyring.set_generations(generations);
        [encode(&app_key, &self.secret).to_string(), encode(&app_key, previous).to_string()]
    }

    /// The decision about one request with this key.
    pub fn decide(&self, method: &str, key: &str) -> Result<Admission<'_>, Rejection> {
        let text = format!("{method} /items HTTP/1.1\r\nHost: api\r\n\r\n");
        self.decide_about(text.as_bytes(), key)
    }

    /// The same about a head that is there already.
    pub fn decide_about(&self, text: &[u8], key: &str) -> Result<Admission<'_>, Rejection> {
        let mut space = head::Space::<4>::new();
        let limits = HeadLimits { size: 4096, fields: 3 };
        let Parsed::Head(head) = head::parse(text, &mut space, limits) else { panic!("the head is plain") };
        self.authorize(&head, key)
    }

    pub fn authorize(&self, head: &head::Head<'_, '_>, key: &str) -> Result<Admission<'_>, Rejection> {
        let authority =
            Authority { keyring: &self.keyring, lease: &self.lease, clock: &self.clock, takes_tokens: true, news: 0 };
        authorize(authority, &self.route, head, None, Presented::One(key.as_bytes()), CLIENT).map_err(|(why, _)| why)
    }

    /// What a request does besides: last login and counts.
    pub fn record(&self, admission: &Admission<'_>) {
        if let Some(found) = &admission.key {
            self.keyring.news.admitted(found.index, &found.slot.usage, self.clock.wall_coarse(), CLIENT);
        }
    }
}

fn route() -> Arc<Route> {
    let upstream = resolved::Upstream {
        name: "api".to_owned(),
        servers: vec![resolved::UpstreamServer { address: "127.0.0.1:9".to_owned(), weight: 1 }],
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        pool_size: 1,
        health: None,
    };
    let route = resolved::Route {
        host: None,
        path: "/".to_owned(),
        upstream: 0,
        access: Access::Key,
        rules: Vec::new(),
        preflight: false,
        lenient_paths: false,
    };
    let upstream = Arc::new(Upstream::new(0, &upstream, 1).expect("an address needs no look-up"));
    let routes = Routes::new(&[route], &[upstream]);
    Arc::clone(routes.find(b"api", b"/").expect("one route takes all"))
}

/// A fast source for ten million keys: it stands for the slow one, and guards nothing.
pub struct Quick(std::sync::atomic::AtomicU64);

impl Quick {
    pub fn new() -> Self {
        let mut seed = [0; 8];
        SystemEntropy.fill(&mut seed);
        Self(u64::from_le_bytes(seed).into())
    }
}

impl Entropy for Quick {
    fn fill(&self, out: &mut [u8]) {
        // SplitMix64 (Steele, Lea and Flood 2014).
        for chunk in out.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
