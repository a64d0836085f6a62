//! JWTs: the standard's vectors, and everything that must be nothing.

use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use sha2::{Sha256, Sha512};

use super::*;
use crate::credential::KeyId;
use crate::entropy::SystemEntropy;

const SECRET: &[u8] = b"the text of a shared secret";

fn app_key() -> AppKey {
    AppKey::generate(KeyId::parse(b"abcdefghijkl").unwrap(), &SystemEntropy)
}

fn part(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign(input: &str, secret: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(input.as_bytes());
    format!("{input}.{}", part(&mac.finalize().into_bytes()))
}

fn jwt(header: &str, claims: &str) -> String {
    sign(&format!("{}.{}", part(header.as_bytes()), part(claims.as_bytes())), SECRET)
}

fn good_claims(key: &AppKey) -> String {
    format!(r#"{{"iat":1800000000,"jti":"x","appname":"reports","appkey":"{}","shortname":"acme"}}"#, key.expose())
}

const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;

fn holds(text: &str) -> bool {
    Jwt::parse(text.as_bytes()).is_ok_and(|jwt| jwt.signature_holds(&MacKey::new(SECRET)))
}

fn fault(text: &str) -> JwtFault {
    Jwt::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("taken: {text}"))
}

/// RFC 7515, appendix A.1 (and RFC 7519, section 3.1): the octets are those of the standard. Its payload is no claim of
/// ours, so what is checked is the signature over its signing input.
#[test]
fn the_standards_example_holds() {
    let key = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
                 .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let (key, bytes) = (MacKey::new(&key), URL_SAFE_NO_PAD.decode(signature).unwrap());
    assert!(key.verify_whole(input.as_bytes(), bytes.as_slice().try_into().unwrap()));
    assert!(!key.verify_whole(input.to_lowercase().as_bytes(), bytes.as_slice().try_into().unwrap()));
    // Well formed, and nobody's: it has no app key.
    assert_eq!(fault(&format!("{input}.{signature}")), JwtFault::Malformed);
    // Its header, with line breaks, is read as any other.
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(input.split('.').next().unwrap()).unwrap()).unwrap();
    assert!(holds(&jwt(&header, &good_claims(&app_key()))));
}

#[test]
fn a_good_one_holds_under_its_secret_alone() {
    let key = app_key();
    let text = jwt(HEADER, &good_claims(&key));
    let read = Jwt::parse(text.as_bytes()).unwrap();
    assert!(read.signature_holds(&MacKey::new(SECRET)));
    assert!(!read.signature_holds(&MacKey::new(b"another")));
    assert!(read.claims.app_key.digest().matches(&key.digest()));
    assert_eq!(read.claims.issued_at, Claim::Is(1_800_000_000.0));
    assert_eq!(read.claims.id, Claim::Is("x".to_owned()));
    assert_eq!(read.claims.expires_at, Claim::Absent);
    assert!(!read.claims.has_audience);
    assert!(!format!("{read:?} {:?}", read.claims).contains(key.expose()));
}

