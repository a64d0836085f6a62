//! Names that keygate knows, and credentials where they are.

use super::*;

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
