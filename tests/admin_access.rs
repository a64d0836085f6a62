//! Who may do what on the admin plane. The router is enumerated from the document that it serves itself, so that a new
//! route is proven closed or fails here.

use serde_json::{Value, json};

use crate::support::admin::{Api, Plane, json_body, problem};
use crate::support::request::get;
use crate::support::site::text_at;
use crate::support::{Client, Response};

/// What a viewer may ask for. Everything else needs an administrator.
const FOR_VIEWERS: [(&str, &str); 9] = [
    ("GET", "/v1/session"),
    ("DELETE", "/v1/session"),
    ("GET", "/v1/api-keys"),
    ("GET", "/v1/api-keys/{id}"),
    ("GET", "/v1/shared-secret/impact"),
    ("GET", "/v1/revisions/{revision}"),
    ("GET", "/v1/nodes"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/openapi.json"),
];

/// What there must be at the least.
const FOR_ADMINISTRATORS: [(&str, &str); 14] = [
    ("POST", "/v1/api-keys"),
    ("PATCH", "/v1/api-keys/{id}"),
    ("DELETE", "/v1/api-keys/{id}"),
    ("POST", "/v1/api-keys/{id}/roll"),
    ("POST", "/v1/api-keys/{id}/disable"),
    ("POST", "/v1/api-keys/{id}/enable"),
    ("GET", "/v1/shared-secret"),
    ("POST", "/v1/shared-secret/regenerate"),
    ("POST", "/v1/shared-secret/end-grace"),
    ("GET", "/v1/operators"),
    ("POST", "/v1/operators"),
    ("DELETE", "/v1/operators/{id}"),
    ("POST", "/v1/operators/{id}/rotate"),
    ("POST", "/v1/operators/{id}/login-link"),
];

/// Something that a client can ask for.
struct Operation {
    method: String,
    path: String,
    /// The path with parameters that would be found.
    target: String,
}

impl Operation {
    fn is_login(&self) -> bool {
        (self.method.as_str(), self.path.as_str()) == ("POST", "/v1/session")
    }

    fn is_for_viewers(&self) -> bool {
        FOR_VIEWERS.contains(&(self.method.as_str(), self.path.as_str()))
    }

    /// A request that would be carried out if it were allowed.
    fn send(&self, api: &Api) -> Response {
        let request = api.request(&self.method, &self.target);
        api.send(&match self.body() {
            Some(body) => json_body(request, &body),
            None if self.method == "GET" => request,
            None => request.body(b""),
        })
    }

    fn body(&self) -> Option<Value> {
        match (self.method.as_str(), self.path.as_str()) {
            ("POST", "/v1/api-keys") => Some(json!({ "name": "intruder", "role": "ADMIN" })),
            ("POST", "/v1/operators") => Some(json!({ "name": "intruder", "role": "admin" })),
            ("PATCH", _) => Some(json!({ "description": "changed" })),
            ("POST", "/v1/shared-secret/regenerate") => Some(json!({ "expected_version": 1 })),
            _ => None,
        }
    }
}

/// Every operation of the served document, on the key and operator of these ids.
fn operations(plane: &Plane, key: &str) -> Vec<Operation> {
    let document = plane.api().get("/v1/openapi.json").json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let id = if path.starts_with("/v1/operators") { &plane.viewer.id } else { key };
        let target = path.replace("{id}", id).replace("{revision}", "1");
        assert!(!target.contains('{'), "{target}: what is this parameter?");
        for method in methods.as_object().expect("methods").keys() {
            if ["get", "put", "post", "delete", "patch", "head", "options", "trace"].contains(&method.as_str()) {
                all.push(Operation { method: method.to_uppercase(), path: path.clone(), target: target.clone() });
            }
        }
    }
    for (method, path) in FOR_VIEWERS.into_iter().chain(FOR_ADMINISTRATORS) {
        assert!(all.iter().any(|o| o.method == method && o.path == path), "{method} {path} is not in the document");
    }
    all
}

/// All that a change would change.
fn state(plane: &Plane) -> Value {
    let api = plane.api();
    let keys = api.get("/v1/api-keys").json()["api_keys"].clone();
    let operators = api.get("/v1/operators").json()["operators"].clone();
    let impact = api.get("/v1/shared-secret/impact").json()["version"].clone();
    json!({ "keys": keys, "operators": operators, "version": impact })
}

