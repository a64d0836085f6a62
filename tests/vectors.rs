//! The published test vectors, which were made with openssl, hold for this program and for the openssl of this machine.

use std::path::Path;

use crate::support::site::{encode_with_openssl, keygate};

#[test]
fn the_published_vectors_hold_for_encode_and_for_openssl() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/test-vectors.json");
    let text = std::fs::read_to_string(&file).expect("docs/test-vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let vectors = vectors["encoded_keys"].as_array().expect("encoded_keys");
    assert!(vectors.len() >= 5);
    for vector in vectors {
        let member = |name: &str| vector[name].as_str().unwrap_or_else(|| panic!("no {name} in {vector}"));
        let (secret, app_key, encoded) = (member("shared_secret"), member("app_key"), member("encoded_key"));
        assert_eq!(encode_with_openssl(app_key, secret), encoded, "openssl");
        let from = |key: &str| {
            let output = keygate()
                .arg("encode")
                .env("KEYGATE_APP_KEY", key)
                .env("KEYGATE_SHARED_SECRET", secret)
                .output()
                .expect("the program runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
        };
        assert_eq!(from(app_key), encoded, "keygate encode");
        assert_eq!(from(encoded), encoded, "an encoded key is its own source");
        let (signed, mac) = encoded.rsplit_once('_').expect("a MAC");
        assert_eq!((signed, mac), (member("signed_text"), &member("hmac_sha256")[..40]));
    }
}
