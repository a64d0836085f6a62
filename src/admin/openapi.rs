//! `GET /v1/openapi.json`: the description of the API, OpenAPI 3.1.
//!
//! Each endpoint describes itself beside its code. Here is what it need not say again: which refusals can meet every
//! request, who may ask, and what the groups are. Which routes there are is asked at each request, so that the
//! description tells exactly what is accepted now.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Viewer;
use super::extract::NoParameters;
use super::problem::PROBLEM_JSON;
use super::state::Admin;
use super::view;

const ABOUT: &str = "\
Manages the API keys of a keygate: keys, the shared secret, nodes, audit records, operators. Everything that the page \
can do, this can.

Credential: an operator's token, `Authorization: Bearer kgo_…`, or in a browser the session that `POST /v1/session` \
opens. Times are RFC 3339 in UTC. Every refusal is a problem document (RFC 9457) with a stable `type`. Calls that take \
authority away answer when no node acts on the old authority any more; `wait` shortens that. Times in `expires_at` must \
be in the future, and a `cursor` must be one that the same list gave.";

/// The groups, in the order of their importance.
const TAGS: [(&str, &str); 7] = [
    ("api-keys", "API keys: list, make, change, roll, disable, enable, delete."),
    ("shared-secret", "The one secret that all keys are encoded with."),
    ("nodes", "The gateway's processes, and how far they follow the store."),
    ("audit", "Who changed or saw what."),
    ("operators", "Who manages keys. Only for operators with the role admin."),
    ("session", "Logging in and out, for browsers."),
    ("description", "This description."),
];

/// A refusal that endpoints do not describe themselves: status, name, what it means, and which operations it can meet.
type Refusal = (&'static str, &'static str, &'static str, fn(&Value) -> bool);

const REFUSALS: [Refusal; 13] = [
    ("400", "Malformed", "`malformed-json`, `malformed-request`: what was sent could not be read.", |operation| {
        has_body(operation) || has_parameter(operation, "header")
    }),
    ("401", "Unauthenticated", "`unauthenticated`: no credential, or one that is not valid.", |_| true),
    ("403", "Forbidden", "`forbidden`: this needs the role admin. `cross-origin`: another site sent it.", |_| true),
    ("404", "NotFound", "`not-found`: there is no such thing.", |operation| has_parameter(operation, "path")),
    ("408", "TooSlow", "`request-timeout`: the body took too long to come.", has_body),
    ("412", "Changed", "`changed`: it is not at the revision of If-Match any more.", |operation| {
        has_parameter(operation, "header")
    }),
    ("413", "TooLarge", "`body-too-large`: a body has at most 64 KiB.", has_body),
    ("415", "NotJson", "`unsupported-media-type`: a body must be application/json.", has_body),
    ("421", "Misdirected", "`misdirected`: keygate does not answer to this Host.", |_| true),
    ("422", "Invalid", "`invalid-request`: fields or parameters do not hold; `errors` names each.", |_| true),
    ("429", "TooManyLogins", "`too-many-logins`: too many credentials from this address were not valid.", |_| true),
    ("500", "Internal", "`internal-error`: keygate failed; its log tells more.", |_| true),
    ("503", "Unavailable", "`store-unavailable`: the store did not answer in time; try again.", |_| true),
];

fn has_body(operation: &Value) -> bool {
    operation.get("requestBody").is_some()
}

fn has_parameter(operation: &Value, place: &str) -> bool {
    let parameters = operation.get("parameters").and_then(Value::as_array);
    parameters.is_some_and(|all| all.iter().any(|parameter| parameter.get("in") == Some(&json!(place))))
}

/// Everything of `/v1/openapi.json`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default().routes(routes!(get))
}

/// Describe this API
///
/// OpenAPI 3.1, as it is now: the labels that `allowed_routes` may hold are those of the routes in force.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getDescription", tag = "description",
    responses((status = 200, description = "An OpenAPI document.", body = Object)),
)]
async fn get(_: Viewer, State(admin): State<Arc<Admin>>, _: NoParameters) -> Response {
    view::ok(&document(&admin.in_force.load().route_labels))
}

/// The description with these labels of routes.
#[must_use]
pub fn document(labels: &[String]) -> Value {
    static ENDPOINTS: LazyLock<Value> =
        LazyLock::new(|| completed(serde_json::to_value(super::endpoints().into_openapi()).unwrap_or_default()));
    let mut document = ENDPOINTS.clone();
    let mut label = json!({
        "type": "string",
        "description": "The label (host and path) of a route that is configured now.",
        "examples": labels.first().into_iter().collect::<Vec<_>>(),
    });
    if !labels.is_empty() {
        put(&mut label, "enum", json!(labels));
    }
    put(entry(entry(&mut document, "components"), "schemas"), "RouteLabel", label);
    document
}

