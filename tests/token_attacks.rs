//! Attacks on the exchange and on tokens: nothing but a valid JWT gets a token, nothing but a token that the gateway
//! made is one.

use serde_json::json;

use crate::support::Upstream;
use crate::support::exchange::{Desk, Jwt, NOT_VALID, base64url, hs256, hs384, hs512, message, now};
use crate::support::request::post;

/// Refused as unproven: it says nothing, and gives nothing.
#[track_caller]
fn assert_unproven(desk: &Desk, what: &str, jwt: &str) {
    let response = desk.present(jwt);
    assert_eq!(response.status, 401, "{what}: {}", response.text());
    assert_eq!(message(&response), NOT_VALID, "{what}");
}

/// Refused, whatever is told; and the one that it was made from is still good.
#[track_caller]
fn assert_refused(desk: &Desk, what: &str, jwt: &str) {
    let response = desk.present(jwt);
    assert_eq!(response.status, 401, "{what}: {}", response.text());
    message(&response);
}

#[test]
fn no_algorithm_but_hs256_is_accepted() {
    let desk = Desk::start();
    let right = || desk.jwt(&desk.admin);
    let (secret, input) = (desk.secret.clone().into_bytes(), |jwt: &Jwt| jwt.signing_input().into_bytes());
    for none in ["none", "None", "NONE", "nOnE", "noNe", ""] {
        let jwt = right().header(json!({ "alg": none }).to_string());
        assert_unproven(&desk, none, &jwt.with_signature(b""));
        assert_unproven(&desk, none, &jwt.signing_input());
        assert_unproven(&desk, none, &jwt.text());
    }
    // Other algorithms, signed as they demand, and signed as HS256 is.
    for (name, sign) in [("HS384", hs384 as fn(&[u8], &[u8]) -> Vec<u8>), ("HS512", hs512), ("HS224", hs256)] {
        let jwt = right().header(json!({ "alg": name }).to_string());
        assert_unproven(&desk, name, &jwt.with_signature(&sign(&secret, &input(&jwt))));
        assert_unproven(&desk, name, &jwt.with_signature(&sign(&secret, &input(&jwt))[..28]));
    }
    // The confusion of public keys with secrets (RFC 8725, section 2.1), in each direction.
    for name in
        ["RS256", "PS256", "ES256", "EdDSA", "HS1", "hs256", "Hs256", "HS256 ", " HS256", "HS256\0", "A128KW", "dir"]
    {
        let jwt = right().header(json!({ "alg": name }).to_string());
        assert_unproven(&desk, name, &jwt.text());
        assert_unproven(&desk, name, &jwt.with_signature(&[7; 256]));
    }
    for header in [
        "{}",
        r#"{"typ":"JWT"}"#,
        r#"{"ALG":"HS256"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":{"name":"HS256"}}"#,
        r#"{"alg":256}"#,
        r#"{"alg":true}"#,
    ] {
        assert_unproven(&desk, header, &right().header(header).text());
    }
}

#[test]
fn no_extension_is_understood_so_crit_is_refused() {
    let desk = Desk::start();
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
    ] {
        assert_unproven(&desk, header, &desk.jwt(&desk.admin).header(header).text());
    }
    // The unencoded payload of RFC 7797, with and without its crit.
    for header in [r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, r#"{"alg":"HS256","b64":false}"#] {
        let jwt = desk.jwt(&desk.admin);
        for payload in [jwt.claims.clone(), jwt.claims.replace('.', "")] {
            let input = format!("{}.{payload}", base64url(header.as_bytes()));
            let signature = hs256(desk.secret.as_bytes(), input.as_bytes());
            assert_unproven(&desk, header, &format!("{input}.{}", base64url(&signature)));
        }
    }
}