#[track_caller]
fn assert_unauthenticated(response: &Response, what: &str) {
    assert_eq!(response.status, 401, "{what}: {}", response.text());
    assert_eq!(problem(response).1, "unauthenticated", "{what}");
    let challenge = response.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer realm=\"keygate admin\""), "{what}: {challenge:?}");
}

/// What every answer of the API carries.
#[track_caller]
fn assert_private(response: &Response, what: &str) {
    assert_eq!(response.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{what}");
    assert!(response.header("x-request-id").is_some_and(|id| !id.is_empty()), "{what}");
    let allows_others = response.head.fields.iter().find(|(n, _)| n.to_lowercase().starts_with("access-control-"));
    assert_eq!(allows_others, None, "{what}");
}

#[test]
fn every_route_is_closed_without_a_credential_and_with_a_wrong_one() {
    let plane = Plane::start();
    let key = plane.key_add("app", "admin");
    let session = plane.log_in(&plane.admin.token).request("GET", "/");
    let session = String::from_utf8(session.bytes()).expect("text");
    let session = session.split("keygate_session=").nth(1).and_then(|s| s.split("\r\n").next()).expect("a session");
    let before = state(&plane);
    let nobody = || plane.anonymous();
    let token = &plane.admin.token;
    let invented = format!("kgo_aaaaaaaaaaaa_{}", "x".repeat(43));
    let wrong_secret = format!("kgo_{}_{}", plane.admin.id, "x".repeat(43));
    let credentials = [
        ("nothing", nobody()),
        ("a token that nobody has", nobody().bearer(&invented)),
        ("an operator's id with a wrong secret", nobody().bearer(&wrong_secret)),
        ("a token cut short", nobody().bearer(&token[..token.len() - 1])),
        ("an encoded key of the data plane", nobody().bearer(&key.encoded)),
        ("an app key", nobody().bearer(&key.app_key)),
        ("the shared secret", nobody().bearer(&plane.shared_secret())),
        ("a session as a token", nobody().bearer(session)),
        ("a token as a session", nobody().cookie(token).sent_by_own_page()),
        ("a session that nobody has", nobody().cookie(&"x".repeat(43)).sent_by_own_page()),
        ("an empty session", nobody().cookie("").sent_by_own_page()),
        ("a token by Basic", nobody().field("Authorization", "Basic a2V5Z2F0ZTo=")),
        ("two Authorization fields", nobody().bearer(token).bearer(token)),
        ("a token where the data plane takes keys", nobody().field("X-API-Key", token)),
    ];
    for operation in operations(&plane, &key.id).iter().filter(|o| !o.is_login()) {
        for (what, api) in &credentials {
            let what = format!("{} {} with {what}", operation.method, operation.path);
            let response = operation.send(api);
            assert_unauthenticated(&response, &what);
            assert_private(&response, &what);
            // Or the next ones would be slowed.
            assert_eq!(plane.api().get("/v1/session").status, 200);
        }
    }
    assert_eq!(state(&plane), before);
    assert_eq!(plane.admits(&key.encoded), 200);
}

#[test]
fn what_a_viewer_may_not_do_is_forbidden_and_not_done() {
    let plane = Plane::start();
    let key = plane.key_add("app", "admin");
    let before = state(&plane);
    let session = plane.log_in(&plane.viewer.token).sent_by_own_page();
    for api in [plane.viewer(), session] {
        for operation in operations(&plane, &key.id).iter().filter(|o| !o.is_login()) {
            let what = format!("{} {}", operation.method, operation.path);
            // It would log the viewer out.
            if operation.method == "DELETE" && operation.path == "/v1/session" {
                continue;
            }
            let response = operation.send(&api);
            assert_private(&response, &what);
            if operation.is_for_viewers() {
                assert_eq!(response.status, 200, "{what}: {}", response.text());
            } else {
                assert_eq!(problem(&response), (403, "forbidden".to_owned()), "{what}");
            }
        }
    }
    let after = state(&plane);
    assert_eq!([&after["keys"], &after["version"]], [&before["keys"], &before["version"]]);
    let names = |state: &Value| state["operators"].as_array().expect("operators").len();
    assert_eq!(names(&after), names(&before));
    assert_eq!(plane.admits(&key.encoded), 200);
}

#[test]
fn a_refusal_does_not_tell_whether_something_is_there() {
    let plane = Plane::start();
    let key = plane.key_add("app", "admin");
    for api in [plane.anonymous(), plane.viewer()] {
        let answers = [&key.id, "aaaaaaaaaaaa"].map(|id| {
            let response = api.delete(&format!("/v1/api-keys/{id}"));
            (response.status, response.json()["type"].clone(), response.json()["detail"].clone())
        });
        assert_eq!(answers[0], answers[1]);
    }
    // Who asks is looked at before what is asked for.
    let nonsense = plane.anonymous().request("POST", "/v1/api-keys?x=%zz").body(b"{");
    assert_unauthenticated(&plane.anonymous().send(&nonsense), "nonsense");
    let too_much = plane.anonymous().request("POST", "/v1/api-keys").field("Content-Length", "1048576");
    assert_unauthenticated(&plane.anonymous().send(&too_much), "a body that is not there yet and too large");
}

#[test]
fn nothing_that_a_viewer_is_told_holds_a_secret() {
    let plane = Plane::start();
    let api = plane.api();
    let key = api.add_key("app", "ADMIN");
    let id = text_at(&key, "id");
    assert_eq!(plane.admits(&text_at(&key, "encoded_key")), 200);
    api.get("/v1/shared-secret");
    api.post("/v1/shared-secret/regenerate", &json!({ "expected_version": 1, "grace": "1h" }));
    api.get("/v1/shared-secret");
    api.act(&format!("/v1/api-keys/{id}/roll"));
    api.act(&format!("/v1/operators/{}/login-link", plane.viewer.id));
    plane.log_in(&plane.admin.token);
    plane.anonymous().log_in(&format!("kgo_{}_{}", plane.admin.id, "x".repeat(43)));
    for operation in operations(&plane, &id).iter().filter(|o| o.is_for_viewers() && o.method == "GET") {
        let response = operation.send(&plane.viewer());
        plane.secrets.assert_absent(&operation.path, &response.body);
        plane.secrets.assert_absent(&operation.path, &response.head.raw);
    }
    // Nor the audit that an administrator reads. Logs and store are searched at the end of every test.
    let audit = api.get("/v1/audit?limit=200");
    plane.secrets.assert_absent("the audit", &audit.body);
    let actions: Vec<String> =
        audit.json()["audit"].as_array().expect("audit").iter().map(|a| text_at(a, "action")).collect();
    for action in ["api_key.create", "api_key.roll", "shared_secret.view", "shared_secret.regenerate", "session.create"]
    {
        assert!(actions.iter().any(|a| a == action), "{action} in {actions:?}");
    }
}

#[test]
fn a_refusal_does_not_repeat_what_may_be_a_secret() {
    let plane = Plane::start();
    let key = plane.key_add("app", "admin");
    let secret = plane.shared_secret();
    let api = plane.api();
    for given in [&key.encoded, &key.app_key, &secret, &plane.viewer.token] {
        for response in [
            api.post("/v1/session", &json!({ "token": format!("{given}x") })),
            api.post("/v1/session", &json!({ given: 1 })),
            api.post("/v1/api-keys", &json!({ "name": "x", "role": given })),
            api.post("/v1/api-keys", &json!({ "name": "x", "role": "ADMIN", "expires_at": given })),
            api.post("/v1/api-keys", &json!({ "name": "x", "role": "ADMIN", "allowed_networks": [given] })),
            api.post("/v1/shared-secret/regenerate", &json!({ "expected_version": given })),
            api.get(&format!("/v1/api-keys?{given}=1")),
            api.get(&format!("/v1/api-keys?cursor={given}")),
            api.get(&format!("/v1/api-keys/{given}")),
            api.get(&format!("/v1/{given}")),
            api.send(&api.request("POST", "/v1/session").field("Content-Type", given).body(b"{}")),
        ] {
            assert!(response.status >= 400, "{}", response.text());
            plane.secrets.assert_absent("a refusal", &response.body);
        }
    }
}

#[test]
fn the_host_must_be_one_by_which_the_listener_is_known() {
    let plane = Plane::with("hosts = [\"keys.example.com\"]");
    let port = plane.node.admin_address().port();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("sub.keys.example.com:{port}"),
        format!("192.0.2.1:{port}"),
    ] {
        for target in ["/", "/v1/api-keys", "/v1/nothing"] {
            let response = plane.api().host(&host).get(target);
            assert_eq!(problem(&response), (421, "misdirected".to_owned()), "{host} {target}");
        }
        let login = plane.anonymous().host(&host).log_in(&plane.admin.token);
        assert_eq!(problem(&login), (421, "misdirected".to_owned()), "{host}");
        assert_eq!(login.header("set-cookie"), None);
    }
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("LOCALHOST:{port}")] {
        assert_eq!(plane.api().host(&host).get("/v1/api-keys").status, 200, "{host}");
    }
    // Behind something else the port is not ours.
    for host in ["keys.example.com", "Keys.Example.Com"] {
        assert_eq!(plane.api().host(host).get("/v1/api-keys").status, 200, "{host}");
    }
    let without = Client::connect(plane.node.admin_address()).exchange(&get("/v1/api-keys").without_host());
    assert!([400, 421].contains(&without.status), "{}", without.status);
}

