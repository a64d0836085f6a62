//! Starting, being ready, draining, ending.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::support::config::is_general;
use crate::support::load::Load;
use crate::support::request::{get, post};
use crate::support::{Client, Config, Gateway, Site, Upstream, count, sockets, wait_for};

#[test]
fn the_first_request_after_the_ready_line_is_admitted() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.key_add("app", "readonly");
    for _ in 0..5 {
        let node = site.serve();
        assert_eq!(node.get("/x", &key).status, 200, "keyring and lease come before the socket");
    }
}

#[test]
fn the_ready_line_names_the_real_ports() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let log = gateway.node.log();
    let ready: Vec<serde_json::Value> = log.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let ready: Vec<_> = ready.iter().filter(|v| v["event"] == "listening").collect();
    assert_eq!(ready.len(), 1, "{log}");
    assert_eq!(ready[0]["server"], serde_json::json!([gateway.node.address().to_string()]));
    assert_eq!(ready[0]["metrics"], gateway.node.metrics_address().to_string());
    assert_ne!(gateway.node.address().port(), 0);
}

#[test]
fn a_busy_port_is_exit_1_with_the_address_named() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let text = Config::in_front_of(&upstream).text("run");
    for (from, to) in [
        ("listen = [\"127.0.0.1:0\"]", format!("listen = [\"{address}\"]")),
        ("[metrics]\nlisten = \"127.0.0.1:0\"", format!("[metrics]\nlisten = \"{address}\"")),
    ] {
        site.write_config_text(&text.replace(from, &to));
        let done = site.cli(&["serve"]).expect(1);
        assert!(done.stderr.contains(&address), "{}", done.stderr);
        assert!(!done.stderr.contains("\"listening\""), "{}", done.stderr);
    }
}

#[test]
fn serve_refuses_to_start_without_what_init_makes() {
    let upstream = Upstream::echo();
    let site = Site::empty();
    site.write_config(&Config::in_front_of(&upstream));
    let done = site.cli(&["serve"]).expect(1);
    assert!(done.stderr.contains("keygate init") || done.stderr.contains("master"), "{}", done.stderr);
}

#[test]
fn health_is_told_on_the_metrics_listener_alone() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    for page in ["/healthz", "/readyz"] {
        assert_eq!(gateway.node.metrics_page(page).status, 200, "{page}");
        assert_eq!(gateway.node.send(&get(page)).status, 401, "on the data plane it is a path like any other: {page}");
    }
    assert_eq!(gateway.node.metrics_page("/nothing").status, 404);
}

#[test]
fn readiness_fails_while_draining_and_health_does_not() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "readonly");
    let mut client = gateway.node.connect();
    client.send(&get("/wait").bearer(&key).bytes());
    wait_for("it is in flight", || upstream.count() == 1);
    gateway.node.signal(Signal::TERM);
    wait_for("it is not ready", || gateway.node.metrics_page("/readyz").status == 503);
    assert_eq!(gateway.node.metrics_page("/healthz").status, 200);
    upstream.open_gate();
    assert_eq!(client.read("GET").status, 200);
}

#[test]
fn sigterm_and_sigint_end_an_idle_gateway_with_exit_0() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.key_add("app", "readonly");
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = site.serve();
        // A kept-alive connection without a request does not hold it up.
        let mut idle = node.connect();
        assert_eq!(idle.exchange(&get("/x").bearer(&key)).status, 200);
        let silent = node.connect();
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(0));
        assert!(idle.is_closed_by_peer());
        drop(silent);
    }
}

#[test]
fn sigterm_lets_what_is_in_flight_end_and_takes_nothing_new() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "admin");
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.node.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&match n % 2 {
            0 => get("/wait").bearer(&key).bytes(),
            _ => get("/stream").bearer(&key).bytes(),
        });
    }
    wait_for("all are in flight", || upstream.count() == 10);
    gateway.node.signal(Signal::TERM);
    wait_for("the listener is closed", || Client::try_connect(gateway.node.address()).is_err());
    upstream.open_gate();
    for client in &mut clients {
        let response = client.read("GET");
        assert!(response.status == 200 && ["waited", "firstlast"].contains(&response.text().as_str()));
        assert!(client.is_closed_by_peer());
    }
    assert_eq!(gateway.node.wait().code(), Some(0));
}

