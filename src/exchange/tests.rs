//! The exchange on a clock of its own: what holds until when, and what is told to whom.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::clock::{BootTime, FakeClock, WallTime};
use crate::credential::{AppKey, KeyId, KeyState, Policy, Role, SharedSecret, SigningKey, TokenKind};
use crate::entropy::SystemEntropy;
use crate::keyring::{Generation, Generations, Record, Verdict};

/// In seconds since 1970.
const NOW: u64 = 1_800_000_000;
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

struct Rig {
    exchanges: Exchanges,
    clock: Arc<FakeClock>,
    settings: TokenExchange,
    secret: SharedSecret,
    signing: SigningKey,
    app_key: AppKey,
}

fn settings() -> TokenExchange {
    TokenExchange {
        url: "http://127.0.0.1:8080".to_owned(),
        shortname: "acme".to_owned(),
        path: "/api/v1/auth/token".to_owned(),
        refresh_path: "/api/auth/bearer/refresh".to_owned(),
        access_lifetime: Duration::from_mins(15),
        refresh_lifetime: Duration::from_hours(8),
        request_timeout: Duration::from_secs(10),
        max_concurrent: 4,
    }
}

fn version(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn wall(seconds: u64) -> WallTime {
    WallTime::from_millis(seconds * 1000)
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FakeClock::at(BootTime::from_nanos(1 << 40), wall(NOW)));
        let lease = Arc::new(LeaseGate::closed());
        lease.admit_until(BootTime::from_nanos(u64::MAX));
        let keyring = Arc::new(Keyring::new(&SystemEntropy));
        let rig = Self {
            exchanges: Exchanges::new(keyring, lease, clock.clone()),
            clock,
            settings: settings(),
            secret: SharedSecret::generate(version(3), &SystemEntropy),
            signing: SigningKey::generate(&SystemEntropy),
            app_key: AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy),
        };
        rig.put(KeyState::Active, 0, Policy::default());
        rig.exchanges.keyring.set_generations(Generations::new(rig.generation(), None));
        rig
    }

    fn generation(&self) -> Generation {
        Generation::new(&self.secret, Some(&self.signing))
    }

    fn put(&self, state: KeyState, epoch: u32, policy: Policy) {
        let record = Record {
            epoch,
            role: Role::ReadOnly,
            state,
            digest: self.app_key.digest(),
            name: "nightly%20report".into(),
            policy: Some(Box::new(policy)),
        };
        self.exchanges.keyring.put(self.app_key.id(), record).unwrap();
    }

    fn claims(&self, id: &str) -> Value {
        json!({
            "iat": self.clock.wall().as_millis() / 1000,
            "jti": id,
            "appname": "nightly report",
            "appkey": self.app_key.expose(),
            "shortname": "acme",
        })
    }

    fn jwt(&self, claims: &Value) -> String {
        jwt(claims, &self.secret)
    }

    fn ask(&self, endpoint: Endpoint, body: &str) -> (u16, Value) {
        let answer = self.exchanges.answer(&self.settings, endpoint, body.as_bytes(), CLIENT);
        (answer.status, serde_json::from_str(answer.body.expose()).unwrap())
    }

    fn exchange(&self, claims: &Value) -> (u16, Value) {
        self.ask(Endpoint::Token, &json!({ "jwt": self.jwt(claims) }).to_string())
    }

    fn granted(&self, id: &str) -> Value {
        let (status, answer) = self.exchange(&self.claims(id));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn refresh(&self, token: &str) -> (u16, Value) {
        self.ask(Endpoint::Refresh, &format!("grant_type=refresh_token&refresh_token={token}"))
    }

    /// What is told of these claims.
    fn told(&self, change: impl FnOnce(&mut Value)) -> (u16, String) {
        let mut claims = self.claims("told");
        change(&mut claims);
        let (status, answer) = self.exchange(&claims);
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    }

    fn verdict(&self, token: &Value) -> String {
        let token = token.as_str().unwrap().as_bytes();
        let verdict = self.exchanges.keyring.verify_token(TokenKind::Access, token, &*self.clock).0;
        match verdict {
            Verdict::Proven(..) => "proven".to_owned(),
            other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
        }
    }
}