#[test]
fn with_a_session_changes_are_taken_from_the_page_itself_alone() {
    let plane = Plane::start();
    let session = plane.log_in(&plane.admin.token);
    let origin = session.origin();
    let add = |api: Api, name: &str| api.post("/v1/api-keys", &json!({ "name": name, "role": "READONLY" }));
    let port = plane.node.admin_address().port();
    let foreign = [
        ("nothing that says where it is from", session.clone()),
        ("another site", session.clone().field("Origin", "https://evil.example")),
        ("no origin", session.clone().field("Origin", "null")),
        ("another port", session.clone().field("Origin", &format!("http://127.0.0.1:{}", port ^ 1))),
        ("another scheme", session.clone().field("Origin", &format!("https://127.0.0.1:{port}"))),
        ("another name for it", session.clone().field("Origin", &format!("http://localhost:{port}"))),
        ("something that begins alike", session.clone().field("Origin", &format!("{origin}.evil.example"))),
        ("a site by fetch metadata", session.clone().field("Sec-Fetch-Site", "cross-site")),
        ("a sibling by fetch metadata", session.clone().field("Sec-Fetch-Site", "same-site")),
        ("two origins", session.clone().field("Origin", &origin).field("Origin", "https://evil.example")),
    ];
    for (what, api) in foreign {
        assert_eq!(problem(&add(api.clone(), "foreign")), (403, "cross-origin".to_owned()), "{what}");
        assert_eq!(problem(&api.delete("/v1/session")).0, 403, "{what}");
    }
    assert_eq!(add(session.clone().sent_by_own_page(), "one").status, 201);
    assert_eq!(add(session.clone().field("Sec-Fetch-Site", "same-origin"), "two").status, 201);
    assert_eq!(session.get("/v1/session").status, 200, "reading changes nothing");
    // Programs have no origin and a token that no browser adds by itself.
    assert_eq!(add(plane.api(), "three").status, 201);
    let names = plane.api().get("/v1/api-keys?sort=name").json()["api_keys"].clone();
    assert_eq!(names.as_array().expect("api_keys").len(), 3);
    // A login from elsewhere would put somebody into a session of another's.
    let evil = plane.anonymous().field("Origin", "https://evil.example").log_in(&plane.admin.token);
    assert_eq!((problem(&evil), evil.header("set-cookie")), ((403, "cross-origin".to_owned()), None));
}

#[test]
fn a_browser_on_another_site_is_allowed_nothing() {
    let plane = Plane::start();
    for (method, target) in [("OPTIONS", "/v1/api-keys"), ("OPTIONS", "/v1/session"), ("GET", "/v1/api-keys")] {
        let api = plane
            .anonymous()
            .field("Origin", "https://evil.example")
            .field("Access-Control-Request-Method", "POST")
            .field("Access-Control-Request-Headers", "authorization");
        let response = api.send(&api.request(method, target));
        assert!(response.status >= 400, "{method} {target}: {}", response.status);
        assert_private(&response, target);
    }
}
