//! Attacks on tokens themselves, and chance: a token is what the gateway signed with a key that nobody else has, and no
//! other text is one.

use keygate::credential::SharedSecret;
use keygate::credential::jwt::Jwt as Parsed;
use serde_json::json;

use crate::support::exchange::{
    self, Desk, EXCHANGE, REFRESH, base64url, by_method, exchange, fresh_address, hs256, message,
};
use crate::support::request::{get, post};
use crate::support::site::encode_with_openssl;
use crate::support::{Client, count, wait_for};

/// `P_<40 hex>`, as the gateway signs, by another key.
fn sign(signed: &str, key: &[u8]) -> String {
    hs256(key, signed.as_bytes()).iter().take(20).fold(format!("{signed}_"), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn who_knows_the_shared_secret_mints_nothing() {
    let desk = Desk::start();
    let issued = desk.token(&desk.reader);
    let (signed, mac) = issued.access.rsplit_once('_').expect("a MAC");
    let far = format!("kgt_1_{}_1_4000000000", desk.admin.id);
    let zeros = "0".repeat(40);
    let straight = encode_with_openssl(&desk.admin.app_key, &desk.secret);
    let mut forged = vec![format!("{signed}_{zeros}"), format!("{far}_{mac}"), format!("{far}_{zeros}"), far.clone()];
    for key in [desk.secret.as_str(), &desk.secret[6..], &desk.admin.app_key, &desk.admin.encoded, ""] {
        forged.extend([sign(signed, key.as_bytes()), sign(&far, key.as_bytes())]);
    }
    forged.extend([
        // A longer life, another epoch, another version, another key: what is signed is all of it.
        issued.access.replacen(&format!("{}_1_", desk.reader.id), &format!("{}_2_", desk.reader.id), 1),
        issued.access.replacen("kgt_1_", "kgt_2_", 1),
        issued.access.replacen(&desk.reader.id, &desk.admin.id, 1),
        issued.refresh.replacen("kgr_", "kgt_", 1),
        straight.replacen("kg_", "kgt_", 1),
        format!("{far}_{}", straight.rsplit('_').next().expect("a MAC")),
        format!("{}0", issued.access),
        format!("{}_", issued.access),
        issued.access[..issued.access.len() - 1].to_owned(),
        "kgt_".to_owned(),
        format!("kgt_{}", "1".repeat(4000)),
    ]);
    let mut client = desk.node.connect();
    assert_eq!(client.exchange(&get("/warm").bearer(&issued)).status, 200);
    for token in &forged {
        let response = client.exchange(&get("/x").bearer(token));
        assert_eq!(response.status, 401, "{token}");
        assert_eq!(response.json()["type"], "urn:keygate:problem:invalid-credential", "{token}");
    }
    // What does not begin like ours is the API's own.
    assert_eq!(desk.admits(issued.access.to_uppercase()), 401);
    let far = far.replacen("kgt_", "kgr_", 1);
    for token in
        [sign(&far, desk.secret.as_bytes()), issued.access.replacen("kgt_", "kgr_", 1), format!("{far}_{zeros}")]
    {
        let response = desk.send(&exchange::refresh(&token));
        assert_eq!((response.status, message(&response).as_str()), (401, exchange::NOT_VALID), "{token}");
    }
    assert_eq!(desk.upstream.count(), 1, "the warm one alone");
}

#[test]
fn no_changed_character_of_a_token_is_admitted() {
    let desk = Desk::start();
    let issued = desk.token(&desk.reader);
    let changed = |token: &str, place: usize| {
        let mut changed = token.as_bytes().to_vec();
        changed[place] = match changed[place] {
            b'0' => b'1',
            b'_' => b'-',
            _ => b'0',
        };
        String::from_utf8(changed).expect("text")
    };
    let mut client = desk.node.connect();
    for place in 0..issued.access.len() {
        let token = changed(&issued.access, place);
        assert_eq!(client.exchange(&get("/x").bearer(&token)).status, 401, "changed at {place}");
        assert_eq!(client.exchange(&get("/x").bearer(&issued)).status, 200);
    }
    for place in 0..issued.refresh.len() {
        let response = desk.send(&exchange::refresh(&changed(&issued.refresh, place)));
        assert_eq!(response.status, 401, "changed at {place}");
    }
    assert_eq!(desk.upstream.count(), issued.access.len());
}

/// Numbers that look random and are the same in each run (`SplitMix64`, Steele et al. 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A text that may look like a JWT: of nothing, of parts of a right one, or a right one that was changed.
    fn jwt(&mut self, right: &str) -> Vec<u8> {
        let parts: Vec<&str> = right.split('.').collect();
        let (length, mac) = (self.below(300), self.bytes(32));
        match self.below(6) {
            0 => self.bytes(length),
            1 => (0..self.below(6)).map(|_| base64url(&self.bytes(length / 3))).collect::<Vec<_>>().join(".").into(),
            2 => format!("{}.{}.{}", parts[0], parts[1], base64url(&mac)).into(),
            3 => format!("{}.{}.{}", parts[0], base64url(&self.bytes(length)), base64url(&mac)).into(),
            4 => {
                let claims = json!({ "iat": self.next(), "jti": "x", "appkey": base64url(&mac) }).to_string();
                format!("{}.{}.{}", parts[0], base64url(claims.as_bytes()), parts[2]).into()
            }
            _ => {
                let mut changed = right.as_bytes().to_vec();
                for _ in 0..=self.below(3) {
                    let at = self.below(changed.len());
                    match self.below(3) {
                        0 => changed[at] = b"ABCDabcd0123-_.=+/ \0"[self.below(20)],
                        1 => drop(changed.remove(at)),
                        _ => changed.insert(at, b"ABCDabcd0123-_.="[self.below(16)]),
                    }
                }
                changed
            }
        }
    }
}

#[test]
fn of_a_million_random_jwts_none_is_taken_for_a_signed_one() {
    let secret = format!("kgs_7_{}", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg");
    let claims =
        json!({ "iat": 1, "jti": "x", "appname": "a", "appkey": format!("kga_{}_{}", "0".repeat(12), "z".repeat(43)) });
    let jwt =
        exchange::Jwt { header: r#"{"alg":"HS256"}"#.to_owned(), claims: claims.to_string(), secret: secret.clone() };
    let (right, key) = (jwt.text(), SharedSecret::parse(&secret).expect("a secret").mac_key());
    assert!(Parsed::parse(right.as_bytes()).is_ok_and(|parsed| parsed.signature_holds(&key)));
    let mut chance = Chance(4);
    let mut read = 0;
    for _ in 0..count(100_000, 1_000_000) {
        let text = chance.jwt(&right);
        if let Ok(parsed) = Parsed::parse(&text) {
            read += 1;
            assert!(!parsed.signature_holds(&key) || text == right.as_bytes(), "{}", String::from_utf8_lossy(&text));
        }
    }
    assert!(read > 1000, "some were read, and their signatures looked at: {read}");
}

#[test]
fn no_random_jwt_is_exchanged() {
    let desk = Desk::with("", |c| c.server("trusted_proxies = [\"127.0.0.1/32\"]"));
    let mut chance = Chance(5);
    let mut client = desk.node.connect();
    let right = desk.jwt(&desk.admin);
    exchange::learn_jwt(&desk.secrets, &right.text());
    for n in 0..count(3_000_u32, 50_000) {
        let text = String::from_utf8_lossy(&chance.jwt(&right.text())).into_owned();
        if text == right.text() {
            continue;
        }
        // Each from another address.
        let from = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0)) + n).to_string();
        let response = client.exchange(&exchange(&text).field("X-Forwarded-For", &from));
        assert_eq!(response.status, 401, "{text}: {}", response.text());
    }
    assert_eq!(desk.upstream.count(), 0);
    assert_eq!(desk.admits(desk.token(&desk.admin)), 200, "a right one is as good as before");
}