fn jwt(claims: &Value, secret: &SharedSecret) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let input = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&claims.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).unwrap();
    mac.update(input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn an_exchange_gives_what_the_protocol_says() {
    let rig = Rig::new();
    let answer = rig.granted("1");
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!((&answer["expires_in"], &answer["refresh_expires_in"]), (&json!(900), &json!(28_800)));
    assert_eq!((&answer["not-before-policy"], &answer["scope"]), (&json!(0), &json!("READONLY")));
    let state = answer["session-state"].as_str().unwrap();
    assert_eq!(state.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(answer.as_object().unwrap().len(), 8);
    assert_eq!(rig.verdict(&answer["access_token"]), "proven");
    let pending = &rig.exchanges.keyring.find(rig.app_key.id()).unwrap();
    assert!(format!("{:?}", pending.slot.usage).contains(&(NOW * 1000).to_string()), "the exchange is a login");
}

#[test]
fn refreshing_goes_on_until_the_absolute_end() {
    let rig = Rig::new();
    let first = rig.granted("1");
    let token = first["refresh_token"].as_str().unwrap().to_owned();
    rig.clock.advance(Duration::from_mins(15));
    assert_eq!(rig.verdict(&first["access_token"]), "TokenExpired");
    let (status, second) = rig.refresh(&token);
    assert_eq!((status, &second["expires_in"], &second["refresh_expires_in"]), (200, &json!(900), &json!(27_900)));
    assert_eq!(second["session-state"], first["session-state"]);
    assert_eq!(rig.verdict(&second["access_token"]), "proven");
    rig.clock.advance(Duration::from_secs(27_400));
    let (_, last) = rig.refresh(second["refresh_token"].as_str().unwrap());
    assert_eq!((&last["expires_in"], &last["refresh_expires_in"]), (&json!(500), &json!(500)));
    rig.clock.advance(Duration::from_secs(500));
    assert_eq!(rig.verdict(&last["access_token"]), "TokenExpired");
    let (status, ended) = rig.refresh(&token);
    assert_eq!((status, ended["name"].as_str()), (401, Some("Unauthorized")));
    assert!(ended["message"].as_str().unwrap().contains("expired"));
    for odd in ["", "refresh_token", "refresh_token=a&refresh_token=a", "x=y", "{}", "[\"refresh_token\"]"] {
        assert_eq!(rig.ask(Endpoint::Refresh, odd).0, 400, "{odd}");
    }
    for wrong in ["x", first["access_token"].as_str().unwrap()] {
        assert_eq!(rig.refresh(wrong).0, 401, "{wrong}");
        assert_eq!(rig.ask(Endpoint::Refresh, &json!({ "refresh_token": wrong }).to_string()).0, 401, "{wrong}");
    }
}

#[test]
fn tokens_end_where_the_key_or_the_grace_period_ends() {
    let rig = Rig::new();
    rig.put(KeyState::Active, 0, Policy { expires_at: Some(wall(NOW + 100)), ..Policy::default() });
    let answer = rig.granted("1");
    assert_eq!((&answer["expires_in"], &answer["refresh_expires_in"]), (&json!(100), &json!(100)));
    rig.put(KeyState::Active, 0, Policy::default());
    let next = SharedSecret::generate(version(4), &SystemEntropy);
    let current = || Generation::new(&next, Some(&SigningKey::generate(&SystemEntropy)));
    let keyring = &rig.exchanges.keyring;
    keyring.set_generations(Generations::new(current(), Some((rig.generation(), wall(NOW + 60)))));
    let old = rig.granted("2");
    assert_eq!((&old["expires_in"], &old["refresh_expires_in"]), (&json!(60), &json!(60)));
    rig.clock.advance(Duration::from_secs(59));
    assert_eq!(rig.verdict(&old["access_token"]), "proven");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.verdict(&old["access_token"]), "NotProven");
    assert_eq!(rig.refresh(old["refresh_token"].as_str().unwrap()).0, 401);
    assert_eq!(rig.told(|_| {}), (401, Refusal::OutdatedSecret { current: 4 }.message().into_owned()));
    let (status, _) = rig.ask(Endpoint::Token, &json!({ "jwt": jwt(&rig.claims("3"), &next) }).to_string());
    assert_eq!(status, 200, "the new secret alone is what changed");
}

#[test]
fn a_clock_that_differs_is_told_by_how_much() {
    let rig = Rig::new();
    for (by, told) in [(-301, "301 seconds behind"), (301, "301 seconds ahead"), (-86_400, "86400 seconds behind")] {
        let (status, message) = rig.told(|c| c["iat"] = json!(i64::try_from(NOW).unwrap() + by));
        assert!(status == 401 && message.contains(told), "{message}");
    }
    assert!(rig.told(|c| c["iat"] = json!(NOW * 1000)).1.contains("not in milliseconds"));
    for huge in [json!(1e18), json!(1e300), json!(-1), json!(0), json!(u64::MAX), json!(i64::MIN)] {
        let (status, message) = rig.told(|c| c["iat"] = huge);
        assert!(status == 401 && message.contains("iat is"), "{message}");
    }
    for odd in [json!("1800000000"), Value::Null, json!([1]), json!(true)] {
        assert!(rig.told(|c| c["iat"] = odd).1.contains("iat is missing or no number"));
    }
    for (n, near) in [json!(NOW - 300), json!(NOW + 300), json!(1_800_000_000.75)].into_iter().enumerate() {
        let mut claims = rig.claims(&n.to_string());
        claims["iat"] = near;
        assert_eq!(rig.exchange(&claims).0, 200);
    }
}

#[test]
fn who_has_proven_itself_is_told_which_claim_is_wrong() {
    let rig = Rig::new();
    for (name, value, told) in [
        ("shortname", json!("other"), "\"acme\""),
        ("shortname", Value::Null, "\"acme\""),
        ("appname", json!("another"), "renamed"),
        ("appname", json!("nightly%20report"), "renamed"),
        ("appname", json!(7), "missing or no text"),
        ("jti", Value::Null, "jti"),
        ("jti", json!(7), "jti"),
        ("jti", json!(""), "jti"),
        ("jti", json!("x".repeat(257)), "jti"),
        ("aud", json!("keygate"), "aud"),
        ("exp", json!(NOW - 300), "exp"),
        ("exp", json!("x"), "exp"),
        ("nbf", json!(NOW + 301), "nbf"),
        ("nbf", json!({}), "nbf"),
    ] {
        let (status, message) = rig.told(|claims| claims[name] = value.clone());
        assert!(status == 401 && message.contains(told), "{name} {value}: {message}");
    }
    let mut claims = rig.claims("fine");
    (claims["exp"], claims["nbf"]) = (json!(NOW - 299), json!(NOW + 300));
    assert_eq!(rig.exchange(&claims).0, 200);
    rig.put(KeyState::Disabled, 1, Policy::default());
    assert_eq!(rig.told(|_| {}).1, "The API key is disabled.");
    rig.put(KeyState::Active, 1, Policy { expires_at: Some(wall(NOW)), ..Policy::default() });
    assert_eq!(rig.told(|_| {}).1, "The API key has expired.");
    let networks = Some(vec!["198.51.100.0/24".parse().unwrap()]);
    rig.put(KeyState::Active, 1, Policy { allowed_networks: networks, ..Policy::default() });
    assert_eq!(rig.told(|_| {}).0, 403);
}

#[test]
fn who_has_not_is_told_nothing() {
    let rig = Rig::new();
    let other = AppKey::generate(rig.app_key.id(), &SystemEntropy);
    let unknown = AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy);
    let good = rig.claims("x");
    let with = |key: &AppKey| {
        let mut claims = good.clone();
        claims["appkey"] = json!(key.expose());
        claims
    };
    // Fresh addresses: nobody is slowed.
    let mut last = 0;
    let mut ask = |text: &str| {
        last += 1;
        let client = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last));
        let body = json!({ "jwt": text }).to_string();
        let answer = rig.exchanges.answer(&rig.settings, Endpoint::Token, body.as_bytes(), client);
        (answer.status, answer.body.expose().to_owned())
    };
    let uniform = ask("x");
    assert_eq!(uniform.0, 401);
    for wrong in [
        rig.jwt(&with(&other)),
        rig.jwt(&with(&unknown)),
        jwt(&with(&other), &SharedSecret::generate(version(3), &SystemEntropy)),
    ] {
        assert_eq!(ask(&wrong), uniform);
    }
    rig.put(KeyState::Deleted, 1, Policy::default());
    assert_eq!(ask(&rig.jwt(&good)), uniform);
    rig.put(KeyState::Disabled, 1, Policy::default());
    assert_eq!(ask(&rig.jwt(&with(&other))), uniform, "also of a disabled key");
    rig.put(KeyState::Active, 0, Policy::default());
    let foreign = jwt(&good, &SharedSecret::generate(version(3), &SystemEntropy));
    assert!(ask(&foreign).1.contains("out of date"), "the app key has proven its holder");
}

