//! `/v1/operators`: who manages keys. Only for operators with the role admin.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Administrator;
use super::extract::{Body, Id, NoParameters};
use super::problem::{Answer, ProblemBody};
use super::state::Admin;
use super::view::given::{Faults, Given};
use super::view::rules::{Name, word};
use super::view::{self, Moment};
use crate::credential::{KeyName, OperatorToken};
use crate::lifecycle::LINK_AT_MOST;
use crate::store::{Operator, OperatorRole};

/// Everything of `/v1/operators`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(remove))
        .routes(routes!(rotate))
        .routes(routes!(login_link))
}

/// A person or automation that manages keys.
#[derive(Serialize, ToSchema)]
#[schema(as = Operator)]
struct OperatorView {
    /// Stays when the token is replaced.
    #[schema(pattern = "^[0-9a-z]{12}$", example = "7m2x0c9k4wqz")]
    id: String,
    /// For people; unique.
    #[schema(example = "Ada")]
    name: String,
    /// What it may do.
    role: OperatorRole,
    /// When it was made.
    created_at: Moment,
    /// When it last opened a session; null: never.
    #[schema(required = true)]
    last_login: Option<Moment>,
}

impl From<&Operator> for OperatorView {
    fn from(operator: &Operator) -> Self {
        Self {
            id: operator.id.to_string(),
            name: operator.name.clone(),
            role: operator.role,
            created_at: operator.created_at.into(),
            last_login: operator.last_login.map(Moment),
        }
    }
}

/// All operators.
#[derive(Serialize, ToSchema)]
struct OperatorList {
    /// By name.
    operators: Vec<OperatorView>,
}

/// An operator with its token, which is shown this once.
#[derive(Serialize, ToSchema)]
struct IssuedOperator {
    #[serde(flatten)]
    operator: OperatorView,
    /// The token: `Authorization: Bearer …`, or what opens a session. Shown this once.
    #[schema(pattern = "^kgo_[0-9a-z]{12}_[0-9A-Za-z]{43}$")]
    token: String,
}

fn issued(status: StatusCode, operator: &Operator, token: &OperatorToken) -> Response {
    view::json(status, &IssuedOperator { operator: operator.into(), token: token.expose().to_owned() })
}

/// List operators
///
/// By name.
#[utoipa::path(
    get, path = "/v1/operators", operation_id = "listOperators", tag = "operators",
    responses((status = 200, description = "All operators.", body = OperatorList)),
)]
async fn list(_: Administrator, State(admin): State<Arc<Admin>>, _: NoParameters) -> Answer<Response> {
    let operators = admin.lifecycle.store.operators().await?;
    Ok(view::ok(&OperatorList { operators: operators.iter().map(OperatorView::from).collect() }))
}

/// An operator to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOperatorBody {
    /// For people; unique.
    #[schema(value_type = Name, required = true)]
    #[serde(default)]
    name: Given<String>,
    /// What it may do.
    #[schema(value_type = OperatorRole, required = true)]
    #[serde(default)]
    role: Given<String>,
}

impl NewOperatorBody {
    fn checked(self) -> Answer<(KeyName, OperatorRole)> {
        let mut faults = Faults::default();
        let name = faults.required("name", self.name, |text| text.parse::<KeyName>());
        let role = faults.required("role", self.role, |text| word::<OperatorRole>(&text));
        faults.finish(name.zip(role))
    }
}

