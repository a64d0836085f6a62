//! `/v1/session`: logging in with a token, who one is, logging out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::auth::{self, Viewer};
use super::extract::{Body, NoParameters};
use super::problem::{Answer, Problem};
use super::state::{Admin, Connection};
use crate::credential::{OperatorToken, SessionToken};
use crate::metrics::LoginOutcome;
use crate::store::{Audit, Operator, OperatorRole, Session};

/// The endpoints.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(log_in, show, log_out))
}

/// What one logs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// An operator's token, or the one-time token of a login link.
    #[schema(value_type = String, format = Password, example = "kgo_…")]
    token: Zeroizing<String>,
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    /// You.
    operator: OperatorName,
    /// When the session ends, however much it is used (RFC 3339); null without a session.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// After so many seconds without a request it ends before; null without a session.
    idle_timeout_s: Option<u64>,
}

/// An operator, as far as everybody who is one may know.
#[derive(Debug, Serialize, ToSchema)]
struct OperatorName {
    /// Public; 12 characters of `[0-9a-z]`.
    #[schema(pattern = "^[0-9a-z]{12}$")]
    id: String,
    /// For people.
    name: String,
    /// What you may do.
    role: OperatorRole,
}

impl SessionView {
    fn of(operator: &Operator, session: Option<&Session>, admin: &Admin) -> Self {
        let Operator { id, name, role, .. } = operator;
        Self {
            operator: OperatorName { id: id.to_string(), name: name.clone(), role: *role },
            expires_at: session.map(|session| session.expires_at.rfc3339()),
            idle_timeout_s: session.map(|_| admin.settings.session_idle.as_secs()),
        }
    }
}

/// Log in
///
/// A token becomes a session, in a cookie.
#[utoipa::path(
    post,
    path = "/v1/session",
    tag = "session",
    operation_id = "logIn",
    request_body = Login,
    security(()),
    responses(
        (status = 200, description = "Logged in; Set-Cookie has the session", body = SessionView,
            headers(("Set-Cookie" = String, description = "The session: HttpOnly, SameSite=Strict"))),
    )
)]
async fn log_in(State(admin): State<Arc<Admin>>, parts: Parts, _: NoParameters, body: Body<Login>) -> Answer<Response> {
    let connection = auth::connection(&parts)?;
    auth::own_page(&parts.headers, connection, false)?;
    let presented = OperatorToken::parse(body.0.token.trim()).ok();
    let operator = match &presented {
        Some(token) => operator_behind(&admin, token, connection).await?,
        None => None,
    };
    let Some(operator) = operator else {
        auth::not_too_often(&admin, connection.peer)?;
        auth::failed(&admin, connection.peer, presented.map(|token| token.id())).await;
        return Err(Problem::unauthenticated("this token is not valid, or no longer"));
    };
    admin.throttle.succeeded(connection.peer);
    admin.metrics.admin_login(LoginOutcome::Accepted);
    let (session, cookie) = open(&admin, &operator, connection).await?;
    // Whoever logs in anew leaves what was there before.
    if let Some(before) = auth::session_token(&parts.headers, connection) {
        admin.lifecycle.store.remove_session(&before.digest(), None).await?;
    }
    let view = SessionView::of(&operator, Some(&session), &admin);
    Ok((HeaderMap::from_iter([(SET_COOKIE, cookie)]), Json(view)).into_response())
}

/// Whose token this is: an operator's own, or one that was made to log in once. Whether the id is known or not, both
/// are looked for. The second takes the store's one writer, so not for whoever fails too often.
async fn operator_behind(admin: &Admin, token: &OperatorToken, connection: Connection) -> Answer<Option<Operator>> {
    if let Some(operator) = auth::operator_of(admin, token).await? {
        return Ok(Some(operator));
    }
    auth::not_too_often(admin, connection.peer)?;
    Ok(admin.lifecycle.store.take_login_link(&token.digest(), admin.lifecycle.clock.wall()).await?)
}

async fn open(admin: &Admin, operator: &Operator, connection: Connection) -> Answer<(Session, HeaderValue)> {
    let token = SessionToken::generate(&*admin.lifecycle.entropy);
    let now = admin.lifecycle.clock.wall();
    let session = Session {
        digest: token.digest(),
        operator: operator.id,
        address: connection.peer.to_string(),
        created_at: now,
        seen_at: now,
        expires_at: now.plus(admin.settings.session_max),
    };
    let actor = auth::actor(operator, connection.peer);
    let audit = Audit {
        actor: &actor,
        at: now,
        action: "session.create",
        subject: operator.id.to_string(),
        detail: json!({ "name": operator.name }),
    };
    let store = &admin.lifecycle.store;
    store.insert_session(&session, &audit).await?;
    // Had the token been replaced before that, nothing else would end this session.
    if let Err(problem) = auth::still(admin, operator).await {
        store.remove_session(&session.digest, None).await?;
        return Err(problem);
    }
    Ok((session, cookie(connection, Some(&token))?))
}

/// The cookie with this session, or without one the cookie that ends it.
fn cookie(connection: Connection, token: Option<&SessionToken>) -> Answer<HeaderValue> {
    let name = auth::cookie_name(connection);
    let secure = if connection.has_tls { "; Secure" } else { "" };
    let (value, end) = token.map_or(("", "; Max-Age=0"), |token| (token.expose(), ""));
    let text = Zeroizing::new(format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{end}"));
    let mut cookie = HeaderValue::from_str(&text).map_err(|_| Problem::internal())?;
    cookie.set_sensitive(true);
    Ok(cookie)
}

/// Show who is logged in
///
/// With a token also without a session.
#[utoipa::path(
    get,
    path = "/v1/session",
    tag = "session",
    operation_id = "showSession",
    responses(
        (status = 200, description = "You, and how long the session lasts", body = SessionView),
    )
)]
async fn show(State(admin): State<Arc<Admin>>, Viewer(caller): Viewer, _: NoParameters) -> Json<SessionView> {
    Json(SessionView::of(&caller.operator, caller.session.as_ref(), &admin))
}

/// Log out
///
/// The session ends. With a token there is none, and nothing is done.
#[utoipa::path(
    delete,
    path = "/v1/session",
    tag = "session",
    operation_id = "logOut",
    responses(
        (status = 204, description = "Logged out"),
    )
)]
async fn log_out(
    State(admin): State<Arc<Admin>>,
    Viewer(caller): Viewer,
    _: NoParameters,
    parts: Parts,
) -> Answer<Response> {
    let connection = auth::connection(&parts)?;
    if let Some(session) = &caller.session {
        let actor = caller.actor();
        let audit = Audit {
            actor: &actor,
            at: admin.lifecycle.clock.wall(),
            action: "session.delete",
            subject: caller.operator.id.to_string(),
            detail: json!({ "name": caller.operator.name }),
        };
        admin.lifecycle.store.remove_session(&session.digest, Some(&audit)).await?;
    }
    let cookie = HeaderMap::from_iter([(SET_COOKIE, cookie(connection, None)?)]);
    Ok((StatusCode::NO_CONTENT, cookie).into_response())
}

#[cfg(test)]
mod tests;