fn completed(mut document: Value) -> Value {
    let license = json!({ "name": "Apache License 2.0", "identifier": "Apache-2.0" });
    put(&mut document, "openapi", json!("3.1.0"));
    put(
        &mut document,
        "info",
        json!({
            "title": "keygate admin API",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "contact": { "name": "keygate" },
            "license": license,
        }),
    );
    put(&mut document, "servers", json!([{ "url": "/", "description": "Where this description came from." }]));
    put(&mut document, "security", json!([{ "token": [] }, { "session": [] }]));
    let tags = TAGS.map(|(name, description)| json!({ "name": name, "description": description }));
    put(&mut document, "tags", json!(tags));
    let components = entry(&mut document, "components");
    put(components, "securitySchemes", schemes());
    put(
        components,
        "headers",
        json!({ "RequestId": { "schema": { "type": "string" },
        "description": "The request's id, as in problem documents and the log." } }),
    );
    let refusals = REFUSALS.map(|(status, name, meaning, _)| (name.to_owned(), refusal(status, meaning)));
    put(components, "responses", Value::Object(Map::from_iter(refusals)));
    lift_descriptions(&mut document);
    for path in members(entry(&mut document, "paths")) {
        for operation in members(path) {
            complete(operation);
        }
    }
    document
}

fn schemes() -> Value {
    json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "kgo_<id>_<43 letters and digits>",
            "description": "An operator's token.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "keygate_session",
            "description": "The session that POST /v1/session opened, for browsers; with TLS the cookie is \
                            __Host-keygate_session. Methods that change something need an Origin of our own.",
        },
    })
}

fn refusal(status: &str, meaning: &str) -> Value {
    let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
    match status {
        "401" => put(
            &mut headers,
            "WWW-Authenticate",
            json!({
            "description": "How to authenticate.", "schema": { "type": "string" } }),
        ),
        "429" | "503" => put(
            &mut headers,
            "Retry-After",
            json!({
            "description": "Seconds after which to try again.", "schema": { "type": "integer", "minimum": 0 } }),
        ),
        _ => {}
    }
    json!({
        "description": meaning,
        "headers": headers,
        "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

/// What every operation has, unless it says otherwise itself.
fn complete(operation: &mut Value) {
    let refusals: Vec<&Refusal> = REFUSALS.iter().filter(|(_, _, _, meets)| meets(operation)).collect();
    let responses = entry(operation, "responses");
    for response in members(responses) {
        put(entry(response, "headers"), "X-Request-Id", json!({ "$ref": "#/components/headers/RequestId" }));
    }
    for (status, name, ..) in refusals {
        if responses.get(status).is_none() {
            put(responses, status, json!({ "$ref": format!("#/components/responses/{name}") }));
        }
    }
    if operation.get("description").is_none() {
        let summary = operation.get("summary").cloned().unwrap_or_default();
        put(operation, "description", summary);
    }
}

/// What a member that may be null means belongs to the member, not to one of its two cases.
fn lift_descriptions(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let cases = object.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
            let lifted = cases.filter_map(Value::as_object_mut).find_map(|case| case.remove("description"));
            if let Some(description) = lifted {
                object.entry("description").or_insert(description);
            }
            object.values_mut().for_each(lift_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(lift_descriptions),
        _ => {}
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

/// A member that is an object; made if it is not there.
fn entry<'v>(object: &'v mut Value, name: &str) -> &'v mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    match object {
        Value::Object(members) => members.entry(name).or_insert_with(|| json!({})),
        other => other,
    }
}

fn members(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object.as_object_mut().into_iter().flat_map(Map::values_mut).filter(|member| member.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(m, o)| (format!("{m} {path}"), o)))
            .collect()
    }

    /// Every `$ref` of the document, and every schema that has properties.
    fn walk<'d>(value: &'d Value, references: &mut Vec<&'d str>, undescribed: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                references.extend(members.get("$ref").and_then(Value::as_str));
                if let Some(properties) = members.get("properties").and_then(Value::as_object) {
                    let bare = properties.iter().filter(|(_, p)| p.get("description").is_none());
                    undescribed.extend(bare.map(|(name, property)| format!("{name}: {property}")));
                }
                members.values().for_each(|member| walk(member, references, undescribed));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, references, undescribed)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_is_whole() {
        let document = document(&["/".to_owned()]);
        assert_eq!(document["openapi"], "3.1.0");
        let known: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
        let mut ids = Vec::new();
        let operations = operations(&document);
        assert!(operations.len() >= 24, "{}", operations.len());
        for (name, operation) in operations {
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(
                operation["tags"].as_array().unwrap().iter().all(|t| known.contains(&t.as_str().unwrap())),
                "{name}"
            );
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
            assert!(!operation["description"].as_str().unwrap().is_empty(), "{name}");
            for status in ["401", "403", "421", "422", "429", "500", "503"] {
                assert!(operation["responses"].get(status).is_some(), "{name}: {status}");
            }
            assert_eq!(has_body(operation), operation["responses"].get("413").is_some(), "{name}");
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "operationIds are unique");
    }

    #[test]
    fn references_lead_somewhere_and_every_member_is_described() {
        let document = document(&["/".to_owned(), "/reports".to_owned()]);
        let (mut references, mut undescribed) = (Vec::new(), Vec::new());
        walk(&document, &mut references, &mut undescribed);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        assert!(undescribed.is_empty(), "{undescribed:#?}");
        assert_eq!(document["components"]["schemas"]["RouteLabel"]["enum"], json!(["/", "/reports"]));
    }
}
