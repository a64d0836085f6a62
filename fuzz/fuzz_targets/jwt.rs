//! What takes a JWT apart and verifies it: every input is read or refused, never a panic; nothing is accepted but
//! what was signed, and that in its one spelling.
//!
//! The first byte says what the rest is: the text itself, what a right JWT is changed by, or parts that are encoded,
//! and signed or not. So chance gets to what lies behind base64, JSON and the signature.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keygate::credential::jwt::{Claim, Jwt};
use keygate::credential::{Bundle, MacKey, SharedSecret};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;
/// Of characters that are all alike: nobody's.
static APP_KEY: LazyLock<String> = LazyLock::new(|| format!("kga_{}_{}", "0".repeat(12), "0".repeat(43)));
static SECRET: LazyLock<String> = LazyLock::new(|| format!("kgs_1_{}", "0".repeat(43)));
static KEY: LazyLock<MacKey> = LazyLock::new(|| SharedSecret::parse(&SECRET).expect("a secret").mac_key());
static RIGHT: LazyLock<String> = LazyLock::new(|| {
    let claims = format!(
        r#"{{"iat":1800000000,"jti":"x","appname":"a","appkey":"{}","shortname":"acme","exp":1800000060}}"#,
        *APP_KEY
    );
    signed(HEADER, claims.as_bytes())
});

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7515, written down a second time.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let input = format!("{}.{}", base64url(header), base64url(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(input.as_bytes());
    format!("{input}.{}", base64url(&mac.finalize().into_bytes()))
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    match kind % 6 {
        0 => check(rest, None),
        1 => check(&changed(rest), Some(RIGHT.as_bytes())),
        2 => signed_claims(rest),
        3 => {
            let text = signed(rest, &base64_claims());
            check(text.as_bytes(), Some(text.as_bytes()));
        }
        4 => {
            let parts: Vec<String> = rest.splitn(3, |byte| *byte == 0).map(base64url).collect();
            check(parts.join(".").as_bytes(), None);
        }
        _ => bundle(rest),
    }
});

/// The claims of the right one.
fn base64_claims() -> Vec<u8> {
    let claims = RIGHT.split('.').nth(1).expect("three parts");
    URL_SAFE_NO_PAD.decode(claims).expect("base64url")
}

/// Verified, it is the text that was signed; if one was.
fn check(text: &[u8], signed: Option<&[u8]>) {
    if let Ok(jwt) = Jwt::parse(text) {
        let holds = jwt.signature_holds(&KEY);
        assert!(!holds || signed == Some(text), "accepted: {}", String::from_utf8_lossy(text));
        assert_eq!(text.iter().filter(|byte| **byte == b'.').count(), 2);
    }
}

/// The right one, with as many changes as there are: where, and to what.
fn changed(changes: &[u8]) -> Vec<u8> {
    let mut text = RIGHT.as_bytes().to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % text.len();
        match change[0] >> 6 {
            0 => text.truncate(at.max(1)),
            1 => text.insert(at, change[2]),
            _ => text[at] = change[2],
        }
    }
    text
}

/// Claims that everybody who knows the secret can sign: what is read of them is what they say.
fn signed_claims(claims: &[u8]) {
    let text = signed(HEADER, claims);
    let Ok(jwt) = Jwt::parse(text.as_bytes()) else { return };
    assert!(jwt.signature_holds(&KEY), "signed, and taken apart, and yet not accepted");
    // In members that nobody reads there may be what another reader refuses: numbers beyond all bounds, half a
    // character.
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(claims) else { return };
    let members = json.as_object().expect("what was read is an object");
    assert_eq!(members.get("appkey").and_then(|v| v.as_str()), Some(jwt.claims.app_key.expose()));
    if let Claim::Is(name) = &jwt.claims.app_name {
        assert_eq!(members.get("appname").and_then(|v| v.as_str()), Some(name.as_str()));
    }
    if let Claim::Is(time) = jwt.claims.issued_at {
        assert!(time.is_finite());
        assert_eq!(members.get("iat").and_then(serde_json::Value::as_f64), Some(time));
    }
    if let Claim::Is(id) = &jwt.claims.id {
        assert!(members.get("jti").is_some_and(|v| v == id.as_str()));
    }
    assert_eq!(jwt.claims.has_audience, members.contains_key("aud"));
}

/// A bundle is made of what is read of it, byte for byte.
fn bundle(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(bundle) = Bundle::decode(text) {
        let again = bundle.encode();
        let reread = Bundle::decode(&again).expect("what is made can be read");
        assert_eq!(reread.encode(), again);
    }
}