#[test]
fn the_same_jwt_is_taken_once() {
    let rig = Rig::new();
    let claims = rig.claims("1");
    assert_eq!(rig.exchange(&claims).0, 200);
    let (status, again) = rig.exchange(&claims);
    assert!(status == 401 && again["message"].as_str().unwrap().contains("used before"));
    for n in 1..replay::PER_KEY {
        rig.granted(&format!("n{n}"));
    }
    let answer = rig.exchanges.answer(
        &rig.settings,
        Endpoint::Token,
        json!({ "jwt": rig.jwt(&rig.claims("more")) }).to_string().as_bytes(),
        CLIENT,
    );
    assert_eq!((answer.status, answer.retry_after), (429, Some(301)));
    rig.clock.advance(Duration::from_secs(301));
    rig.granted("more");
}

#[test]
fn an_address_that_only_guesses_waits_and_its_neighbours_do_not() {
    let rig = Rig::new();
    let wrong = || rig.ask(Endpoint::Token, r#"{"jwt":"x"}"#).0;
    assert_eq!([(); 6].map(|()| wrong()), [401, 401, 401, 401, 401, 429]);
    rig.granted("a good one from the same address");
    assert_eq!(wrong(), 401, "which showed that it was a mistake");
    assert_eq!(rig.ask(Endpoint::Token, "{").0, 400);
}

#[test]
fn tokens_of_before_a_regeneration_are_no_guesses() {
    let rig = Rig::new();
    let answer = rig.granted("1");
    let next = SharedSecret::generate(version(4), &SystemEntropy);
    let signing = SigningKey::generate(&SystemEntropy);
    rig.exchanges.keyring.set_generations(Generations::new(Generation::new(&next, Some(&signing)), None));
    for _ in 0..20 {
        let (status, told) = rig.refresh(answer["refresh_token"].as_str().unwrap());
        assert_eq!((status, told["message"].as_str()), (401, Some("The credentials are not valid.")));
    }
}

#[test]
fn without_a_lease_nothing_is_said_about_keys() {
    let rig = Rig::new();
    let answer = rig.granted("1");
    rig.exchanges.lease.fence();
    assert_eq!(rig.exchange(&rig.claims("2")).0, 503);
    assert_eq!(rig.ask(Endpoint::Token, r#"{"jwt":"x"}"#).0, 503);
    assert_eq!(rig.refresh(answer["refresh_token"].as_str().unwrap()).0, 503);
    assert_eq!(rig.ask(Endpoint::Token, "{").0, 400);
    let rig = Rig::new();
    rig.exchanges.keyring.set_generations(Generations::new(Generation::new(&rig.secret, None), None));
    assert_eq!(rig.exchange(&rig.claims("1")).0, 503, "there is nothing to sign with yet");
    assert_eq!(rig.refresh(answer["refresh_token"].as_str().unwrap()).0, 401);
}

#[test]
fn tokens_die_with_their_epoch_and_refusals_say_so() {
    let rig = Rig::new();
    let answer = rig.granted("1");
    rig.put(KeyState::Active, 1, Policy::default());
    assert_eq!(rig.verdict(&answer["access_token"]), "TokenRevoked");
    let (status, told) = rig.refresh(answer["refresh_token"].as_str().unwrap());
    assert!(status == 401 && told["message"].as_str().unwrap().contains("revoked"));
    rig.put(KeyState::Disabled, 2, Policy::default());
    let (_, told) = rig.refresh(answer["refresh_token"].as_str().unwrap());
    assert_eq!(told["message"], "The API key is disabled.");
}

#[test]
fn bodies_that_are_none_are_told_what_is_expected() {
    let rig = Rig::new();
    let good = rig.jwt(&rig.claims("1"));
    for odd in ["", "{}", "[]", "null", r#"{"jwt":1}"#, r#"{"jwt":null}"#, r#"{"JWT":"x"}"#, "jwt=x", "\u{feff}{}"] {
        let (status, told) = rig.ask(Endpoint::Token, odd);
        assert!(status == 400 && told["message"].as_str().unwrap().contains("jwt"), "{odd}");
    }
    assert_eq!(rig.ask(Endpoint::Token, &format!(r#"{{"jwt":"x","jwt":"{good}"}}"#)).0, 400);
    assert_eq!(rig.ask(Endpoint::Token, &format!(r#"{{"x":{{}},"jwt":"{good}"}}"#)).0, 200);
}