#[test]
fn an_answer_during_the_drain_says_that_the_connection_closes() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "readonly");
    let mut client = gateway.node.connect();
    client.send(&get("/wait").bearer(&key).bytes());
    wait_for("it is in flight", || upstream.count() == 1);
    gateway.node.signal(Signal::TERM);
    wait_for("the listener is closed", || Client::try_connect(gateway.node.address()).is_err());
    upstream.open_gate();
    let response = client.read("GET");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(client.is_closed_by_peer());
    assert_eq!(gateway.node.wait().code(), Some(0));
}

#[test]
fn pipelined_requests_that_were_read_before_sigterm_are_all_answered() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "admin");
    let mut client = gateway.node.connect();
    let mut bytes = get("/wait").bearer(&key).bytes();
    for n in 0..3 {
        bytes.extend(post(&format!("/p/{n}"), b"body").bearer(&key).bytes());
        // A refusal has its turn too, and does not end the drain.
        bytes.extend(get("/refused").bytes());
    }
    client.send(&bytes);
    wait_for("the first is in flight", || upstream.count() == 1);
    wait_for("all are read", || sockets::has_read_everything(gateway.node.address(), client.local()) == Some(true));
    gateway.node.signal(Signal::TERM);
    wait_for("the listener is closed", || Client::try_connect(gateway.node.address()).is_err());
    upstream.open_gate();
    assert_eq!(client.read("GET").text(), "waited");
    let mut last = None;
    for n in 0..3 {
        let response = client.read("POST");
        assert_eq!((response.status, response.header("x-target")), (200, Some(format!("/p/{n}").as_str())));
        let refused = client.read("GET");
        assert_eq!(refused.status, 401, "{n}");
        last = refused.header("connection").map(str::to_owned);
    }
    assert_eq!(last.as_deref(), Some("close"), "the last answer says so");
    assert!(client.is_closed_by_peer());
    assert_eq!(gateway.node.wait().code(), Some(0));
}

/// Nobody else is there, so that nothing but the queue keeps the gateway.
#[test]
fn sigterm_answers_who_waits_to_be_accepted() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.key_add("app", "admin");
    for _ in 0..count(3, 20) {
        let mut node = site.serve();
        node.signal(Signal::STOP);
        let mut clients: Vec<Client> = (0..50).map(|_| node.connect()).collect();
        for client in &mut clients {
            client.send(&get("/queued").bearer(&key).bytes());
        }
        node.signal(Signal::TERM);
        node.signal(Signal::CONT);
        for client in &mut clients {
            assert_eq!(client.read("GET").status, 200);
        }
        assert_eq!(node.wait().code(), Some(0));
    }
}

#[test]
fn sigterm_answers_a_request_of_which_only_the_first_bytes_were_read() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.key_add("app", "admin");
    let bytes = post("/begun", b"whole").bearer(&key).bytes();
    // Cut in the head, and in the body.
    for cut in [1, 20, bytes.len() - 2] {
        let mut node = site.serve();
        let mut client = node.connect();
        client.send(&bytes[..cut]);
        wait_for("the bytes are read", || sockets::has_read_everything(node.address(), client.local()) == Some(true));
        node.signal(Signal::TERM);
        wait_for("the listener is closed", || Client::try_connect(node.address()).is_err());
        client.send(&bytes[cut..]);
        let response = client.read("POST");
        assert_eq!((response.status, response.text().as_str()), (200, "whole"), "cut at {cut}");
        assert_eq!(node.wait().code(), Some(0));
    }
}

