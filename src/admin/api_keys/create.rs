//! `POST /v1/api-keys`: makes a key and shows its secrets, once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{IssuedKey, exchange, issued, networks, routes_of};
use crate::admin::auth::Administrator;
use crate::admin::extract::{Body, NoParameters};
use crate::admin::problem::Answer;
use crate::admin::state::Admin;
use crate::admin::view::Moment;
use crate::admin::view::given::{Faults, Given, set};
use crate::admin::view::rules::{Description, Name, Networks, RouteLabels, description, future, word};
use crate::credential::{KeyName, Policy, Role};
use crate::lifecycle::NewApiKey;
use crate::store::Usage;

/// An API key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeyBody {
    /// Application name, unique among the keys that are not deleted: no control characters, no white space at its ends.
    #[schema(value_type = Name, required = true)]
    #[serde(default)]
    name: Given<String>,
    /// What it may do.
    #[schema(value_type = Role, required = true)]
    #[serde(default)]
    role: Given<String>,
    /// Free text; of control characters only tab and line feed.
    #[schema(value_type = Description)]
    #[serde(default)]
    description: Given<String>,
    /// Refused from this moment on, which must be in the future; null or absent: it does not expire.
    #[schema(value_type = Option<Moment>, example = "2099-01-31T12:00:00Z")]
    #[serde(default)]
    expires_at: Given<String>,
    /// Only for clients in these networks (CIDR); null or absent:
    /// anywhere.
    #[schema(value_type = Option<Networks>)]
    #[serde(default)]
    allowed_networks: Given<Vec<String>>,
    /// Only for the routes with these labels (host and path); null or absent: all.
    #[schema(value_type = Option<RouteLabels>)]
    #[serde(default)]
    allowed_routes: Given<Vec<String>>,
}

impl NewKeyBody {
    fn checked(self, admin: &Admin) -> Answer<NewApiKey> {
        let now = admin.lifecycle.clock.wall();
        let mut faults = Faults::default();
        let name = faults.required("name", self.name, |text| text.parse::<KeyName>());
        let role = faults.required("role", self.role, |text| word::<Role>(&text));
        let description = faults.optional("description", self.description, description).unwrap_or_default();
        let policy = Policy {
            expires_at: set(faults.limit("expires_at", self.expires_at, |text| future(&text, now))),
            allowed_networks: set(networks(&mut faults, self.allowed_networks)),
            allowed_routes: set(routes_of(&mut faults, self.allowed_routes, admin)),
        };
        let made = name.zip(role).map(|(name, role)| NewApiKey { name, description, role, policy });
        faults.finish(made)
    }
}

/// Make an API key
///
/// The answer has its secrets, which are shown this once. It comes when the nodes know the key, at the latest after a
/// second.
#[utoipa::path(
    post, path = "/v1/api-keys", operation_id = "createApiKey", tag = "api-keys",
    request_body = NewKeyBody,
    responses(
        (status = 201, description = "The key is made.", body = IssuedKey, headers(
            ("Location" = String, description = "Where the key is."),
            ("ETag" = String, description = "The key's revision, for If-Match."),
        )),
        (status = 409, description = "`name-taken`: another key has this name.", body = crate::admin::problem::ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    _: NoParameters,
    Body(body): Body<NewKeyBody>,
) -> Answer<Response> {
    let new = body.checked(&admin)?;
    let made = admin.lifecycle.create(new, exchange(&admin).as_ref(), &caller.actor()).await?;
    let place = format!("/v1/api-keys/{}", made.key.id);
    let mut response = issued(&admin, StatusCode::CREATED, made, &Usage::default());
    // An id has only letters and digits.
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}