/// Make an operator
///
/// The answer has its token, which is shown this once.
#[utoipa::path(
    post, path = "/v1/operators", operation_id = "createOperator", tag = "operators",
    request_body = NewOperatorBody,
    responses(
        (status = 201, description = "The operator is made.", body = IssuedOperator),
        (status = 409, description = "`name-taken`: another operator has this name.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn create(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    _: NoParameters,
    Body(body): Body<NewOperatorBody>,
) -> Answer<Response> {
    let (name, role) = body.checked()?;
    let (operator, token) = admin.lifecycle.add_operator(name, role, &caller.actor()).await?;
    // While it waited for the store, its own token may have ended: then nobody gets this one.
    caller.still(&admin).await?;
    Ok(issued(StatusCode::CREATED, &operator, &token))
}

/// Remove an operator
///
/// Its token, its sessions and its login links end at once.
#[utoipa::path(
    delete, path = "/v1/operators/{id}", operation_id = "removeOperator", tag = "operators",
    params(Id),
    responses(
        (status = 204, description = "The operator is removed."),
        (status = 409, description = "`last-admin`: nobody could manage operators any more.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn remove(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    _: NoParameters,
) -> Answer<Response> {
    admin.lifecycle.remove_operator(id, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Rotate an operator's token
///
/// The old token, its sessions and its login links end at once. The answer has the new one, which is shown this once.
#[utoipa::path(
    post, path = "/v1/operators/{id}/rotate", operation_id = "rotateOperator", tag = "operators",
    params(Id),
    responses((status = 200, description = "The operator has a new token.", body = IssuedOperator)),
)]
async fn rotate(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    _: NoParameters,
) -> Answer<Response> {
    let (operator, token) = admin.lifecycle.rotate_operator(id, &caller.actor()).await?;
    // One's own is another now, by this call.
    if caller.operator.id != id {
        caller.still(&admin).await?;
    }
    Ok(issued(StatusCode::OK, &operator, &token))
}

/// A one-time login.
#[derive(Serialize, ToSchema)]
struct LoginLink {
    /// Opens one session, and is good for nothing else. Shown this once.
    #[schema(pattern = "^kgo_[0-9a-z]{12}_[0-9A-Za-z]{43}$")]
    token: String,
    /// The page's address with the token.
    #[schema(format = "uri")]
    #[schema(example = "http://127.0.0.1:8081/#login=kgo_…")]
    url: String,
    /// It can be used until then.
    expires_at: Moment,
}

/// Make a one-time login link
///
/// Whoever opens it is logged in as this operator, once, within ten minutes.
#[utoipa::path(
    post, path = "/v1/operators/{id}/login-link", operation_id = "createLoginLink", tag = "operators",
    params(Id),
    responses((status = 200, description = "A link that works once.", body = LoginLink)),
)]
async fn login_link(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    _: NoParameters,
) -> Answer<Response> {
    let (token, until) = admin.lifecycle.login_link(id, LINK_AT_MOST, &caller.actor()).await?;
    caller.still(&admin).await?;
    let (token, url) = (token.expose().to_owned(), admin.origin.login_link(token.expose()));
    Ok(view::ok(&LoginLink { token, url, expires_at: until.into() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::admin::test_rig::Rig;
    use crate::credential::OperatorToken;

    #[tokio::test]
    async fn an_operator_is_made_rotated_linked_and_removed() {
        let rig = Rig::new().await;
        let made = rig.ask("POST", "/v1/operators", Some(json!({ "name": "Ada", "role": "admin" }))).await;
        assert_eq!((made.status.as_u16(), &made.body["role"]), (201, &json!("admin")), "{}", made.text);
        let place = format!("/v1/operators/{}", made.body["id"].as_str().unwrap());
        let token = |body: &serde_json::Value| OperatorToken::parse(body["token"].as_str().unwrap()).unwrap();
        let ada = token(&made.body);
        let listed = rig.ask_as(Some(&ada), "GET", "/v1/operators", None).await;
        assert_eq!(listed.body["operators"].as_array().unwrap().len(), 3);
        assert!(!listed.text.contains("kgo_"));

        let rotated = rig.ask("POST", &format!("{place}/rotate"), None).await;
        assert_eq!((rotated.status.as_u16(), &rotated.body["id"]), (200, &made.body["id"]));
        assert_eq!(rig.ask_as(Some(&ada), "GET", "/v1/operators", None).await.status, 401);
        let link = rig.ask("POST", &format!("{place}/login-link"), None).await;
        let url = format!("http://127.0.0.1:8081/#login={}", link.body["token"].as_str().unwrap());
        assert_eq!((&link.body["url"], &link.body["expires_at"]), (&json!(url), &json!("2026-01-01T00:10:00.000Z")));
        rig.log_in(&token(&link.body)).await;

        assert_eq!(rig.ask("DELETE", &place, None).await.status, 204);
        assert_eq!(rig.ask("DELETE", &place, None).await.problem(), "not-found");
        let own = format!("/v1/operators/{}", rig.root.0.id);
        let last = rig.ask("DELETE", &own, None).await;
        assert_eq!((last.status.as_u16(), last.problem()), (409, "last-admin"));
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_viewers_see_none_of_it() {
        let rig = Rig::new().await;
        let refused = rig.ask("POST", "/v1/operators", Some(json!({ "role": "root", "name": "" }))).await;
        assert_eq!(refused.fields(), ["name", "role"]);
        let taken = rig.ask("POST", "/v1/operators", Some(json!({ "name": "root", "role": "admin" }))).await;
        assert_eq!((taken.status.as_u16(), taken.problem()), (409, "name-taken"));
        assert_eq!(rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/operators", None).await.problem(), "forbidden");
    }
}