#[test]
fn sigterm_under_load_answers_every_request_that_reached_the_upstream() {
    let upstream = Upstream::echo();
    for round in 0..count(3, 20) {
        let mut gateway = Gateway::start(&Config::in_front_of(&upstream));
        let key = gateway.key_add("app", "admin");
        let load = Load::start(gateway.node.address(), 8, move |n| post(&format!("/r{round}/{n}"), b"x").bearer(&key));
        load.wait_for_more(300);
        assert_eq!(gateway.node.stop().code(), Some(0));
        let outcomes = load.finish();
        let prefix = format!("/r{round}/");
        for seen in upstream.seen().iter().filter(|s| s.target().starts_with(&prefix)) {
            let number: usize = seen.target()[prefix.len()..].parse().expect("a number");
            let outcome = outcomes.iter().find(|o| o.number == number).expect("it was begun");
            assert_eq!(outcome.result, Ok(200), "{outcome:?}");
        }
        let refused = outcomes.iter().filter(|o| matches!(o.result, Ok(status) if status != 200)).count();
        assert_eq!(refused, 0, "{outcomes:?}");
    }
}

#[test]
fn what_takes_longer_than_the_drain_timeout_is_cut_and_logged() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Config::in_front_of(&upstream).server("drain_timeout = \"300ms\""));
    let key = gateway.key_add("app", "readonly");
    let mut untold = gateway.node.connect();
    untold.send(&get("/wait").bearer(&key).bytes());
    let mut told = gateway.node.connect();
    told.send(&get("/stream").bearer(&key).bytes());
    assert!(told.read_some().starts_with(b"HTTP/1.1 200"));
    wait_for("both are in flight", || upstream.count() == 2);
    gateway.node.stop();
    let response = untold.read("GET");
    assert_eq!((response.status, response.header("connection")), (503, Some("close")));
    assert!(response.text().contains("urn:keygate:problem:stopping"), "{}", response.text());
    let log = gateway.node.access_log();
    let logged = |path: &str| {
        let line = log.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path}: {log:?}"));
        (line["status"].clone(), line["reason"].clone())
    };
    assert_eq!(logged("/wait"), (503.into(), "stopping".into()));
    assert_eq!(logged("/stream"), (200.into(), "stopping".into()));
}

/// Nothing is ever sent to such a server: it has not accepted the connection.
#[test]
fn who_waits_for_a_connection_to_a_server_when_the_drain_ends_is_cut_and_logged() {
    let full = sockets::Full::start();
    let config = Config::default().upstream_at("api", &[full.address().to_string()], "connect_timeout = \"1m\"");
    let config = config.route("path = \"/\"\nupstream = \"api\"").server("drain_timeout = \"300ms\"");
    let mut gateway = Gateway::start(&config);
    let key = gateway.key_add("app", "readonly");
    let mut client = gateway.node.connect();
    client.send(&get("/connecting").bearer(&key).bytes());
    wait_for("it is in flight", || gateway.node.metric("keygate_requests_in_flight", &[]) > 0.0);
    assert_eq!(gateway.node.stop().code(), Some(0));
    let log = gateway.node.access_log();
    assert_eq!((log.len(), &log[0]["reason"]), (1, &"stopping".into()), "{log:?}");
    // pingora-proxy waits for a server and looks at nothing else: its exchange is dropped, and its client is told nothing.
    if is_general() {
        assert_eq!(log[0]["status"], 0);
        assert!(client.is_closed_by_peer());
    } else {
        assert_eq!(log[0]["status"], 503);
        assert!(client.read("GET").text().contains("urn:keygate:problem:stopping"));
    }
}

#[test]
fn after_kill_9_the_same_store_serves_at_once() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "readonly");
    gateway.node.kill();
    gateway.node = gateway.site.serve();
    assert_eq!(gateway.node.get("/x", &key).status, 200);
}

#[test]
fn files_with_secrets_are_for_their_owner_alone() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let mode = |name: &str| {
        let metadata = std::fs::metadata(gateway.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(format!("{:o}", mode("master.key")), "600");
    assert_eq!(format!("{:o}", mode("run")), "700");
    assert_eq!(mode("keygate.db") & 0o077, 0, "the store");
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.path("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let done = site.cli(&["serve"]).expect(1);
    assert!(done.stderr.contains("master.key"), "{}", done.stderr);
}