#[test]
fn header_parameters_that_name_keys_have_no_effect() {
    let desk = Desk::start();
    let elsewhere = Upstream::echo();
    let url = format!("http://{}/keys", elsewhere.address());
    let other_key = "the key that an attacker would like";
    let parameters = [
        ("kid", json!("../../../../../../dev/null")),
        ("kid", json!("/proc/sys/kernel/randomize_va_space")),
        ("kid", json!("' UNION SELECT 'AA' -- ")),
        ("kid", json!("x'; DROP TABLE api_keys; --")),
        ("kid", json!("| sleep 5")),
        ("kid", json!("${jndi:ldap://x/y}\u{0}")),
        ("kid", json!({ "a": 1 })),
        ("kid", json!(desk.admin.id)),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", json!({ "kty": "oct", "k": base64url(other_key.as_bytes()) })),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("x")),
        ("cty", json!("JWT")),
        ("typ", json!("JOSE")),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
    ];
    for (name, value) in parameters {
        let right = desk.jwt(&desk.admin).header(json!({ "alg": "HS256", name: value }).to_string());
        for key in ["", "AA", "0", "2", other_key, "\0", "null"] {
            let signature = hs256(key.as_bytes(), right.signing_input().as_bytes());
            // The app key holds in each of these: told that the secret is not the right one, and given nothing.
            assert_refused(&desk, &format!("{name}: {value}"), &right.with_signature(&signature));
        }
        assert_eq!(desk.present(&right.text()).status, 200, "{name}: {value}");
    }
    assert_eq!(elsewhere.connections(), 0, "nothing was fetched");
    assert_eq!(desk.json(&["key", "list"])["api_keys"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_member_that_is_there_twice_has_no_meaning() {
    let desk = Desk::start();
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
        r#"{"alg":"HS256","kid":"1","kid":"2"}"#,
    ] {
        assert_unproven(&desk, header, &desk.jwt(&desk.admin).header(header).text());
    }
    let right = desk.jwt(&desk.admin);
    let claims: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&right.claims).expect("JSON");
    let inner = right.claims.strip_prefix('{').expect("an object");
    for (name, value) in &claims {
        for double in [
            format!("{{\"{name}\":{value},{inner}"),
            format!("{{\"{name}\":null,{inner}"),
            format!("{{\"\\u{:04x}{}\":{value},{inner}", u32::from(name.as_bytes()[0]), &name[1..]),
        ] {
            assert_refused(&desk, name, &right.clone().raw_claims(double).text());
        }
    }
    let other = format!("{{\"x\":1,\"x\":2,{inner}");
    assert_refused(&desk, "a claim that nobody reads", &right.clone().raw_claims(other).text());
    assert_eq!(desk.present(&right.text()).status, 200);
}

#[test]
fn a_mac_that_is_not_whole_and_exact_is_refused() {
    let desk = Desk::start();
    let right = desk.jwt(&desk.admin);
    let (input, mac) = (right.signing_input(), right.signature());
    for length in [0, 1, 15, 16, 20, 31] {
        assert_refused(&desk, &format!("{length} bytes"), &right.with_signature(&mac[..length]));
    }
    for more in [&[0][..], &mac[..], &[0; 32], &[7; 480]] {
        assert_refused(&desk, "more", &right.with_signature(&[&mac, more].concat()));
    }
    for bit in 0..256 {
        let mut wrong = mac.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_refused(&desk, &format!("bit {bit}"), &right.with_signature(&wrong));
    }
    for other in [[0; 32], [0xff; 32]] {
        assert_refused(&desk, "all alike", &right.with_signature(&other));
    }
    // By keys that are near, and with what others know.
    let (_, body) = desk.secret.rsplit_once('_').expect("a body");
    let keys = [
        "",
        body,
        &desk.secret[..desk.secret.len() - 1],
        &desk.secret.to_lowercase(),
        &format!("{}\n", desk.secret),
        &desk.secret.replace("kgs_1", "kgs_2"),
        &desk.admin.app_key,
        &desk.admin.encoded,
        "secret",
    ];
    for key in keys {
        assert_refused(&desk, "by another key", &right.with_signature(&hs256(key.as_bytes(), input.as_bytes())));
    }
    let hashed = hs256(b"", desk.secret.as_bytes());
    assert_refused(&desk, "by a hash of the key", &right.with_signature(&hs256(&hashed, input.as_bytes())));
    assert_eq!(desk.present(&right.text()).status, 200);
}

#[test]
fn base64url_has_one_spelling_and_a_jwt_three_parts() {
    let desk = Desk::start();
    let right = desk.jwt(&desk.admin);
    let text = right.text();
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, mac] = parts[..] else { panic!("three parts") };
    // The last character of 32 bytes carries two bits that nobody reads.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.iter().position(|c| mac.as_bytes().last() == Some(c)).expect("a character");
    for other in (1..4).map(|low| char::from(alphabet[(place & !3) | low])) {
        assert_refused(&desk, "loose bits", &format!("{header}.{claims}.{}{other}", &mac[..mac.len() - 1]));
    }
    for odd in [
        format!("{text}="),
        format!("{text}=="),
        format!("{header}=.{claims}=.{mac}="),
        format!("{text}\n"),
        format!(" {text}"),
        format!("{text} "),
        format!("{header}.{claims}.\n{mac}"),
        format!("{header}.{claims}.{}", mac.replace('-', "+").replace('_', "/") + "+/"),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}..{mac}"),
        format!(".{claims}.{mac}"),
        format!("{text}."),
        format!(".{text}"),
        format!("{text}.{mac}"),
        format!("{header}.{claims}.{mac}.{claims}.{mac}"),
        format!("{header}.{mac}.{claims}"),
        format!("{header} .{claims}.{mac}"),
        format!("Bearer {text}"),
        "....".to_owned(),
        ".".to_owned(),
        ".".repeat(4000),
        "A".repeat(8000),
    ] {
        assert_refused(&desk, &odd, &odd);
    }
    // Signed as it stands, and still not base64url, or not an object in it.
    let signed = |input: String| format!("{input}.{}", base64url(&hs256(desk.secret.as_bytes(), input.as_bytes())));
    for input in [
        format!("{header}=.{claims}"),
        format!("{header}.{claims}="),
        format!("{header}.{claims}.{claims}"),
        format!("{header}.{claims}\n"),
        format!("{header}.{}", right.claims),
        format!("{header}.{}", base64url(format!("{} {{}}", right.claims).as_bytes())),
        format!("{header}.{}", base64url(format!("[{}]", right.claims).as_bytes())),
        format!("{header}.{}", base64url(format!("\u{feff}{}", right.claims).as_bytes())),
        format!("{header}.{}", base64url(&[right.claims.as_bytes(), &[0xff]].concat())),
        format!("{header}.{}", base64url(&vec![b'['; 3000])),
        format!("{}.{claims}", base64url(b"\xff\xfe")),
        format!("{}.{claims}", base64url(b"\"HS256\"")),
        format!("{}.{claims}", base64url(b"{\"alg\":\"HS256\"}{}")),
    ] {
        assert_unproven(&desk, &input, &signed(input.clone()));
    }
    assert_eq!(desk.present(&text).status, 200);
}

