//! `GET /v1/api-keys`: keys, page by page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::key_view;
use crate::admin::auth::Viewer;
use crate::admin::extract::Parameters;
use crate::admin::problem::Answer;
use crate::admin::state::Admin;
use crate::admin::view::given::Faults;
use crate::admin::view::rules::{duration, page_length, search, word};
use crate::admin::view::{self, KeyView};
use crate::credential::{KeyState, Role};
use crate::store::{KeyCursor, KeyFilter, KeyQuery, KeySort};

const DEFAULT_LIMIT: u32 = 50;

/// Which keys, in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// How many keys at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50, example = 50)]
    limit: Option<String>,
    /// Where to go on: `next_cursor` of the page before. Needs the same `sort`; what narrows the list may change.
    #[param(min_length = 1, max_length = 4_096, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Only names and descriptions that hold this text, in any case. One or two characters: only names that begin with
    /// them.
    #[param(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "report")]
    q: Option<String>,
    /// Only this role.
    #[param(value_type = Option<Role>)]
    role: Option<String>,
    /// Only this state. Without it, all but deleted keys.
    #[param(value_type = Option<KeyState>)]
    state: Option<String>,
    /// The order; with `-` before it, turned round. A key that was never used comes before all others by
    /// `last_login`.
    #[param(value_type = Option<SortName>, inline, default = "name")]
    sort: Option<String>,
    /// Only keys that are older than this and were not used for so long.
    #[param(pattern = "^[0-9]{1,5}[smhd]$", example = "30d")]
    unused_for: Option<String>,
    /// `true`: only keys that were seen sending an old shared secret version, and not the current one since.
    #[param(value_type = Option<bool>)]
    stale: Option<String>,
}

/// Orders of the list of API keys.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the words are read by `sort`")]
enum SortName {
    #[schema(rename = "name")]
    Name,
    #[schema(rename = "-name")]
    NameDown,
    #[schema(rename = "role")]
    Role,
    #[schema(rename = "-role")]
    RoleDown,
    #[schema(rename = "last_login")]
    LastLogin,
    #[schema(rename = "-last_login")]
    LastLoginDown,
    #[schema(rename = "created_at")]
    CreatedAt,
    #[schema(rename = "-created_at")]
    CreatedAtDown,
}

impl ListParameters {
    fn query(self, admin: &Admin) -> Answer<KeyQuery> {
        let now = admin.lifecycle.clock.wall();
        let mut faults = Faults::default();
        let limit = faults.parameter("limit", self.limit, |text| page_length(&text)).unwrap_or(DEFAULT_LIMIT);
        let after: Option<KeyCursor> = faults.parameter("cursor", self.cursor, |text| text.parse::<KeyCursor>());
        let (sort, descending) = faults.parameter("sort", self.sort, |text| sort(&text)).unwrap_or_default();
        if after.as_ref().is_some_and(|cursor| !cursor.is_of(sort, descending)) {
            faults.add("cursor", "belongs to a list in another order; begin at the first page");
        }
        let unused_for = faults.parameter("unused_for", self.unused_for, |text| duration(&text));
        let filter = KeyFilter {
            role: faults.parameter("role", self.role, |text| word::<Role>(&text)),
            state: faults.parameter("state", self.state, |text| state(&text)),
            text: faults.parameter("q", self.q, search).flatten(),
            unused_since: unused_for.map(|for_long| now.minus(for_long)),
            stale: faults.parameter("stale", self.stale, |text| flag(&text)).unwrap_or(false),
        };
        faults.finish(Some(KeyQuery { filter, sort, descending, after, limit }))
    }
}

fn state(text: &str) -> Result<KeyState, &'static str> {
    text.parse().map_err(|()| "expected active, disabled or deleted")
}

fn flag(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "expected true or false")
}

fn sort(text: &str) -> Result<(KeySort, bool), &'static str> {
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let sort = name.parse().map_err(|_| "expected name, role, last_login or created_at, or one of these behind a -")?;
    Ok((sort, descending))
}

/// A page of API keys.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyList {
    /// The keys, sorted.
    api_keys: Vec<KeyView>,
    /// What `cursor` of the next page is; null: this is the last one. A page with fewer keys than `limit`, or none, need not
    /// be the last: it ends also when what fits is hard to find.
    #[schema(required = true, example = "eyJzIjoibmFtZSJ9")]
    next_cursor: Option<String>,
}

/// List API keys
///
/// A page begins behind a place in the order, so keys that come or go meanwhile neither repeat nor hide others.
#[utoipa::path(
    get, path = "/v1/api-keys", operation_id = "listApiKeys", tag = "api-keys",
    params(ListParameters),
    responses((status = 200, description = "A page of keys.", body = KeyList)),
)]
pub(super) async fn list(
    _: Viewer,
    State(admin): State<Arc<Admin>>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Answer<Response> {
    let (query, store) = (parameters.query(&admin)?, Arc::clone(&admin.lifecycle.store));
    let page = admin.read_long(async move { store.key_page(&query).await }).await?;
    Ok(view::ok(&KeyList {
        api_keys: page.keys.iter().map(|(key, usage)| key_view(&admin, key, usage)).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}
