//! `/v1/api-keys`: the list, making a key, and everything that is done to one. One file does each.

mod change;
mod create;
mod list;
mod revoke;
#[cfg(test)]
pub(in crate::admin) mod tests;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Answer;
use super::state::Admin;
use super::view::given::{Faults, Given};
use super::view::rules::network;
use super::view::{self, KeyView, RevocationView};
use crate::config::resolved::TokenExchange;
use crate::credential::KeyId;
use crate::lifecycle::{Issued, Limit};
use crate::store::{ApiKey, StoreError, Usage};

/// Everything of `/v1/api-keys`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default()
        .routes(routes!(list::list, create::create))
        .routes(routes!(change::get, change::update, revoke::delete))
        .routes(routes!(revoke::roll))
        .routes(routes!(revoke::disable))
        .routes(routes!(revoke::enable))
}

/// An API key with its secrets, which are shown this once.
#[derive(Serialize, ToSchema)]
struct IssuedKey {
    #[serde(flatten)]
    key: KeyView,
    /// The app key encoded with the current shared secret: what clients send. Shown this once.
    #[schema(pattern = "^kg_[0-9]{1,10}_[0-9a-z]{12}_[0-9A-Za-z]{43}_[0-9a-f]{40}$")]
    encoded_key: String,
    /// The key's own secret, for encoding anew after the shared secret is regenerated. Shown this once.
    #[schema(pattern = "^kga_[0-9a-z]{12}_[0-9A-Za-z]{43}$")]
    app_key: String,
    /// All that an integration needs which exchanges tokens: base64 of the JSON object with `url`, `shortname`,
    /// `appname`, `sharedsecret` and `appkey`. It holds the shared secret too. Shown this once; absent where `[token_exchange]` is
    /// not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^eyJ1cmwiO[0-9A-Za-z+/]+={0,2}$")]
    bundle: Option<String>,
    /// How far the change has reached the nodes.
    revocation: RevocationView,
}

/// An API key as a change left it.
#[derive(Serialize, ToSchema)]
struct ChangedKey {
    #[serde(flatten)]
    key: KeyView,
    /// How far the change has reached the nodes; null: it took no authority away.
    #[schema(required = true)]
    revocation: Option<RevocationView>,
}

/// The use of a key that is there, tombstones too. Read before a change: afterwards nothing may fail, as a new app key
/// must reach the caller.
async fn usage(admin: &Admin, id: KeyId) -> Answer<Usage> {
    let found = admin.lifecycle.store.key(id).await?;
    Ok(found.ok_or_else(|| StoreError::NoSuchKey(id.to_string()))?.1)
}

fn key_view(admin: &Admin, key: &ApiKey, usage: &Usage) -> KeyView {
    KeyView::new(key, usage, admin.lifecycle.clock.wall())
}

fn issued(admin: &Admin, status: StatusCode, issued: Issued, usage: &Usage) -> Response {
    let revision = issued.key.revision;
    let body = IssuedKey {
        key: key_view(admin, &issued.key, usage),
        encoded_key: issued.encoded_key.to_string(),
        app_key: issued.app_key.expose().to_owned(),
        bundle: issued.bundle.as_ref().map(|bundle| bundle.to_string()),
        revocation: issued.waited.into(),
    };
    view::tagged(view::json(status, &body), revision)
}

/// What goes into bundles, as of now.
fn exchange(admin: &Admin) -> Option<TokenExchange> {
    admin.in_force.load().token_exchange.clone()
}

/// Networks that clients may be in.
fn networks(faults: &mut Faults, given: Given<Vec<String>>) -> Limit<Vec<ipnet::IpNet>> {
    faults.list("allowed_networks", given, network)
}

/// Routes that a key may use: a misspelt one would let it nowhere.
fn routes_of(faults: &mut Faults, given: Given<Vec<String>>, admin: &Admin) -> Limit<Vec<String>> {
    if matches!(given, Given::Absent | Given::Null) {
        return faults.list("allowed_routes", given, |label| Ok::<_, String>(label.to_owned()));
    }
    let labels = &admin.in_force.load().route_labels;
    faults.list("allowed_routes", given, |label| {
        if labels.iter().any(|known| known == label) {
            Ok(label.to_owned())
        } else {
            Err(format!("no route has this label; the labels are: {}", labels.join(", ")))
        }
    })
}
