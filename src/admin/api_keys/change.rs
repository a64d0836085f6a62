//! `GET` and `PATCH /v1/api-keys/{id}`: one key, and what is changed of it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{ChangedKey, key_view, networks, routes_of, usage};
use crate::admin::auth::{Administrator, Viewer};
use crate::admin::extract::{Body, Id, IfMatch, NoParameters, WaitFor, WaitParameters};
use crate::admin::problem::{Answer, ProblemBody};
use crate::admin::state::Admin;
use crate::admin::view::given::{Faults, Given};
use crate::admin::view::rules::{Description, Name, Networks, RouteLabels, description, future, word};
use crate::admin::view::{self, KeyView, Moment};
use crate::credential::{KeyName, Role};
use crate::lifecycle::KeyChange;
use crate::store::StoreError;

/// Show an API key
///
/// Deleted keys too: what is left of one is its record.
#[utoipa::path(
    get, path = "/v1/api-keys/{id}", operation_id = "getApiKey", tag = "api-keys",
    params(Id),
    responses((status = 200, description = "The key.", body = KeyView, headers(
        ("ETag" = String, description = "The key's revision, for If-Match."),
    ))),
)]
pub(super) async fn get(_: Viewer, State(admin): State<Arc<Admin>>, Id(id): Id, _: NoParameters) -> Answer<Response> {
    let found = admin.lifecycle.store.key(id).await?;
    let (key, usage) = found.ok_or_else(|| StoreError::NoSuchKey(id.to_string()))?;
    Ok(view::tagged(view::ok(&key_view(&admin, &key, &usage)), key.revision))
}

/// What to change of an API key; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyChangeBody {
    /// A new application name: no control characters, no white space at its ends.
    #[schema(value_type = Name)]
    #[serde(default)]
    name: Given<String>,
    /// What it may do. From ADMIN to READONLY takes authority away.
    #[schema(value_type = Role)]
    #[serde(default)]
    role: Given<String>,
    /// Free text; of control characters only tab and line feed.
    #[schema(value_type = Description)]
    #[serde(default)]
    description: Given<String>,
    /// Refused from this moment on, which must be in the future; null: it does not expire.
    #[schema(value_type = Option<Moment>, example = "2099-01-31T12:00:00Z")]
    #[serde(default)]
    expires_at: Given<String>,
    /// Only for clients in these networks (CIDR); null: anywhere.
    #[schema(value_type = Option<Networks>)]
    #[serde(default)]
    allowed_networks: Given<Vec<String>>,
    /// Only for the routes with these labels (host and path); null: all.
    #[schema(value_type = Option<RouteLabels>)]
    #[serde(default)]
    allowed_routes: Given<Vec<String>>,
}

impl KeyChangeBody {
    fn checked(self, if_revision: Option<u64>, admin: &Admin) -> Answer<KeyChange> {
        let now = admin.lifecycle.clock.wall();
        let mut faults = Faults::default();
        let change = KeyChange {
            if_revision,
            name: faults.optional("name", self.name, |text| text.parse::<KeyName>()),
            description: faults.optional("description", self.description, description),
            role: faults.optional("role", self.role, |text| word::<Role>(&text)),
            expires_at: faults.limit("expires_at", self.expires_at, |text| future(&text, now)),
            allowed_networks: networks(&mut faults, self.allowed_networks),
            allowed_routes: routes_of(&mut faults, self.allowed_routes, admin),
        };
        faults.finish(Some(change))
    }
}

/// Change an API key
///
/// A change that takes authority away (a lower role, an earlier expiry, fewer networks or routes) is a revocation: the
/// answer comes when no node acts on the old authority any more.
#[utoipa::path(
    patch, path = "/v1/api-keys/{id}", operation_id = "updateApiKey", tag = "api-keys",
    params(Id, IfMatch, WaitParameters),
    request_body = KeyChangeBody,
    responses(
        (status = 200, description = "The key is changed.", body = ChangedKey, headers(
            ("ETag" = String, description = "The key's revision, for If-Match."),
        )),
        (status = 409, description = "`name-taken`: another key has this name. `deleted`: the key is deleted.",
            body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn update(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    Id(id): Id,
    IfMatch(if_revision): IfMatch,
    WaitFor(wait): WaitFor,
    Body(body): Body<KeyChangeBody>,
) -> Answer<Response> {
    let change = body.checked(if_revision, &admin)?;
    let usage = usage(&admin, id).await?;
    let changed = admin.lifecycle.update(id, change, &caller.actor(), wait).await?;
    let body = ChangedKey {
        key: key_view(&admin, &changed.key, &usage),
        revocation: changed.waited.revokes.then(|| changed.waited.into()),
    };
    Ok(view::tagged(view::ok(&body), changed.key.revision))
}
