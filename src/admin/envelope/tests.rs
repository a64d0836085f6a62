//! What holds for every request, whatever answers it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::admin::envelope::wrap;
use crate::admin::extract::WaitFor;
use crate::admin::problem::PROBLEM_JSON;
use crate::admin::test_rig::{Reply, Rig};

const FIELDS: [&str; 6] = [
    "cache-control",
    "x-content-type-options",
    "content-security-policy",
    "x-frame-options",
    "referrer-policy",
    "x-request-id",
];

/// With these endpoints instead of ours.
async fn rig(routes: Router<Arc<crate::admin::state::Admin>>) -> Rig {
    let mut rig = Rig::with(|settings| settings.request_timeout = Duration::from_secs(1)).await;
    rig.router = routes.layer(from_fn_with_state(Arc::clone(&rig.admin), wrap)).with_state(Arc::clone(&rig.admin));
    rig
}

fn is_problem(reply: &Reply, status: u16, name: &str) {
    assert_eq!((reply.status.as_u16(), reply.problem()), (status, name), "{}", reply.text);
    assert_eq!(reply.headers["content-type"], PROBLEM_JSON);
    assert_eq!(reply.headers["x-request-id"], reply.body["request_id"].as_str().unwrap());
    assert_eq!(reply.body["status"], status);
    for field in FIELDS {
        assert!(reply.headers.contains_key(field), "{field}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let rig = Rig::new().await;
    is_problem(&rig.ask("GET", "/v1/nothing", None).await, 404, "not-found");
    is_problem(&rig.ask("GET", "/v1", None).await, 404, "not-found");
    is_problem(&rig.ask("GET", "/v1/session/", None).await, 404, "not-found");
    let reply = rig.ask("PUT", "/v1/session", None).await;
    is_problem(&reply, 405, "method-not-allowed");
    let mut allowed: Vec<_> = reply.headers["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST"]);
    is_problem(&rig.ask("TRACE", "/v1/session", None).await, 405, "method-not-allowed");
}

#[tokio::test]
async fn answers_have_an_id_of_their_own_and_are_kept_nowhere() {
    let rig = Rig::new().await;
    let (first, second) = (rig.ask("GET", "/v1/session", None).await, rig.ask("GET", "/v1/session", None).await);
    assert_eq!(first.status, 200);
    assert_ne!(first.headers["x-request-id"], second.headers["x-request-id"]);
    for field in FIELDS {
        assert!(first.headers.contains_key(field), "{field}");
    }
    assert_eq!(first.headers["cache-control"], "no-store");
    assert!(first.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}

#[tokio::test]
async fn another_host_is_refused_before_anything_is_looked_at() {
    let rig = Rig::with(|settings| settings.hosts = vec!["keys.example.org".to_owned()]).await;
    let token = format!("Bearer {}", rig.root.1.expose());
    for (host, status) in [("evil.example", 421), ("keys.example.org:1", 200), ("localhost:8081", 200)] {
        let fields = [("host", host), ("authorization", token.as_str())];
        let reply = rig.send("GET", "/v1/session", &fields, None).await;
        assert_eq!(reply.status.as_u16(), status, "{host}");
        if status == 421 {
            is_problem(&reply, 421, "misdirected");
        }
    }
    is_problem(&rig.send("GET", "/", &[("host", "evil.example")], None).await, 421, "misdirected");
}

#[tokio::test]
async fn a_panic_is_500_and_the_next_request_is_answered() {
    async fn panics() -> &'static str {
        tokio::task::yield_now().await;
        panic!("kgs_1_secret")
    }
    let rig = rig(Router::new().route("/panic", get(panics)).route("/fine", get(|| async { "fine" }))).await;
    let reply = rig.ask("GET", "/panic", None).await;
    is_problem(&reply, 500, "internal-error");
    assert!(!reply.text.contains("kgs_"));
    assert_eq!(rig.ask("GET", "/fine", None).await.text, "fine");
    let counted = |line: &str| {
        let text = pingora_prometheus::prometheus::TextEncoder::new().encode_to_string(&rig.registry.gather()).unwrap();
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    };
    counted(r#"keygate_admin_requests_total{method="GET",status="5xx"} 1"#);
    counted(r#"keygate_admin_requests_total{method="GET",status="2xx"} 1"#);
}

#[tokio::test]
async fn an_answer_has_a_deadline_unless_it_waits_for_nodes() {
    let slow = || async { tokio::time::sleep(Duration::from_secs(3)).await };
    let waiting = |_: WaitFor| async { tokio::time::sleep(Duration::from_secs(3)).await };
    let rig = rig(Router::new().route("/slow", get(slow)).route("/waiting", get(waiting))).await;
    // From here on, time jumps to the next deadline.
    tokio::time::pause();
    let reply = rig.ask("GET", "/slow", None).await;
    is_problem(&reply, 503, "store-unavailable");
    assert!(reply.headers.contains_key("retry-after"));
    assert_eq!(rig.ask("GET", "/waiting", None).await.status, 200);
}
