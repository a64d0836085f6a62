//! No secret is in any log, metric, message or file but where it is meant to be. Every node and every command of
//! every test is searched (see `support::leaks`); here, they are provoked.

use crate::support::request::{Request, get};
use crate::support::{Config, Gateway, Upstream, request, wait_for};

/// Where a careless client, or a careless log line, puts a credential.
fn careless(key: &str) -> Vec<Request> {
    vec![
        get("/x").bearer(key),
        get(&format!("/x?api_key={key}")),
        get(&format!("/{key}")),
        get(&format!("/a//{key}")),
        get(&format!("/{key}/%2e%2e/{key}")),
        get("/x").host(key),
        get("/x").field("Cookie", &format!("key={key}")),
        get("/x").field("Referer", &format!("http://h/?k={key}")),
        get("/x").field("User-Agent", key),
        get("/x").field("X-Request-Id", key),
        get("/x").field("X-Forwarded-For", key),
        get("/x").field("X_Api_Key", key),
        get("/x").field("Authorization", key),
        get("/x").basic("user", key).field("Bad Name", key),
        request(key, "/x"),
        request("GET", key),
        request("GET", &format!("http://{key}@h/x")),
        get("/x").field("Content-Length", key),
        get("/x").field("Transfer-Encoding", key),
        get("/x").field("Expect", key),
        get("/x").field("Upgrade", key).field("Connection", "upgrade"),
        get("/x").bearer(key).field("X-API-Key", &format!("{key}0")),
        get("/abort-before-head").bearer(key),
        get("/not-http").bearer(key),
        get("/x").bearer(key).field("X-Keygate-Role", key),
        get("/x").bearer(key).field("X-Big", &key.repeat(600)),
    ]
}

#[test]
fn whatever_clients_do_no_secret_is_in_logs_or_metrics() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "admin");
    let secrets = [key.encoded.clone(), key.app_key.clone(), gateway.shared_secret()];
    for secret in &secrets {
        for request in careless(secret) {
            let mut client = gateway.node.connect();
            drop(client.try_exchange(&request));
            // And cut off in the middle.
            let mut client = gateway.node.connect();
            let bytes = request.bytes();
            drop(client.try_send(&bytes[..bytes.len() - 3]));
        }
    }
    wait_for("the log is written", || gateway.node.access_log().len() >= 20);
    gateway.secrets.assert_absent("the metrics", gateway.node.metrics().as_bytes());
    gateway.secrets.assert_absent("the log", gateway.node.log().as_bytes());
    for line in gateway.node.access_log() {
        gateway.secrets.assert_absent("the access log", line.to_string().as_bytes());
    }
}

#[test]
fn no_secret_is_in_what_commands_print_unless_they_are_asked_for_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "admin");
    gateway.json(&["secret", "regenerate", "--yes"]);
    gateway.shared_secret();
    gateway.json(&["key", "roll", &key.id, "--yes"]);
    gateway.json(&["key", "disable", &key.id, "--yes"]);
    for format in ["table", "json"] {
        for args in [&["key", "list"][..], &["key", "show", &key.id], &["audit"], &["nodes"], &["check"]] {
            let mut all = vec!["--output", format];
            all.extend_from_slice(args);
            let done = gateway.cli(&all).expect(0);
            gateway.secrets.assert_absent(&format!("{all:?}"), done.stdout.as_bytes());
        }
    }
}

#[test]
fn a_wrong_setting_that_is_a_secret_is_not_repeated() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let secret = gateway.shared_secret();
    let text = Config::in_front_of(&upstream).text("run");
    for bad in [
        text.replace("[secrets]", &format!("[secrets]\nshared_secret = \"{secret}\"")),
        text.replace("master_key_file = \"master.key\"", &format!("master_key_env = \"{secret}\"")),
        text.replace("sqlite:keygate.db", &format!("postgres://u:{secret}@h/db")),
        text.replace("[log]", &format!("[log]\n{secret} = 1")),
        format!("{text}\n{secret}"),
    ] {
        gateway.write_config_text(&bad);
        let done = gateway.cli(&["check"]).expect(1);
        assert!(!done.stdout.contains(&secret), "{}", done.stdout);
        // stderr is searched by the support; the running gateway's log at its end.
        gateway.cli(&["reload"]).expect(1);
    }
}
