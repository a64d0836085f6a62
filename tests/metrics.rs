//! The metrics are what Prometheus and its own checker take, and say what happened.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::request::{get, post};
use crate::support::{Client, Config, Gateway, Upstream, wait_for, wait_for_some};

/// A gateway on which a bit of everything has happened.
fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let (reader, admin) = (gateway.key_add("reader", "readonly"), gateway.key_add("admin", "admin"));
    for request in [
        get("/x").bearer(&reader),
        post("/x", b"body").bearer(&admin),
        post("/x", b"body").bearer(&reader),
        get("/x"),
        get("/x").bearer("kg_1_nonsense"),
        get("/a//b").bearer(&reader),
        get("/status/500").bearer(&reader),
        get("/abort-before-head").bearer(&reader),
    ] {
        gateway.node.send(&request);
    }
    (upstream, gateway)
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let (_upstream, gateway) = start();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("a pipe").write_all(gateway.node.metrics().as_bytes()).expect("writes");
    let output = promtool.wait_with_output().expect("it ends");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.is_empty(), "{told}");
}

#[test]
fn what_happened_is_counted() {
    let (_upstream, gateway) = start();
    let metric = |name: &str, labels: &[&str]| gateway.node.metric(name, labels);
    let close = |a: f64, b: f64| (a - b).abs() < 0.1;
    wait_for("all requests are counted", || close(metric("keygate_requests_total", &[]), 8.0));
    assert!(close(metric("keygate_refusals_total", &["reason=\"missing_credential\""]), 1.0));
    assert!(close(metric("keygate_refusals_total", &["reason=\"malformed\""]), 1.0));
    assert!(close(metric("keygate_refusals_total", &["reason=\"role_too_low\""]), 1.0));
    assert!(close(metric("keygate_refusals_total", &["reason=\"path\""]), 1.0));
    assert!(metric("keygate_request_duration_seconds_count", &["route=\"/\""]) >= 3.0);
    assert!(metric("keygate_upstream_duration_seconds_count", &["upstream=\"api\""]) >= 3.0);
    assert!(metric("keygate_upstream_failures_total", &["upstream=\"api\""]) >= 1.0);
    assert!(close(metric("keygate_api_keys", &["role=\"READONLY\"", "state=\"active\""]), 1.0));
    assert!(close(metric("keygate_api_keys", &["role=\"ADMIN\"", "state=\"active\""]), 1.0));
    assert!(close(metric("keygate_shared_secret_version", &[]), 1.0));
    assert!(metric("keygate_lease_remaining_seconds", &[]) > 0.0);
    assert!(close(metric("keygate_build_info", &[]), 1.0));
    assert!(metric("process_resident_memory_bytes", &[]) > 1e6);
    gateway.json(&["secret", "regenerate", "--yes"]);
    assert!(close(metric("keygate_shared_secret_version", &[]), 2.0));
    wait_for("the revocation is timed", || metric("keygate_revocation_duration_seconds_count", &[]) >= 1.0);
}

#[test]
fn what_clients_send_makes_no_new_series() {
    let (_upstream, gateway) = start();
    let reader = gateway.key_add("another", "readonly");
    let series = |text: &str| text.lines().filter(|l| !l.starts_with('#')).count();
    let send = |n: usize| {
        gateway.node.send(&get(&format!("/made/up/{n}")).host(&format!("h{n}.test")).bearer(&reader));
        gateway.node.send(&crate::support::request(&format!("M{n}"), "/x").bearer(&reader));
        gateway.node.get(&format!("/status/{}", 400 + n), &reader);
    };
    send(0);
    let before = series(&gateway.node.metrics());
    (1..40).for_each(send);
    let after = series(&gateway.node.metrics());
    assert!(after <= before + 2, "{before} series became {after}");
}

#[test]
fn the_access_log_has_one_line_a_request_with_the_keys_id_and_no_query() {
    let (_upstream, gateway) = start();
    let key = gateway.key_add("Logged app", "readonly");
    let response = gateway.node.get("/logged?token=hush", &key);
    let id = response.header("x-request-id").expect("an id");
    let line = wait_for_some("the line", || gateway.node.access_log().into_iter().find(|l| l["request_id"] == id));
    assert_eq!(
        (line["path"].as_str(), line["method"].as_str(), line["status"].as_u64()),
        (Some("/logged"), Some("GET"), Some(200))
    );
    assert_eq!((line["key_id"].as_str(), line["role"].as_str()), (Some(key.id.as_str()), Some("READONLY")));
    assert!(!line.to_string().contains("hush"), "{line}");
    let refused = gateway.node.send(&get("/refused"));
    let id = refused.header("x-request-id").expect("an id").to_owned();
    let line =
        wait_for_some("the line", || gateway.node.access_log().into_iter().find(|l| l["request_id"] == id.as_str()));
    assert_eq!((line["status"].as_u64(), line["reason"].as_str()), (Some(401), Some("missing_credential")));
    assert!(line.get("key_id").is_none_or(serde_json::Value::is_null));
}

/// A Prometheus of our own; ended by its id.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        drop(self.0.wait());
    }
}

#[test]
fn a_real_prometheus_scrapes_it() {
    let (_upstream, gateway) = start();
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: keygate\n    static_configs:\n      - targets: ['{}']\n",
        gateway.node.metrics_address()
    );
    std::fs::write(gateway.path("prometheus.yml"), config).expect("writes");
    let log = gateway.path("prometheus.log");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", gateway.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", gateway.path("prometheus").display()))
        .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("prometheus runs");
    let pid = child.id();
    let prometheus = Prometheus(child);
    let port = wait_for_some("prometheus listens", || listening_port(pid));
    let query = |text: &str| {
        let target = format!("/api/v1/query?query={text}");
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        let response = client.exchange(&get(&target).field("Connection", "close"));
        // 503 while it starts.
        (response.status == 200)
            .then(|| response.json()["data"]["result"][0]["value"][1].as_str().map(str::to_owned))
            .flatten()
    };
    wait_for("the scrape succeeds", || query("up").as_deref() == Some("1"));
    wait_for("the samples are there", || query("sum(keygate_requests_total)").as_deref() == Some("8"));
    assert_eq!(query("keygate_shared_secret_version").as_deref(), Some("1"));
    assert!(query("count(keygate_request_duration_seconds_bucket)").is_some());
    drop(prometheus);
}

/// The TCP port on which this process listens.
fn listening_port(pid: u32) -> Option<u16> {
    let output = Command::new("ss").args(["-Hltnp"]).output().expect("ss runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|l| l.contains(&format!("pid={pid},")))?;
    line.split_whitespace().nth(3)?.rsplit(':').next()?.parse().ok()
}
