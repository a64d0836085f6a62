//! Which route a request takes, and what rules of routes demand of it.

use crate::support::request::{get, post};
use crate::support::{Config, Gateway, Key, Request, Upstream, request};

struct Fixture {
    upstreams: Vec<Upstream>,
    gateway: Gateway,
    reader: Key,
    admin: Key,
}

fn start(names: &[&str], routes: &[&str]) -> Fixture {
    let upstreams: Vec<Upstream> = names.iter().map(|name| Upstream::named(name)).collect();
    let mut config = Config::default();
    for (name, upstream) in names.iter().zip(&upstreams) {
        config = config.upstream(name, &[upstream], "");
    }
    let config = routes.iter().fold(config, |config, route| config.route(route));
    let gateway = Gateway::start(&config);
    let (reader, admin) = (gateway.key_add("reader", "readonly"), gateway.key_add("admin", "admin"));
    Fixture { upstreams, gateway, reader, admin }
}

impl Fixture {
    /// The upstream that answered, or the status of the refusal.
    fn answered(&self, request: &Request) -> String {
        let response = self.gateway.node.send(request);
        match response.header("x-upstream") {
            Some(name) => name.to_owned(),
            None => response.status.to_string(),
        }
    }

    fn status(&self, request: &Request) -> u16 {
        self.gateway.node.send(request).status
    }
}