#[test]
fn whatever_is_sent_to_the_exchange_no_secret_is_in_answers_logs_or_metrics() {
    let desk = Desk::start();
    let issued = desk.token(&desk.admin);
    let jwt = desk.jwt(&desk.admin).text();
    exchange::learn_jwt(&desk.secrets, &jwt);
    let mut sent = 0;
    for secret in [&jwt, &desk.secret, &desk.admin.app_key, &issued.access, &issued.refresh] {
        let right = || desk.jwt(&desk.admin);
        // A JWT has no form of ours, so in a path it is the API's own.
        let in_path = if secret == &jwt { "x" } else { secret };
        for careless in [
            exchange(secret),
            exchange(&format!("{secret}.{secret}")),
            exchange::refresh(secret),
            by_method("GET", secret),
            post(EXCHANGE, secret.as_bytes()),
            post(REFRESH, secret.as_bytes()),
            post(&format!("{EXCHANGE}?jwt={secret}"), b"{}"),
            post(&format!("{EXCHANGE}/{in_path}"), b"{}"),
            post(EXCHANGE, b"{").field("Content-Type", secret),
            post(EXCHANGE, b"{").bearer(secret).field("User-Agent", secret).field("Cookie", secret),
            exchange(&right().header(json!({ "alg": "HS256", "kid": secret }).to_string()).text()),
            exchange(&right().with("jti", secret.as_str()).text()),
            exchange(&right().with("shortname", secret.as_str()).text()),
            exchange(&right().with("appname", secret.as_str()).text()),
            get("/x").bearer(secret),
            get(&format!("/{in_path}")).field("X-API-Key", secret),
        ] {
            let response = Client::connect_from(desk.node.address(), fresh_address()).exchange(&careless);
            if response.status == 200 {
                desk.secrets.learn(&response.text());
            } else {
                desk.secrets.assert_absent("a refusal", &response.body);
                desk.secrets.assert_absent("a refusal's head", &response.head.raw);
            }
            sent += 1;
        }
    }
    wait_for("the log is written", || desk.node.access_log().len() > sent);
    desk.secrets.assert_absent("the metrics", desk.node.metrics().as_bytes());
    // Both logs and the store are searched at the end of each test. The access log names the key, never what was sent.
    let log = desk.node.access_log();
    let exchanged: Vec<_> = log.iter().filter(|line| line["path"] == EXCHANGE && line["status"] == 200).collect();
    assert!(!exchanged.is_empty() && exchanged.iter().all(|line| line["key_id"] == desk.admin.id), "{exchanged:?}");
}
