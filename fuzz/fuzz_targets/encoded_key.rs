//! What takes credentials apart: every input is read or refused, never a panic, and what is read is the one text
//! that means it.

#![no_main]

use std::num::NonZeroU32;
use std::sync::LazyLock;

use keygate::credential::{ENCODED_KEY_MAX, EncodedKey, OperatorToken, SharedSecret, app_key_in, encode, is_ours};
use keygate::entropy::Entropy;
use libfuzzer_sys::fuzz_target;

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

fuzz_target!(|input: &[u8]| {
    let parsed = EncodedKey::parse(input);
    assert_eq!(parsed.is_some(), reads_as_encoded_key(input));

    if let Some(key) = parsed {
        assert!(input.len() <= ENCODED_KEY_MAX && is_ours(input));
        // Taken apart and put together again, all but the MAC is what came in.
        let app_key = key.app_key();
        let (_, body) = app_key.expose().rsplit_once('_').expect("an app key has a body");
        let signed = format!("kg_{}_{}_{body}", key.version(), key.id());
        assert_eq!(signed.as_bytes(), &input[..input.len() - 41]);
        assert!(key.app_key_digest().matches(&app_key.digest()));

        // Encoded anew it holds under that secret, and is stable from there on.
        let again = encode(&app_key, &SECRET);
        let reread = EncodedKey::parse(again.as_bytes()).expect("what is encoded can be read");
        assert!(reread.mac_holds(&SECRET.mac_key()) && reread.id() == key.id() && reread.version() == SECRET.version());
        assert_eq!(key.mac_holds(&SECRET.mac_key()), input == again.as_bytes());
    }

    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(app_key) = app_key_in(text) {
        assert!(is_ours(input) && (parsed.is_some() || app_key.expose() == text));
    }
    if let Ok(secret) = SharedSecret::parse(text) {
        assert!(is_ours(input) && secret.expose() == text);
    }
    if let Ok(token) = OperatorToken::parse(text) {
        assert!(is_ours(input) && token.expose() == text);
    }
});

/// The form of an encoded key, read from the front and in the simplest way, to compare with.
fn reads_as_encoded_key(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let parts: Vec<&str> = text.split('_').collect();
    let ["kg", version, id, body, mac] = parts[..] else { return false };
    let of =
        |part: &str, length: usize, allowed: fn(&u8) -> bool| part.len() == length && part.bytes().all(|b| allowed(&b));
    version.parse::<u32>().is_ok_and(|v| v > 0 && v.to_string() == version)
        && of(id, 12, |b| b.is_ascii_digit() || b.is_ascii_lowercase())
        && of(body, 43, u8::is_ascii_alphanumeric)
        && of(mac, 40, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
