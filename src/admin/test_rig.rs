//! For unit tests: the admin plane on a real store, asked without a socket. Time stands still until it is moved.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tower_service::Service as _;

use super::state::{Admin, Connection, InForce, Origin};
use crate::clock::{BootTime, FakeClock, WallTime};
use crate::config::resolved;
use crate::credential::OperatorToken;
use crate::entropy::SystemEntropy;
use crate::lifecycle::{Lifecycle, MasterKeys};
use crate::metrics::{Metrics, Registry};
use crate::store::seal::MasterKey;
use crate::store::sqlite::{SqliteNodeLocks, SqliteStore};
use crate::store::{Actor, Audit, Operator, OperatorRole};

/// A router over a new store with version 1 of the shared secret, an admin and a viewer.
pub struct Rig {
    /// What the endpoints are given.
    pub admin: Arc<Admin>,
    /// Its clock.
    pub clock: Arc<FakeClock>,
    /// What is counted.
    pub registry: Registry,
    /// With role admin.
    pub root: (Operator, OperatorToken),
    /// With role viewer.
    pub viewer: (Operator, OperatorToken),
    /// What answers.
    pub router: Router,
    _directory: TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body as JSON; null if it has none or is no JSON.
    pub body: Value,
    /// Its body as it is.
    pub text: String,
}

impl Reply {
    /// The last part of a problem's type; empty if it is none.
    #[must_use]
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default().trim_start_matches("urn:keygate:problem:")
    }

    /// The fields that a problem names.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        self.body["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str()).collect()
    }

    /// `name=value` of the cookie that it sets.
    #[must_use]
    pub fn cookie(&self) -> String {
        let set = self.headers[SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }
}

impl Rig {
    /// With the endpoints of the whole plane.
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with other settings.
    pub async fn with(change: impl FnOnce(&mut resolved::Admin)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keygate.db");
        let store = SqliteStore::create(&path, "store").await.unwrap();
        let key = MasterKey::generate(&SystemEntropy);
        let sealed = key.new_secret(NonZeroU32::MIN, "store", &SystemEntropy);
        let at = WallTime::from_millis(1_767_225_600_000);
        let actor = Actor { who: "cli:test".to_owned(), from: "local".to_owned() };
        let audit = Audit { actor: &actor, at, action: "x", subject: "1".to_owned(), detail: Value::Null };
        assert!(store.put_first_secret(sealed, at, "00", &audit).await.unwrap());
        let clock = Arc::new(FakeClock::at(BootTime::from_nanos(1 << 40), at));
        let lifecycle = Lifecycle {
            store: Arc::new(store),
            locks: Arc::new(SqliteNodeLocks::new(&path)),
            master: MasterKeys::of(key),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
        };
        let operator =
            async |name: &str, role| lifecycle.add_operator(name.parse().unwrap(), role, &actor).await.unwrap();
        let root = operator("root", OperatorRole::Admin).await;
        let viewer = operator("viewer", OperatorRole::Viewer).await;
        let listen = "127.0.0.1:8081".parse().unwrap();
        let mut settings = resolved::Admin {
            listen: Some(listen),
            hosts: Vec::new(),
            session_idle: Duration::from_mins(30),
            session_max: Duration::from_hours(12),
            request_timeout: Duration::from_secs(30),
            tls: None,
        };
        change(&mut settings);
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::new(&registry, &[]).unwrap());
        let in_force = InForce { route_labels: ["/", "/public"].map(str::to_owned).into(), token_exchange: None };
        let in_force = Arc::new(ArcSwap::from_pointee(in_force));
        let admin = Arc::new(Admin::new(lifecycle, settings, Origin::of(listen, false), in_force, metrics));
        let router = super::router(Arc::clone(&admin));
        Self { admin, clock, registry, root, viewer, router, _directory: directory }
    }

    /// Asks as the admin.
    pub async fn ask(&self, method: &str, target: &str, body: Option<Value>) -> Reply {
        self.ask_as(Some(&self.root.1), method, target, body).await
    }

    /// Asks as whoever has this token, or as nobody.
    pub async fn ask_as(
        &self,
        token: Option<&OperatorToken>,
        method: &str,
        target: &str,
        body: Option<Value>,
    ) -> Reply {
        let token = token.map(|token| format!("Bearer {}", token.expose()));
        let mut fields: Vec<(&str, &str)> = Vec::new();
        fields.extend(token.as_deref().map(|token| (AUTHORIZATION.as_str(), token)));
        self.send(method, target, &fields, body.map(|body| body.to_string()).as_deref()).await
    }

    /// Asks with a cookie, as our own page would.
    pub async fn ask_with(&self, cookie: &str, method: &str, target: &str, body: Option<Value>) -> Reply {
        let fields = [(COOKIE.as_str(), cookie), ("origin", "http://127.0.0.1:8081")];
        self.send(method, target, &fields, body.map(|body| body.to_string()).as_deref()).await
    }

    /// Sends these fields, and a body as JSON. Without a `host` among them, the usual one.
    pub async fn send(&self, method: &str, target: &str, fields: &[(&str, &str)], body: Option<&str>) -> Reply {
        let given = |name: &str| fields.iter().any(|(field, _)| *field == name);
        let mut request = Request::builder().method(method).uri(target);
        if !given("host") {
            request = request.header(HOST, "127.0.0.1:8081");
        }
        if body.is_some() && !given("content-type") {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let peer = "127.0.0.1:50000".parse().unwrap();
        let local = "127.0.0.1:8081".parse().unwrap();
        let body = Body::from(body.unwrap_or_default().to_owned());
        let request = request.extension(Connection::new(peer, local, false)).body(body).unwrap();
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 24).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            text: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Logs in and gives the cookie.
    pub async fn log_in(&self, token: &OperatorToken) -> String {
        let body = serde_json::json!({ "token": token.expose() });
        let reply = self.ask_as(None, "POST", "/v1/session", Some(body)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        reply.cookie()
    }
}
