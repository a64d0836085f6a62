//! What holds of all credentials together.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::entropy::SystemEntropy;

fn version(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn key() -> AppKey {
    AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy)
}

/// RFC 4231, test case 2, truncated: the MAC is plain HMAC-SHA256.
#[test]
fn the_mac_is_hmac_sha256() {
    let mac = MacKey::new(b"Jefe").mac(b"what do ya want for nothing?");
    assert_eq!(
        mac,
        [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00,
            0x3f, 0x08
        ]
    );
}

#[test]
fn what_is_made_is_parsed_and_verifies() {
    for n in [1, 7, 4_294_967_295] {
        let secret = SharedSecret::generate(version(n), &SystemEntropy);
        let app_key = key();
        let text = encode(&app_key, &secret);
        assert!(text.len() <= ENCODED_KEY_MAX);
        let parsed = EncodedKey::parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.version(), parsed.id()), (version(n), app_key.id()));
        assert!(parsed.mac_holds(&secret.mac_key()));
        assert!(!parsed.mac_holds(&SharedSecret::generate(version(n), &SystemEntropy).mac_key()));
        assert!(parsed.app_key_digest().matches(&app_key.digest()));
        assert_eq!(app_key_in(&text).unwrap().expose(), app_key.expose());
        assert_eq!(SharedSecret::parse(secret.expose()).unwrap().expose(), secret.expose());
        assert_eq!(AppKey::parse(app_key.expose()).unwrap().id(), app_key.id());
    }
    let token = OperatorToken::generate(&SystemEntropy);
    assert!(OperatorToken::parse(token.expose()).unwrap().digest().matches(&token.digest()));
}

#[test]
fn versions_are_canonical() {
    let secret = |text: &str| SharedSecret::parse(&format!("kgs_{text}_{}", "a".repeat(43))).is_ok();
    assert!(secret("1") && secret("4294967295"));
    for bad in ["0", "01", "+1", "-1", "", "4294967296", "1_", " 1", "１"] {
        assert!(!secret(bad), "{bad}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let app_key = key();
    let body = &app_key.expose()[17..];
    let secret = SharedSecret::generate(version(3), &SystemEntropy);
    let token = OperatorToken::generate(&SystemEntropy);
    let printed = format!("{app_key:?} {secret:?} {token:?} {:?} {:?}", secret.mac_key(), app_key.digest());
    assert!(
        !printed.contains(body) && !printed.contains(&secret.expose()[6..]) && !printed.contains(&token.expose()[17..])
    );
    assert_eq!(format!("{secret:?}"), "SharedSecret(version 3, …)");
    assert_eq!(format!("{app_key:?}"), format!("AppKey({}, …)", app_key.id()));
    let error = SharedSecret::parse("kgs_7_topsecret").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("topsecret"));
}

#[test]
fn our_prefixes_are_known() {
    for prefix in PREFIXES {
        assert!(is_ours(prefix.as_bytes()) && is_ours(format!("{prefix}x").as_bytes()), "{prefix}");
    }
    for other in ["", "k", "kg", "kgx_", "KG_1", "xkg_", "kg-1", "kgaa_"] {
        assert!(!is_ours(other.as_bytes()), "{other}");
    }
}

#[test]
fn characters_are_drawn_uniformly() {
    const BODIES: u32 = 20_000;
    let mut counts = [0u32; 128];
    for _ in 0..BODIES {
        for character in base62::draw_body(&SystemEntropy) {
            counts[usize::from(character)] += 1;
        }
    }
    let seen: Vec<u32> = counts.into_iter().filter(|n| *n > 0).collect();
    assert_eq!(seen.len(), 62);
    // Binomial: eight standard deviations are not met by chance. A biased modulo would add 25 % to some.
    let expected = f64::from(BODIES) * 43.0 / 62.0;
    let allowed = 8.0 * (expected * 61.0 / 62.0).sqrt();
    assert!(seen.iter().all(|n| (f64::from(*n) - expected).abs() < allowed), "{seen:?}");
}

proptest! {
    /// One text for one credential: whatever parses is, character by character, what its parts make.
    #[test]
    fn parsing_is_exact(text in "kg_[0-9]{1,11}_[0-9a-z]{11,13}_[0-9A-Za-z]{42,44}_[0-9a-f]{39,41}") {
        if let Some(parsed) = EncodedKey::parse(text.as_bytes()) {
            prop_assert_eq!(EncodedKey::claim(text.as_bytes()), Some((parsed.version(), parsed.id())));
            let app_key = parsed.app_key();
            let again = format!("kg_{}_{}_{}_{}", parsed.version(), parsed.id(), &app_key.expose()[17..], &text[text.len() - 40..]);
            prop_assert_eq!(again, text);
        } else {
            let parts: Vec<&str> = text.split('_').collect();
            let canonical = parts[1].parse::<u32>().is_ok_and(|v| v > 0 && v.to_string() == parts[1]);
            let lengths = (parts[2].len(), parts[3].len(), parts[4].len()) == (12, 43, 40);
            prop_assert!(!(canonical && lengths), "{}", text);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let _ = (EncodedKey::parse(&bytes), EncodedKey::claim(&bytes));
        let text = String::from_utf8_lossy(&bytes);
        let _ = (AppKey::parse(&text), SharedSecret::parse(&text), OperatorToken::parse(&text), app_key_in(&text));
    }

    /// Any one changed character: it does not parse, or it does not verify.
    #[test]
    fn a_changed_character_proves_nothing(at in 0usize..109, to in "[0-9A-Za-z_]") {
        let secret = SharedSecret::generate(version(7), &SystemEntropy);
        let app_key = key();
        let mut text = encode(&app_key, &secret).to_string();
        let at = at.min(text.len() - 1);
        prop_assume!(text[at..=at] != to);
        text.replace_range(at..=at, &to);
        let proven = EncodedKey::parse(text.as_bytes())
            .is_some_and(|k| k.version() == version(7) && k.mac_holds(&secret.mac_key()));
        prop_assert!(!proven);
    }

    #[test]
    fn ids_are_their_text(text in "[0-9a-z]{12}") {
        prop_assert_eq!(text.parse::<KeyId>().unwrap().to_string(), text);
    }
}
