//! The admin plane of a running gateway: operators, and what they ask the REST API for.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use super::leaks::Secrets;
use super::request::request;
use super::site::text_at;
use super::{Client, Config, Gateway, Request, Response, Site, Upstream};

/// The cookie that holds a session where there is no TLS.
pub const COOKIE: &str = "keygate_session";

/// A gateway with an upstream, an administrator and a viewer.
pub struct Plane {
    // First, so that it ends first.
    pub gateway: Gateway,
    pub upstream: Upstream,
    pub admin: Operator,
    pub viewer: Operator,
}

/// An operator, as `operator add` told it.
#[derive(Clone, Debug)]
pub struct Operator {
    pub id: String,
    pub token: String,
}

impl Plane {
    pub fn start() -> Self {
        Self::with("")
    }

    /// With these lines in `[admin]`.
    pub fn with(settings: &str) -> Self {
        let upstream = Upstream::echo();
        let config = Config::in_front_of(&upstream).admin(settings);
        Self::of(upstream, &config)
    }

    pub fn of(upstream: Upstream, config: &Config) -> Self {
        let gateway = Gateway::start(config);
        let [admin, viewer] = [("ada", "admin"), ("vic", "viewer")].map(|(name, role)| gateway.operator(name, role));
        Self { gateway, upstream, admin, viewer }
    }

    /// The API with the administrator's token.
    pub fn api(&self) -> Api {
        self.anonymous().bearer(&self.admin.token)
    }

    /// The API with the viewer's token.
    pub fn viewer(&self) -> Api {
        self.anonymous().bearer(&self.viewer.token)
    }

    /// The API without a credential.
    pub fn anonymous(&self) -> Api {
        Api::new(self.gateway.node.admin_address(), &self.gateway.secrets)
    }

    /// Logs in as a browser does; the API with the session's cookie.
    #[track_caller]
    pub fn log_in(&self, token: &str) -> Api {
        let api = self.anonymous();
        let response = api.log_in(token);
        assert_eq!(response.status, 200, "{}", response.text());
        api.cookie(&session_in(&response))
    }

    /// The audit records of this action, the newest first.
    #[track_caller]
    pub fn audit(&self, action: &str) -> Vec<Value> {
        let answer = self.api().get(&format!("/v1/audit?limit=200&action={action}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["audit"].as_array().expect("audit").clone()
    }

    /// The status of `GET /x` on the data plane with a key.
    #[track_caller]
    pub fn admits(&self, encoded_key: &str) -> u16 {
        self.gateway.node.get("/x", encoded_key).status
    }
}

impl Deref for Plane {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl Site {
    /// A new operator, made on the command line.
    #[track_caller]
    pub fn operator(&self, name: &str, role: &str) -> Operator {
        let answer = self.json(&["operator", "add", name, "--role", role]);
        Operator { id: text_at(&answer, "id"), token: text_at(&answer, "token") }
    }
}

/// What an operator's requests have in common. Every one has a connection of its own; credentials in answers are noted,
/// so that they are searched for wherever none may be.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    secrets: Arc<Secrets>,
    host: String,
    fields: Vec<(String, String)>,
}

impl Api {
    pub fn new(address: SocketAddr, secrets: &Arc<Secrets>) -> Self {
        Self { address, secrets: Arc::clone(secrets), host: address.to_string(), fields: Vec::new() }
    }

    /// With one more field in every request.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.field("Authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn cookie(self, session: &str) -> Self {
        self.field("Cookie", &format!("{COOKIE}={session}"))
    }

    /// As a page of the listener itself sends it.
    #[must_use]
    pub fn sent_by_own_page(self) -> Self {
        let origin = self.origin();
        self.field("Origin", &origin)
    }

    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The origin of pages that come from the listener.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A request with this client's host, credential and fields, not sent.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let start = request(method, target).host(&self.host);
        self.fields.iter().fold(start, |request, (name, value)| request.field(name, value))
    }

    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        let response = Client::connect(self.address).exchange(request);
        self.secrets.learn(&response.text());
        response
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&self.request("GET", target))
    }

    #[track_caller]
    pub fn delete(&self, target: &str) -> Response {
        self.send(&self.request("DELETE", target))
    }

    /// POST without a body.
    #[track_caller]
    pub fn act(&self, target: &str) -> Response {
        self.send(&self.request("POST", target).body(b""))
    }

    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> Response {
        self.with_json("POST", target, body)
    }

    #[track_caller]
    pub fn patch(&self, target: &str, body: &Value) -> Response {
        self.with_json("PATCH", target, body)
    }

    #[track_caller]
    pub fn with_json(&self, method: &str, target: &str, body: &Value) -> Response {
        self.send(&json_body(self.request(method, target), body))
    }

    /// Makes an API key; the answer's body.
    #[track_caller]
    pub fn add_key(&self, name: &str, role: &str) -> Value {
        let response = self.post("/v1/api-keys", &serde_json::json!({ "name": name, "role": role }));
        assert_eq!(response.status, 201, "{}", response.text());
        response.json()
    }

    #[track_caller]
    pub fn log_in(&self, token: &str) -> Response {
        self.post("/v1/session", &serde_json::json!({ "token": token }))
    }
}

/// Where a key of an answer is.
#[track_caller]
pub fn key_target(key: &Value) -> String {
    format!("/v1/api-keys/{}", text_at(key, "id"))
}

/// The request with a JSON body.
pub fn json_body(request: Request, body: &Value) -> Request {
    request.field("Content-Type", "application/json").body(body.to_string().as_bytes())
}

/// The session that a login's answer sets.
#[track_caller]
pub fn session_in(response: &Response) -> String {
    let cookie = response.header("set-cookie").expect("Set-Cookie");
    let value = cookie.strip_prefix(&format!("{COOKIE}=")).unwrap_or_else(|| panic!("{cookie}"));
    value.split(';').next().unwrap_or_default().to_owned()
}

/// Status and name of a problem, which must have the form of one.
#[track_caller]
pub fn problem(response: &Response) -> (u16, String) {
    let content_type = response.header("content-type");
    assert_eq!(content_type, Some("application/problem+json"), "{}: {}", response.status, response.text());
    let body = response.json();
    assert_eq!(body["status"], response.status, "{body}");
    assert_eq!(body["request_id"].as_str(), response.header("x-request-id"), "{body}");
    for member in ["title", "detail"] {
        assert!(body[member].as_str().is_some_and(|t| !t.is_empty()), "{member} in {body}");
    }
    let name = body["type"].as_str().and_then(|t| t.strip_prefix("urn:keygate:problem:"));
    (response.status, name.unwrap_or_else(|| panic!("type in {body}")).to_owned())
}

/// The fields that a problem names.
pub fn named_fields(response: &Response) -> Vec<String> {
    let body = response.json();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().filter_map(|e| e["field"].as_str()).map(str::to_owned).collect()
}