#[test]
fn no_other_algorithm_is_taken() {
    let claims = good_claims(&app_key());
    for alg in
        ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256", "HS256 "]
    {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        assert_eq!(fault(&jwt(&header, &claims)), JwtFault::Algorithm, "{alg}");
        let unsigned = format!("{}.{}.", part(header.as_bytes()), part(claims.as_bytes()));
        assert_eq!(fault(&unsigned), JwtFault::Algorithm, "{alg}");
    }
    for header in
        [r#"{"typ":"JWT"}"#, r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":{"HS256":1}}"#, "[]", "", "HS256"]
    {
        assert_eq!(fault(&jwt(header, &claims)), JwtFault::Malformed, "{header}");
    }
    // A longer hash under the name of HS256.
    let input = format!("{}.{}", part(HEADER.as_bytes()), part(claims.as_bytes()));
    let mut mac = Hmac::<Sha512>::new_from_slice(SECRET).unwrap();
    mac.update(input.as_bytes());
    let long = mac.finalize().into_bytes();
    assert_eq!(fault(&format!("{input}.{}", part(&long))), JwtFault::Malformed);
    assert!(!holds(&format!("{input}.{}", part(&long[..32]))));
}

#[test]
fn critical_extensions_are_refused_and_others_mean_nothing() {
    let claims = good_claims(&app_key());
    for crit in [r#"["b64"]"#, "[]", "null", r#"["exp"]"#, "1"] {
        let header = format!(r#"{{"alg":"HS256","crit":{crit},"b64":false}}"#);
        assert_eq!(fault(&jwt(&header, &claims)), JwtFault::Critical, "{crit}");
    }
    for extra in [
        r#""kid":"../../../dev/null""#,
        r#""kid":"' OR 1=1 --""#,
        r#""jku":"https://evil.example/keys""#,
        r#""jwk":{"kty":"oct","k":"AAAA"}"#,
        r#""x5u":"https://evil.example/""#,
        r#""zip":"DEF""#,
    ] {
        let header = format!(r#"{{"alg":"HS256",{extra}}}"#);
        assert!(holds(&jwt(&header, &claims)), "{extra}");
        let input = format!("{}.{}", part(header.as_bytes()), part(claims.as_bytes()));
        for other in [&b""[..], b"\0", b"\0\0\0"] {
            assert!(!holds(&sign(&input, other)), "{extra}");
        }
    }
}

#[test]
fn members_are_there_once() {
    let key = app_key();
    let claims = good_claims(&key);
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","x":1,"x":2}"#,
    ] {
        assert_eq!(fault(&jwt(header, &claims)), JwtFault::Malformed, "{header}");
    }
    let twice = format!(r#"{{"appkey":"{}",{}"#, app_key().expose(), &claims[1..]);
    assert_eq!(fault(&jwt(HEADER, &twice)), JwtFault::Malformed);
    let twice = format!(r#"{{"x":1,"x":2,{}"#, &claims[1..]);
    assert_eq!(fault(&jwt(HEADER, &twice)), JwtFault::Malformed);
}

#[test]
fn one_text_one_token() {
    let text = jwt(HEADER, &good_claims(&app_key()));
    assert!(holds(&text));
    let (rest, signature) = text.rsplit_once('.').unwrap();
    for odd in [
        format!("{text}="),
        format!("{text}\n"),
        format!(" {text}"),
        format!("{text}."),
        format!(".{text}"),
        format!("{text}.x"),
        format!("{rest}..{signature}"),
        format!("{rest}."),
        rest.to_owned(),
        format!("{rest}.{}", &signature[..42]),
        format!("{rest}.{}", &signature[..40]),
        format!("{rest}.{signature}A"),
        format!("{rest}.{signature}AA"),
        format!("{rest}.{signature}{signature}"),
        text.replacen('.', "=.", 1),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
    ] {
        assert!(Jwt::parse(odd.as_bytes()).is_err(), "{odd}");
    }
    // 43 characters hold 258 bits: the last two must be zero, or one signature had four spellings.
    let last = signature.chars().last().unwrap();
    for other in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_', '+', '/']).filter(|c| *c != last) {
        assert!(!holds(&format!("{rest}.{}{other}", &signature[..42])), "{other}");
    }
}

#[test]
fn claims_of_other_types_are_odd_and_not_lost() {
    let key = app_key();
    let with = |claims: &str| {
        let text = jwt(HEADER, &format!(r#"{{"appkey":"{}",{claims}}}"#, key.expose()));
        Jwt::parse(text.as_bytes()).unwrap().claims
    };
    for (iat, expected) in [
        ("1800000000", Claim::Is(1.8e9)),
        ("1800000000.25", Claim::Is(1_800_000_000.25)),
        ("-1", Claim::Is(-1.0)),
        ("1e18", Claim::Is(1e18)),
        ("null", Claim::Absent),
        ("\"1800000000\"", Claim::Odd),
        ("[1800000000]", Claim::Odd),
        ("true", Claim::Odd),
    ] {
        assert_eq!(with(&format!("\"iat\":{iat}")).issued_at, expected, "{iat}");
    }
    for beyond in ["1e400", "-1e400", "NaN", "Infinity", "01", "0x10", "+1", "1."] {
        let text = jwt(HEADER, &format!(r#"{{"appkey":"{}","iat":{beyond}}}"#, key.expose()));
        assert_eq!(fault(&text), JwtFault::Malformed, "{beyond}");
    }
    assert_eq!(with("\"jti\":7").id, Claim::Odd);
    assert_eq!(with("\"x\":{\"y\":[1,{}]}").id, Claim::Absent);
    assert!(!with("\"aud\":null").has_audience && with("\"aud\":[\"x\"]").has_audience);
    for no_key in [r#"{"appkey":"kga_x"}"#, r#"{"appkey":""}"#] {
        assert_eq!(fault(&jwt(HEADER, no_key)), JwtFault::NoAppKey);
    }
    for odd in ["{}", r#"{"appkey":1}"#, r#"{"appkey":null}"#, "[]", "\"x\"", ""] {
        assert_eq!(fault(&jwt(HEADER, odd)), JwtFault::Malformed, "{odd}");
    }
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let key = app_key();
    assert_eq!(fault(&jwt(HEADER, &format!(r#"{{"iat":{deep},"appkey":"{}"}}"#, key.expose()))), JwtFault::Malformed);
    assert!(holds(&jwt(HEADER, &format!(r#"{{"x":{deep},"appkey":"{}"}}"#, key.expose()))));
}

proptest! {
    #[test]
    fn no_bytes_panic_or_hold(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Jwt::parse(&bytes).is_err());
    }

    /// Whatever is done to a token, it holds only where the text is the same.
    #[test]
    fn a_changed_token_does_not_hold(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let good = jwt(HEADER, &good_claims(&app_key()));
        let mut changed = good.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = to;
        let holds = Jwt::parse(&changed).is_ok_and(|jwt| jwt.signature_holds(&MacKey::new(SECRET)));
        prop_assert_eq!(holds, changed == good.as_bytes());
    }
}
