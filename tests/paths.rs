//! Paths that two readers could take for two are refused; all others are forwarded byte for byte.

use crate::support::request::get;
use crate::support::{Config, Gateway, Upstream};

/// Refused with 400 unless a route has `lenient_paths`.
const AMBIGUOUS: [&str; 46] = [
    "//",
    "//a",
    "/a//b",
    "/a/b//",
    "/./a",
    "/a/.",
    "/a/./b",
    "/..",
    "/../a",
    "/a/..",
    "/a/../b",
    "/a/../../b",
    "/%2e",
    "/%2e%2e/a",
    "/a/%2E/b",
    "/a/.%2e/b",
    "/a/%2e./b",
    "/a/%2E%2E",
    "/a%2fb",
    "/a%2Fb",
    "/%2f",
    "/a/..%2fb",
    "/a%5cb",
    "/a%5Cb",
    "/a\\b",
    "/..\\a",
    "/a%00",
    "/a%00b/c",
    "/a%0d%0aX:y",
    "/a%1f",
    "/a%7f",
    "/a;b",
    "/a;x=1/b",
    "/a/;",
    "/a%3bb",
    "/a%3Bb",
    "/a%",
    "/a%2",
    "/a%zz",
    "/a%2x/b",
    "/a%u0041",
    "/a%252e%252e/b",
    "/a%2541",
    "/%c0%ae%c0%ae/a",
    "/a%ff",
    "/%e0%80%af",
];

/// Refused everywhere: the next reader could see the path end there, or break.
const UNFIT: [&str; 8] = ["/a\"b", "/a<b", "/a>b", "/a#b", "/a\u{1}b", "/a\u{7f}b", "/caf\u{e9}", "/a`b"];

const PLAIN: [&str; 17] = [
    "/",
    "/a",
    "/a/",
    "/a/b.c",
    "/...",
    "/.a",
    "/a..",
    "/..a",
    "/.well-known/x",
    "/a%20b",
    "/a%25",
    "/100%25/x",
    "/caf%c3%a9",
    "/%e2%82%ac",
    "/a:b@c!$&'()*+,=~-_",
    "/A%41a",
    "/a?x=//../%2f;\\",
];

fn start(route: &str) -> (Upstream, Gateway, String) {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).route(route);
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("admin", "admin").encoded;
    (upstream, gateway, key)
}

const OPEN: &str = "path = \"/open\"\nupstream = \"api\"\naccess = \"public\"";

#[test]
fn every_ambiguous_path_is_refused_with_400() {
    let (upstream, gateway, key) = start(OPEN);
    for path in AMBIGUOUS.iter().chain(&UNFIT) {
        let response = gateway.node.get(path, &key);
        assert_eq!(response.status, 400, "{path:?}");
        let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
        assert!(kind.starts_with("urn:keygate:problem:"), "{path:?}: {kind}");
        // Public routes are no way around it.
        let response = gateway.node.send(&get(&format!("/open{path}")));
        assert_eq!(response.status, 400, "/open{path:?}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_ambiguous_path_is_refused_with_or_without_a_query() {
    let (upstream, gateway, key) = start(OPEN);
    for path in AMBIGUOUS {
        assert_eq!(gateway.node.get(&format!("{path}?q=1"), &key).status, 400, "{path:?}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn every_other_path_is_forwarded_byte_for_byte() {
    let (upstream, gateway, key) = start(OPEN);
    for path in PLAIN {
        assert_eq!(gateway.node.get(path, &key).status, 200, "{path}");
        upstream.only(path);
    }
}

#[test]
fn a_route_with_lenient_paths_forwards_odd_paths_byte_for_byte() {
    let (upstream, gateway, key) = start("path = \"/lenient\"\nupstream = \"api\"\nlenient_paths = true");
    for odd in ["/a//b", "/a%2fb", "/a;x=1", "/a%5Cb", "/a%252e", "/x/./y", "/100%", "/a\\b", "/a|b", "/{a}"] {
        let path = format!("/lenient{odd}");
        assert_eq!(gateway.node.get(&path, &key).status, 200, "{path}");
        upstream.only(&path);
        assert_eq!(gateway.node.get(&format!("/strict{odd}"), &key).status, 400, "elsewhere nothing changes: {odd}");
    }
    let before = upstream.count();
    for unfit in UNFIT.into_iter().chain(["/a%00", "/a%00b/c", "/a%0d%0aX:y", "/a//%1f", "/a%7f"]) {
        assert_eq!(gateway.node.get(&format!("/lenient{unfit}"), &key).status, 400, "{unfit:?}");
    }
    assert_eq!(upstream.count(), before);
}

#[test]
fn lenient_paths_do_not_lead_out_of_their_route() {
    let upstream = Upstream::echo();
    let config = Config::default()
        .upstream("api", &[&upstream], "")
        .route("path = \"/\"\nupstream = \"api\"")
        .route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\"\nlenient_paths = true");
    let gateway = Gateway::start(&config);
    // Without a key, whoever resolves the dots would be at a path that needs one.
    for path in [
        "/open/../secret",
        "/open/%2e%2e/secret",
        "/open/..%2fsecret",
        "/open/x/../../secret",
        "/open/.%2e/secret",
        "/open/..\\secret",
        "/open/..;/secret",
        "/open/..%5csecret",
    ] {
        let response = gateway.node.send(&get(path));
        assert!(matches!(response.status, 400 | 401 | 404), "{path}: {}", response.status);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.node.send(&get("/open/a//b")).status, 200);
}

#[test]
fn options_asterisk_is_no_path_and_still_needs_a_key() {
    let (upstream, gateway, key) = start(OPEN);
    let response = gateway.node.send(&crate::support::request("OPTIONS", "*"));
    assert!(matches!(response.status, 400 | 401 | 404), "{}", response.status);
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.node.get("*", &key).status, 400, "only OPTIONS has it");
}