#[test]
fn only_a_time_that_is_a_number_of_now_is_an_iat() {
    let desk = Desk::start();
    let with = |json: &str| desk.jwt(&desk.admin).with_raw("iat", json).text();
    let current = now();
    for odd in [
        "1e18",
        "-1e18",
        "1e308",
        "1e400",
        "-1e400",
        "1e999999",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
        "-1",
        "0",
        "-0",
        "0.0",
        "1e-400",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"now\"",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        ".5",
        "1.",
        "0x7fffffff",
        "1_800_000_000",
    ] {
        assert_refused(&desk, odd, &with(odd));
    }
    for odd in [
        format!("\"{current}\""),
        format!("[{current}]"),
        format!("{{\"n\":{current}}}"),
        format!("0{current}"),
        format!("+{current}"),
        format!("-{current}"),
        format!("{current}000"),
        format!("{current}."),
        format!("{current}e"),
        format!("{current}.5.5"),
        format!("{current}.5e300"),
    ] {
        assert_refused(&desk, &odd, &with(&odd));
    }
    for fine in [
        format!("{current}.5"),
        format!("{current}.0"),
        format!("{current}.123456789012345678901234567890"),
        format!("{:e}", f64::from(u32::try_from(current).expect("before 2106"))),
        format!("{current}0e-1"),
    ] {
        let response = desk.present(&with(&fine));
        assert_eq!(response.status, 200, "{fine}: {}", response.text());
    }
    for (claim, odd) in
        [("exp", "\"2999\""), ("exp", "1e400"), ("exp", "true"), ("nbf", "\"0\""), ("nbf", "[]"), ("nbf", "1e400")]
    {
        assert_refused(&desk, claim, &desk.jwt(&desk.admin).with_raw(claim, odd).text());
    }
}

#[test]
fn only_a_short_text_is_a_jti() {
    let desk = Desk::start();
    let with = |value: serde_json::Value| desk.jwt(&desk.admin).with("jti", value).text();
    for odd in [json!(null), json!(""), json!(7), json!(["a"]), json!({ "a": 1 }), json!(true), json!("x".repeat(257))]
    {
        assert_refused(&desk, &odd.to_string(), &with(odd.clone()));
    }
    // 256 bytes, not characters.
    assert_refused(&desk, "258 bytes", &with(json!("é".repeat(129))));
    for fine in ["x".repeat(256), "é".repeat(128), "\0\n\u{7f}".to_owned(), "' OR 1=1 --".to_owned()] {
        assert_eq!(desk.present(&with(json!(fine))).status, 200);
        assert_refused(&desk, "the same again", &with(json!(fine)));
    }
}

#[test]
fn nobody_is_given_another_keys_token() {
    let desk = Desk::start();
    // Every integration knows the shared secret and may know others' names and ids.
    let (mine, theirs) = (&desk.reader, &desk.admin);
    assert_refused(&desk, "another's name", &desk.jwt(mine).with("appname", theirs.name.as_str()).text());
    let crossed = format!("kga_{}_{}", theirs.id, mine.app_key.rsplit('_').next().expect("a body"));
    for name in [&mine.name, &theirs.name] {
        let jwt = desk.jwt(mine).with("appkey", crossed.as_str()).with("appname", name.as_str());
        assert_unproven(&desk, "another's id", &jwt.text());
    }
    for (claim, value) in
        [("scope", "ADMIN"), ("role", "ADMIN"), ("sub", theirs.id.as_str()), ("id", theirs.id.as_str())]
    {
        let issued = desk.issued(&desk.present(&desk.jwt(mine).with(claim, value).text()));
        assert_eq!(issued.answer["scope"], "READONLY", "{claim}");
        assert!(issued.access.contains(&mine.id), "{claim}");
        assert_eq!(desk.node.send(&post("/x", b"").bearer(&issued)).status, 403, "{claim}");
    }
    assert_eq!(desk.upstream.count(), 0);
}
