//! The configuration as a whole: the files that are shipped, the defaults, and that no text makes the parser panic.
//! What is refused, and how, is in `refusals`.

mod refusals;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::names::Names;
use super::resolved::{Access, Demand, Health, Secrets, StoreLocation, TokenExchange, UpstreamServer};
use super::*;
use crate::credential::Role;

const MINIMAL: &str = "[[upstream]]\nname = \"api\"\nservers = [\"127.0.0.1:9000\"]\n\
                       [[route]]\npath = \"/\"\nupstream = \"api\"\n";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn reference() -> String {
    fs::read_to_string(shipped("keygate.toml")).unwrap()
}

/// `text`, which holds, as read from `/etc/keygate/keygate.toml`.
fn sound(text: &str) -> Config {
    parse(text, Path::new("/etc/keygate/keygate.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn every_setting_in_the_reference_file_is_the_default() {
    assert_eq!(sound(&reference()), sound(MINIMAL));
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = sound(MINIMAL);
    let seconds = Duration::from_secs;
    assert_eq!(config.server.listen, ["127.0.0.1:8080".parse::<SocketAddr>().unwrap()]);
    assert_eq!(config.server.threads, None);
    assert_eq!(config.server.run_dir, Path::new("/etc/keygate/run"));
    assert_eq!(config.server.drain_timeout, seconds(30));
    let limits = &config.server.limits;
    assert_eq!((limits.max_connections, limits.max_connections_per_address), (10_000, 256));
    assert_eq!(limits.max_stream_age, Some(Duration::from_hours(1)));
    assert_eq!(limits.max_header_size, 32 * 1024);
    assert_eq!(limits.max_headers, 100);
    assert_eq!(limits.max_body, 100 * 1024 * 1024);
    assert_eq!(limits.header_timeout, seconds(10));
    assert_eq!([limits.body_stall, limits.write_stall, limits.idle_timeout], [seconds(30), seconds(30), seconds(75)]);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.connect_timeout, seconds(5));
    assert_eq!([upstream.read_timeout, upstream.write_timeout, upstream.idle_timeout], [seconds(60); 3]);
    assert_eq!((upstream.pool_size, &upstream.health), (256, &None));
    assert_eq!(config.routes[0].access, Access::Key);
    assert!(!config.routes[0].preflight && !config.routes[0].lenient_paths);
    assert_eq!(config.store.location, StoreLocation::Sqlite("/etc/keygate/keygate.db".into()));
    assert_eq!((config.store.lease, config.store.audit_retention), (seconds(30), Some(seconds(365 * 86_400))));
    assert_eq!(config.secrets, Secrets::File("/etc/keygate/master.key".into()));
    assert_eq!(config.usage.flush_interval, seconds(1));
    let admin = &config.admin;
    assert_eq!((admin.listen, &admin.hosts), (Some("127.0.0.1:8081".parse().unwrap()), &Vec::new()));
    assert_eq!([admin.session_idle, admin.session_max, admin.request_timeout], [1800, 43_200, 30].map(seconds));
    assert_eq!(admin.tls, None);
    assert_eq!(config.token_exchange, None, "off");
    assert_eq!(config.metrics.listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!((config.log.access, config.log.level), (true, tracing::Level::INFO));
}

#[test]
fn every_name_is_in_the_reference_file() {
    fn all(names: &'static Names, found: &mut Vec<&'static str>) {
        found.extend(names.fields);
        for (.., inner) in names.inner {
            all(inner, found);
        }
    }
    let (text, mut names) = (reference(), Vec::new());
    all(&file::ROOT, &mut names);
    for name in names {
        let known = regex::Regex::new(&format!(r"(^|[^a-z_]){name}( = |\])")).unwrap();
        assert!(text.lines().any(|line| known.is_match(line)), "{name}");
    }
}

#[test]
fn the_commented_settings_of_the_reference_file_hold() {
    let given: String = reference()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = sound(&given);
    let implied = sound(&MINIMAL.replace("[[route]]", "health = { path = \"/healthz\" }\n[[route]]"));
    assert_eq!(config.upstreams, implied.upstreams, "the values of health are the defaults");
    let tls = config.admin.tls.unwrap();
    assert_eq!((tls.certificate, tls.key), ("/etc/keygate/admin.pem".into(), "/etc/keygate/admin.key".into()));
    let exchange = "[token_exchange]\nurl = \"https://api.example.org\"\nshortname = \"acme\"\n";
    assert_eq!(config.token_exchange, sound(&format!("{exchange}{MINIMAL}")).token_exchange, "they are the defaults");
    assert_eq!(config.routes[0].host.as_deref(), Some("api.example.org"));
    assert_eq!(config.routes[0].rules[0].demand, Demand::Role(Role::ReadOnly));
}

#[test]
fn the_shipped_files_load() {
    assert_eq!(load(&shipped("keygate.toml")).unwrap().file, shipped("keygate.toml"));
    let demo = load(&shipped("demo.toml")).unwrap();
    assert_eq!((demo.routes.len(), demo.routes[0].rules.len()), (2, 2));
    assert_eq!(demo.token_exchange.unwrap().shortname, "demo");
    assert_eq!(sound(starter()), sound(MINIMAL));
}

#[test]
fn paths_are_relative_to_the_directory_of_the_file() {
    let text = format!(
        "{MINIMAL}[server]\nrun_dir = \"/run/keygate\"\n[store]\nurl = \"sqlite:data/k.db\"\n\
         [secrets]\nmaster_key_file = \"../k\"\n"
    );
    let config = sound(&text);
    assert_eq!(config.server.run_dir, Path::new("/run/keygate"));
    assert_eq!(config.store.location, StoreLocation::Sqlite("/etc/keygate/data/k.db".into()));
    assert_eq!(config.secrets, Secrets::File("/etc/keygate/../k".into()));
    let here = parse(MINIMAL, Path::new("keygate.toml")).unwrap();
    assert_eq!(here.store.location, StoreLocation::Sqlite("keygate.db".into()));
    for url in ["sqlite:/var/k.db", "sqlite:///var/k.db"] {
        let config = sound(&format!("{MINIMAL}[store]\nurl = \"{url}\"\n"));
        assert_eq!(config.store.location, StoreLocation::Sqlite("/var/k.db".into()));
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let config = sound(
        r#"
        server.listen = ["0.0.0.0:0", "0.0.0.0:0", "[::1]:8443"]
        server.threads = 3
        server.trusted_proxies = ["10.0.0.0/8", "::1"]
        server.limits.max_body = "1.5 MiB"
        server.limits.idle_timeout = "1m 30s"
        server.limits.max_connections = 100
        server.limits.max_stream_age = "off"
        metrics.listen = "off"
        log = { access = "off", level = "WARN" }
        secrets.master_key_env = "KEYGATE_MASTER_KEY"
        store.audit_retention = "forever"
        store.lease = "10m"
        [[upstream]]
        name = "a"
        servers = ["API.internal:80", { address = "[::1]:9000", weight = 256 }]
        health = { path = "/live?deep=1", timeout = "5s" }
        [[route]]
        host = "API.Example.org"
        path = "/v1"
        upstream = "a"
        access = "public"
        [[route.rule]]
        methods = ["post", "POST", "Query"]
        path = "/v1/suche nach ä/"
        role = "ReadOnly"
        [[route.rule]]
        role = "PUBLIC"
        [[route]]
        path = "/"
        upstream = "a"
        lenient_paths = true
        rule = [{ path = "/a;b", role = "admin" }]
        "#,
    );
    assert_eq!(config.server.listen.len(), 3);
    assert_eq!(config.server.threads.map(usize::from), Some(3));
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.server.limits.max_body, 1_572_864);
    assert_eq!(config.server.limits.idle_timeout, Duration::from_secs(90));
    assert_eq!(config.server.limits.max_connections_per_address, 100, "no more than there may be in all");
    assert_eq!(config.server.limits.max_stream_age, None);
    assert_eq!(config.metrics.listen, None);
    assert_eq!((config.log.access, config.log.level), (false, tracing::Level::WARN));
    assert_eq!(config.secrets, Secrets::Environment("KEYGATE_MASTER_KEY".into()));
    assert_eq!((config.store.audit_retention, config.store.lease), (None, Duration::from_mins(10)));
    let servers = [("api.internal:80", 1), ("[::1]:9000", 256)];
    let servers = servers.map(|(address, weight)| UpstreamServer { address: address.into(), weight });
    assert_eq!(config.upstreams[0].servers, servers);
    let five = Duration::from_secs(5);
    let health = Health { path: "/live?deep=1".into(), interval: five, timeout: five };
    assert_eq!(config.upstreams[0].health, Some(health));
    let [first, second] = config.routes.as_slice() else { panic!("two routes") };
    assert_eq!((first.label().as_str(), first.access), ("api.example.org/v1", Access::Public));
    assert_eq!(first.rules[0].methods, ["POST", "QUERY"]);
    assert_eq!(first.rules[0].path.as_deref(), Some("/v1/suche nach ä/"));
    assert_eq!(first.rules[0].demand, Demand::Role(Role::ReadOnly));
    assert_eq!((first.rules[1].methods.len(), first.rules[1].demand), (0, Demand::Public));
    assert_eq!((second.lenient_paths, second.rules[0].demand), (true, Demand::Role(Role::Admin)));
}

#[test]
fn a_token_exchange_is_read_and_its_address_put_into_one_form() {
    let table = |lines: &str| sound(&format!("[token_exchange]\n{lines}\n{MINIMAL}")).token_exchange.unwrap();
    let minimal = table("url = \"http://127.0.0.1:8080\"\nshortname = \"acme\"");
    let expected = TokenExchange {
        url: "http://127.0.0.1:8080".into(),
        shortname: "acme".into(),
        path: "/api/v1/auth/token".into(),
        refresh_path: "/api/auth/bearer/refresh".into(),
        access_lifetime: Duration::from_mins(15),
        refresh_lifetime: Duration::from_hours(8),
        request_timeout: Duration::from_secs(10),
        max_concurrent: 256,
    };
    assert_eq!(minimal, expected);
    let given = table(
        "url = \"HTTPS://API.example.org/\"\nshortname = \"A-z.9_\"\npath = \"/t\"\nrefresh_path = \"/T-again\"\n\
         access_lifetime = \"24h\"\nrefresh_lifetime = \"24h\"\nrequest_timeout = \"5m\"\nmax_concurrent = 1",
    );
    let day = Duration::from_hours(24);
    assert_eq!((given.url.as_str(), given.shortname.as_str()), ("https://api.example.org", "A-z.9_"));
    assert_eq!((given.path.as_str(), given.refresh_path.as_str()), ("/t", "/T-again"));
    assert_eq!((given.access_lifetime, given.refresh_lifetime, given.max_concurrent), (day, day, 1));
    for (written, read) in [
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[::1]/", "http://[::1]"),
        ("https://a", "https://a"),
        ("https://api.example.org:443", "https://api.example.org:443"),
    ] {
        assert_eq!(table(&format!("url = \"{written}\"\nshortname = \"a\"")).url, read);
    }
}

#[test]
fn a_route_finds_its_upstream() {
    let config = sound(
        "[[route]]\npath = \"/b\"\nupstream = \"b\"\n[[route]]\npath = \"/a\"\nupstream = \"a\"\n\
         [[upstream]]\nname = \"a\"\nservers = [\"h:1\"]\n[[upstream]]\nname = \"b\"\nservers = [\"h:2\"]\n",
    );
    assert_eq!(config.routes.iter().map(|route| route.upstream).collect::<Vec<_>>(), [1, 0]);
}

/// One piece of the reference file replaced by anything: close to the format, and wrong in every way.
fn mutilated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        ".{0,12}",
        "[\\[\\]{}=\"'.,#\n a-z0-9_-]{0,20}",
        Just("= \"\"".to_owned()),
        Just("[[server]]\n".to_owned()),
        Just("= 99999999999999999999999999999999999999999999".to_owned()),
        Just("= 2020-01-01\n".to_owned()),
        Just("= inf\n".to_owned()),
    ];
    (any::<prop::sample::Index>(), 0usize..40, piece).prop_map(|(from, length, piece)| {
        let characters: Vec<char> = reference().chars().collect();
        let from = from.index(characters.len());
        let (before, rest) = characters.split_at(from);
        let after = rest.iter().skip(length);
        before.iter().copied().chain(piece.chars()).chain(after.copied()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_the_parser_panic(text in prop_oneof![any::<String>(), "(?s).{0,200}", mutilated()]) {
        if let Err(e) = parse(&text, Path::new("keygate.toml")) {
            prop_assert!(!e.problems().is_empty() && !e.to_string().is_empty());
            let lines = text.matches('\n').count() + 1;
            prop_assert!(e.problems().iter().all(|p| (1..=lines).contains(&p.line) && p.column >= 1));
        }
    }
}
