//! `DELETE /v1/api-keys/{id}`, `…/roll`, `…/disable`, `…/enable`: taking an API key's authority away, and giving it
//! back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::{ChangedKey, IssuedKey, exchange, issued, key_view, usage};
use crate::admin::auth::Administrator;
use crate::admin::extract::{Id, IfMatch, NoParameters, WaitFor, WaitParameters};
use crate::admin::problem::{Answer, ProblemBody};
use crate::admin::state::Admin;
use crate::admin::view::{self, RevocationView};
use crate::lifecycle::Changed;
use crate::store::Usage;

/// Delete an API key
///
/// For good: its name is free again, its id is never used again. The answer comes when no node admits it any more.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", operation_id = "deleteApiKey", tag = "api-keys",
    params(Id, IfMatch, WaitParameters),
    responses(
        (status = 200, description = "The key is deleted.", body = RevocationView),
        (status = 409, description = "`deleted`: it is deleted already.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    IfMatch(if_revision): IfMatch,
    WaitFor(wait): WaitFor,
) -> Answer<Response> {
    let (_, waited) = admin.lifecycle.delete(id, if_revision, &caller.actor(), wait).await?;
    Ok(view::ok(&RevocationView::from(waited)))
}

/// Roll an API key
///
/// Gives it a new app key; the old one and its encoded key stop working. This is what a leaked key needs. Id, name,
/// role, policy and history stay. The answer has the new secrets, which are shown this once.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/roll", operation_id = "rollApiKey", tag = "api-keys",
    params(Id, IfMatch, WaitParameters),
    responses(
        (status = 200, description = "The key has a new app key.", body = IssuedKey, headers(
            ("ETag" = String, description = "The key's revision, for If-Match."),
        )),
        (status = 409, description = "`deleted`: the key is deleted.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn roll(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    IfMatch(if_revision): IfMatch,
    WaitFor(wait): WaitFor,
) -> Answer<Response> {
    let usage = usage(&admin, id).await?;
    let exchange = exchange(&admin);
    let rolled = admin.lifecycle.roll(id, if_revision, exchange.as_ref(), &caller.actor(), wait).await?;
    Ok(issued(&admin, StatusCode::OK, rolled, &usage))
}

/// Disable an API key
///
/// It is refused until it is enabled. The answer comes when no node admits it any more.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/disable", operation_id = "disableApiKey", tag = "api-keys",
    params(Id, IfMatch, WaitParameters),
    responses(
        (status = 200, description = "The key is disabled.", body = ChangedKey, headers(
            ("ETag" = String, description = "The key's revision, for If-Match."),
        )),
        (status = 409, description = "`deleted`: the key is deleted.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn disable(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    IfMatch(if_revision): IfMatch,
    WaitFor(wait): WaitFor,
) -> Answer<Response> {
    let usage = usage(&admin, id).await?;
    let changed = admin.lifecycle.disable(id, if_revision, &caller.actor(), wait).await?;
    Ok(answer(&admin, changed, &usage))
}

/// Enable an API key
///
/// A disabled key is accepted again. The answer comes when the nodes know, at the latest after a second.
#[utoipa::path(
    post, path = "/v1/api-keys/{id}/enable", operation_id = "enableApiKey", tag = "api-keys",
    params(Id, IfMatch),
    responses(
        (status = 200, description = "The key is enabled.", body = ChangedKey, headers(
            ("ETag" = String, description = "The key's revision, for If-Match."),
        )),
        (status = 409, description = "`deleted`: the key is deleted.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn enable(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    IfMatch(if_revision): IfMatch,
    _: NoParameters,
) -> Answer<Response> {
    let usage = usage(&admin, id).await?;
    let changed = admin.lifecycle.enable(id, if_revision, &caller.actor()).await?;
    Ok(answer(&admin, changed, &usage))
}

fn answer(admin: &Admin, changed: Changed, usage: &Usage) -> Response {
    let revision = changed.key.revision;
    let key = key_view(admin, &changed.key, usage);
    let revocation = changed.waited.revokes.then(|| changed.waited.into());
    view::tagged(view::ok(&ChangedKey { key, revocation }), revision)
}
