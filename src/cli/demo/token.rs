//! What an integration makes of its bundle: a JWT (RFC 7519) that is signed with the shared secret (HS256).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::clock::WallTime;
use crate::credential::Bundle;

/// Signed by the bundle's holder at this time, with this id.
pub(super) fn jwt(bundle: &Bundle, at: WallTime, id: &str) -> String {
    let claims = json!({
        "iat": at.as_millis() / 1000,
        "jti": id,
        "appname": bundle.appname,
        "appkey": bundle.app_key.expose(),
        "shortname": bundle.shortname,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let key = Hmac::<Sha256>::new_from_slice(bundle.shared_secret.expose().as_bytes()).expect("any length");
    let signature = key.chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::jwt::Jwt;
    use crate::credential::{AppKey, KeyId, SharedSecret};
    use crate::entropy::SystemEntropy;

    #[test]
    fn the_gateway_would_take_it() {
        let bundle = Bundle {
            url: "http://127.0.0.1:8080".to_owned(),
            shortname: "demo".to_owned(),
            appname: "demo-reader".parse().unwrap(),
            shared_secret: SharedSecret::generate(1.try_into().unwrap(), &SystemEntropy),
            app_key: AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy),
        };
        let text = jwt(&bundle, WallTime::from_millis(1_800_000_000_999), "a");
        let Ok(jwt) = Jwt::parse(text.as_bytes()) else { panic!("{text}") };
        assert!(jwt.signature_holds(&bundle.shared_secret.mac_key()));
        assert_eq!(jwt.claims.app_key.expose(), bundle.app_key.expose());
    }
}