#[test]
fn the_longest_prefix_on_a_segment_boundary_wins() {
    let f = start(
        &["root", "api", "v2"],
        &[
            "path = \"/\"\nupstream = \"root\"",
            "path = \"/api/v2\"\nupstream = \"v2\"",
            "path = \"/api\"\nupstream = \"api\"",
        ],
    );
    for (target, upstream) in [
        ("/", "root"),
        ("/x", "root"),
        ("/apix", "root"),
        ("/api-x", "root"),
        ("/API", "400"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api?x", "api"),
        ("/api/x", "api"),
        ("/api/v22", "api"),
        ("/api/v2", "v2"),
        ("/api/v2/x", "v2"),
        ("/api/v2?/", "v2"),
    ] {
        assert_eq!(f.answered(&get(target).bearer(&f.reader)), upstream, "{target}");
    }
}

#[test]
fn a_route_sees_the_path_percent_decoded_once() {
    let f = start(&["root", "api"], &["path = \"/\"\nupstream = \"root\"", "path = \"/api\"\nupstream = \"api\""]);
    assert_eq!(f.answered(&get("/%61pi/x").bearer(&f.reader)), "api");
    assert_eq!(f.answered(&get("/a%70i").bearer(&f.reader)), "api");
}

#[test]
fn the_host_chooses_before_the_path() {
    let f = start(
        &["any", "one", "deep"],
        &[
            "path = \"/\"\nupstream = \"any\"",
            "path = \"/deep\"\nupstream = \"deep\"",
            "host = \"One.Example\"\npath = \"/\"\nupstream = \"one\"",
        ],
    );
    for (host, target, upstream) in [
        ("other.example", "/", "any"),
        ("one.example", "/", "one"),
        ("ONE.EXAMPLE", "/", "one"),
        ("one.example:8080", "/", "one"),
        ("one.example", "/deep", "one"),
        ("other.example", "/deep", "deep"),
        ("xone.example", "/", "any"),
        ("one.example.evil", "/", "any"),
    ] {
        assert_eq!(f.answered(&get(target).host(host).bearer(&f.reader)), upstream, "{host} {target}");
    }
}

const GUARDED_HOST: [&str; 2] = [
    "host = \"secret.example\"\npath = \"/\"\nupstream = \"secret\"\naccess = \"key\"",
    "path = \"/\"\nupstream = \"open\"\naccess = \"public\"",
];

#[test]
fn no_spelling_of_a_host_leads_past_its_route() {
    let f = start(&["secret", "open"], &GUARDED_HOST);
    for host in [
        "secret.example:80:80",
        "secret.example::",
        "secret.example::80",
        "secret.example:80]",
        "secret.example]",
        "[secret.example]",
        "secret.example.:80:",
        "secret.example..",
        "secret.example..:80",
        "secret.example:abc",
        "secret.example:80a",
        "secret.example:",
        "secret.example.:",
        "secret.example:655360",
        "secret.example:-1",
        ".secret.example:80:",
        "secret..example",
        "secret.example,open.example",
        "secret.example@open.example",
        "open.example@secret.example",
        "secret.example%2e",
    ] {
        let absolute = format!("GET http://{host}/x HTTP/1.0\r\n\r\n");
        let statuses = [
            f.status(&get("/x").host(host)),
            f.gateway.node.send_raw(absolute.as_bytes()).status,
            f.status(&get(&format!("http://{host}/x")).host(host)),
        ];
        assert_eq!(statuses, [400; 3], "{host} in Host, in absolute form, in both");
    }
    assert_eq!(f.upstreams.iter().map(Upstream::count).sum::<usize>(), 0);
}

#[test]
fn case_final_dot_and_port_are_no_other_host() {
    let f = start(&["secret", "open"], &GUARDED_HOST);
    for host in
        ["secret.example", "SECRET.EXAMPLE.:8080", "Secret.Example:1", "secret.example.", "secret.example:65535"]
    {
        assert_eq!(f.status(&get("/x").host(host)), 401, "{host}");
        assert_eq!(f.answered(&get("/x").host(host).bearer(&f.reader)), "secret", "{host}");
        let absolute = format!("GET http://{host}/x HTTP/1.0\r\n\r\n");
        assert_eq!(f.gateway.node.send_raw(absolute.as_bytes()).status, 401, "{absolute:?}");
    }
    for host in ["open.example", "secret.example.evil", "xsecret.example", "[::1]:80", "192.0.2.1"] {
        assert_eq!(f.answered(&get("/x").host(host)), "open", "{host}");
    }
}

#[test]
fn a_request_that_no_route_takes_is_404_with_or_without_a_key() {
    let f = start(
        &["api"],
        &["path = \"/api\"\nupstream = \"api\"", "host = \"h.test\"\npath = \"/h\"\nupstream = \"api\""],
    );
    for request in [get("/"), get("/apix"), get("/h"), get("/h").host("other.test"), get("/x").host("h.test")] {
        assert_eq!(f.status(&request), 404, "{request:?}");
        assert_eq!(f.status(&request.bearer(&f.admin)), 404);
    }
}

#[test]
fn a_public_route_needs_no_key_for_any_method() {
    let f = start(
        &["api"],
        &["path = \"/\"\nupstream = \"api\"", "path = \"/open\"\nupstream = \"api\"\naccess = \"public\""],
    );
    for method in ["GET", "POST", "DELETE", "PURGE"] {
        assert_eq!(f.status(&request(method, "/open/x")), 200, "{method}");
        assert_eq!(f.status(&request(method, "/opens")), 401, "{method}");
    }
}

const RULES: &str = r#"
path = "/"
upstream = "api"
[[route.rule]]
methods = ["POST"]
path = "/search"
role = "READONLY"
[[route.rule]]
methods = ["GET"]
path = "/export"
role = "ADMIN"
[[route.rule]]
path = "/ping"
role = "public"
[[route.rule]]
path = "/inner"
role = "ADMIN"
[[route.rule]]
path = "/inner/open"
role = "public"
"#;

#[test]
fn a_rule_that_lowers_the_demand_matches_exactly() {
    let f = start(&["api"], &[RULES]);
    let read = |target: &str| f.status(&post(target, b"{}").bearer(&f.reader));
    for target in ["/search", "/search?q=1", "/se%61rch"] {
        assert_eq!(read(target), 200, "{target}");
    }
    for target in ["/search/", "/search/x", "/Search", "/searchx", "/x/search"] {
        assert_eq!(read(target), 403, "{target}");
    }
    assert_eq!(f.status(&request("PUT", "/search").bearer(&f.reader)), 403, "the rule is for POST");
    assert_eq!(f.status(&post("/search", b"{}")), 401, "lower, not open");
}

#[test]
fn a_rule_that_raises_the_demand_matches_prefixes_in_any_case() {
    let f = start(&["api"], &[RULES]);
    for target in
        ["/export", "/export/", "/export/a/b", "/EXPORT", "/Export/x", "/exp%6Frt", "/%45xport/x", "/export?x"]
    {
        assert_eq!(f.status(&get(target).bearer(&f.reader)), 403, "{target}");
        assert_eq!(f.status(&get(target).bearer(&f.admin)), 200, "{target}");
    }
    for target in ["/exports", "/x/export", "/expor"] {
        assert_eq!(f.status(&get(target).bearer(&f.reader)), 200, "{target}");
    }
    for method in ["HEAD", "QUERY"] {
        let ask = |target: &str| request(method, target);
        assert_eq!(f.status(&ask("/export").bearer(&f.reader)), 403, "{method} tells what GET tells");
        assert_eq!(f.status(&ask("/EXPORT/x").bearer(&f.reader)), 403, "{method}");
        assert_eq!(f.status(&ask("/export").bearer(&f.admin)), 200, "{method}");
        assert_eq!(f.status(&ask("/exports").bearer(&f.reader)), 200, "{method}");
    }
}

/// A server that ignores case would serve what the other route protects.
#[test]
fn a_path_that_is_another_routes_but_for_its_case_is_refused() {
    let open = "path = \"/\"\nupstream = \"api\"\naccess = \"public\"";
    let lenient = "host = \"odd.test\"\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"\nlenient_paths = true";
    let odd = "host = \"odd.test\"\npath = \"/reports\"\nupstream = \"api\"";
    let same = "path = \"/Same\"\nupstream = \"api\"\naccess = \"public\"";
    let also_open = "path = \"/open\"\nupstream = \"api\"\naccess = \"public\"";
    let f = start(
        &["api"],
        &[
            open,
            also_open,
            "path = \"/reports\"\nupstream = \"api\"",
            same,
            "path = \"/same\"\nupstream = \"api\"",
            lenient,
            odd,
        ],
    );
    for (target, status) in [
        ("/reports", 401),
        ("/Reports", 400),
        ("/REPORTS/x", 400),
        ("/%52eports", 400),
        ("/Report", 200),
        ("/Reportsx", 200),
        ("/x/Reports", 200),
        // Routes of their own, both.
        ("/Same/x", 200),
        ("/same/x", 401),
        ("/SAME/x", 400),
        // Nothing is guarded there.
        ("/OPEN", 200),
    ] {
        assert_eq!(f.status(&get(target)), status, "{target}");
    }
    for (target, status) in [("/x/../y", 200), ("/x/../Reports", 400), ("/Reports", 400), ("/x/../reports", 400)] {
        let asked = format!("GET {target} HTTP/1.1\r\nHost: odd.test\r\n\r\n");
        assert_eq!(f.gateway.node.send_raw(asked.as_bytes()).status, status, "{target}");
    }
}

#[test]
fn a_public_rule_opens_exactly_its_path() {
    let f = start(&["api"], &[RULES]);
    assert_eq!(f.status(&get("/ping")), 200);
    for target in ["/ping/", "/Ping", "/ping/x", "/pin"] {
        assert_eq!(f.status(&get(target)), 401, "{target}");
    }
}

#[test]
fn of_several_rules_that_match_the_one_that_demands_more_wins() {
    let f = start(&["api"], &[RULES]);
    assert_eq!(f.status(&get("/inner/open")), 401);
    assert_eq!(f.status(&get("/inner/open").bearer(&f.reader)), 403);
    assert_eq!(f.status(&get("/inner/open").bearer(&f.admin)), 200);
}

#[test]
fn a_preflight_passes_without_a_key_only_where_the_route_says_so() {
    let f = start(
        &["api"],
        &["path = \"/\"\nupstream = \"api\"", "path = \"/cors\"\nupstream = \"api\"\npreflight = true"],
    );
    let preflight = |target: &str| {
        request("OPTIONS", target).field("Origin", "https://a.test").field("Access-Control-Request-Method", "POST")
    };
    assert_eq!(f.status(&preflight("/cors/x")), 200);
    assert_eq!(f.status(&preflight("/x")), 401);
    assert_eq!(f.status(&request("OPTIONS", "/cors/x")), 401, "a plain OPTIONS is no preflight");
    assert_eq!(f.status(&request("OPTIONS", "/cors/x").field("Origin", "https://a.test")), 401);
    let as_get = get("/cors/x").field("Origin", "https://a.test").field("Access-Control-Request-Method", "POST");
    assert_eq!(f.status(&as_get), 401);
}
