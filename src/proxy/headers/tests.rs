//! Names that keygate knows, and credentials where they are.

use super::*;

/// In any case; one letter more, or another one, and it is somebody else's.
#[test]
fn names_are_known_in_any_case_and_whole() {
    let all = [
        (
            Field::Dropped,
            "te proxy x-host trailer x-method forwarded keep-alive x-http-method x-rewrite-url http2-settings \
             x-original-url x-original-uri x-original-host x-original-path proxy-connection x-method-override \
             x-original-method proxy-authenticate proxy-authorization x-http-host-override \
             x-envoy-original-path x-http-method-override",
        ),
        (Field::Host, "host"),
        (Field::Cookie, "cookie"),
        (Field::Expect, "expect"),
        (Field::Origin, "origin"),
        (Field::Upgrade, "upgrade"),
        (Field::ApiKey, "x-api-key"),
        (
            Field::ClientAddress,
            "x-real-ip client-ip x-client-ip x-remote-ip x-forwarded x-remote-addr forwarded-for \
             fly-client-ip true-client-ip proxy-client-ip cf-connecting-ip fastly-client-ip x-originating-ip \
             x-azure-clientip wl-proxy-client-ip cf-connecting-ipv6 x-cluster-client-ip \
             x-envoy-external-address",
        ),
        (Field::Connection, "connection"),
        (Field::RequestId, "x-request-id"),
        (Field::Authorization, "authorization"),
        (Field::ContentLength, "content-length"),
        (Field::ForwardedFor, "x-forwarded-for"),
        (Field::TransferEncoding, "transfer-encoding"),
        (Field::WebSocketVersion, "sec-websocket-version"),
        (Field::PreflightMethod, "access-control-request-method"),
    ];
    for (kind, names) in all {
        for name in names.split(' ') {
            assert_eq!(classify(name.as_bytes()), kind, "{name}");
            assert_eq!(classify(name.to_ascii_uppercase().as_bytes()), kind, "{name}");
            let mixed: String =
                name.char_indices().map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
            assert_eq!(classify(mixed.as_bytes()), kind, "{mixed}");
            let begins = |name: &str| name.starts_with("x-keygate-") || name.starts_with("x-forwarded-");
            for other in [format!("{name}q"), format!("q{}", &name[1..]), format!("{}q", &name[..name.len() - 1])] {
                let expected = if begins(&other) { Field::Dropped } else { Field::Other };
                assert_eq!(classify(other.as_bytes()), expected, "{other}");
            }
        }
    }
    for name in ["x-keygate-", "X-Keygate-Role", "X-FORWARDED-PROTO", "x-forwarded-anything-at-all-however-long"] {
        assert_eq!(classify(name.as_bytes()), Field::Dropped, "{name}");
    }
    for name in ["", "x", "accept", "x-keygate", "y-keygate-role"] {
        assert_eq!(classify(name.as_bytes()), Field::Other, "{name}");
    }
}

#[test]
fn aliases_are_known() {
    for name in [
        "X_Keygate_Role",
        "x-api_key",
        "CONTENT_LENGTH",
        "X_Forwarded_For",
        "x_keygate_anything-at_all",
        "X.Keygate.Role",
        "X~Api~Key",
    ] {
        assert!(is_alias(name.as_bytes()), "{name}");
    }
    for name in ["X-Keygate-Role", "x_custom", "my_header", "X-Api-Key"] {
        assert!(!is_alias(name.as_bytes()), "{name}");
    }
}

#[test]
fn credentials_are_found_where_they_are_read() {
    let mut buffer = [0; BASIC_MAX];
    let mut find = |value: &str| match in_authorization(value.as_bytes(), &mut buffer) {
        Presented::One(text) => format!("one {}", String::from_utf8_lossy(text)),
        other => format!("{other:?}"),
    };
    assert_eq!(find("Bearer kg_1_x"), "one kg_1_x");
    assert_eq!(find("bEARER   kgt_x "), "one kgt_x");
    let key = format!("kg_1_{}", "x".repeat(40));
    for lenient in [
        format!("Bearer\t{key}"),
        format!("Bearer \"{key}\""),
        format!("Bearer foo, Bearer {key}"),
        format!("Token token={key}"),
        format!("Bearer={key}"),
        format!("Digest username=\"x\", {key}"),
        format!("Bearer {key}, {key}"),
        "Bearer kg_1_x;".to_owned(),
        "Token kg_1_x".to_owned(),
    ] {
        assert_eq!(find(&lenient), "Misplaced", "{lenient}");
    }
    let bundle = format!("{}aHR0cA+/x==", credential::BUNDLE_START);
    for spelling in
        [format!("Bearer {bundle}"), bundle.clone(), format!("Token {bundle}"), format!("Bearer \"{bundle}\"")]
    {
        assert_eq!(find(&spelling), "Misplaced", "{spelling}");
    }
    for foreign in ["Bearer pkg_abc", "Bearer abc-kg_x", "Bearer package", "Digest username=\"kg_somebody\""] {
        assert_eq!(find(foreign), "Absent", "{foreign}");
    }
    assert_eq!(find("Bearer eyJ.x"), "Absent");
    assert_eq!(find("Token kg_1_x"), "Misplaced");
    assert_eq!(find("kg_1_x"), "Misplaced");
    let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair));
    assert_eq!(find(&basic("kg_1_x:")), "one kg_1_x");
    assert_eq!(find(&basic("api:kg_1_x")), "one kg_1_x");
    assert_eq!(find(&basic("kg_1_x:kg_1_x")), "one kg_1_x");
    assert_eq!(find(&basic("kg_1_x:kg_1_y")), "Conflicting");
    assert_eq!(find(&basic("user:password")), "Absent");
    assert_eq!(find(&basic(&format!("user:{bundle}"))), "Misplaced");
    assert_eq!(find(&basic(&format!("kg_1_x:{}", "y".repeat(600)))), "Misplaced");
    assert_eq!(find("Basic kg_1"), "Misplaced");
    assert_eq!(find(&basic(" kg_1_x:")), "Misplaced");
    let odd = BASE64.encode("kg_1_x?>~:");
    for spelling in [
        format!("Basic {} {}", &odd[..4], &odd[4..]),
        format!("Basic {odd}!"),
        format!("Basic {odd}===="),
        format!("Basic YQ=={odd}"),
        format!("Basic \"{odd}\""),
        format!("Basic {}", odd.replace('+', "-").replace('/', "_")),
    ] {
        assert_eq!(find(&spelling), "Misplaced", "{spelling}");
    }
}
