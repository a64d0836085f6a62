//! The admin plane: the page and the REST API by which operators manage keys, on a listener of their own.
//!
//! | file | what |
//! |---|---|
//! | `server` | connections: accepting, limits, the graceful end |
//! | `places` | which connection gives way when there are too many |
//! | `tls` | certificates, read again at each reload |
//! | `envelope` | what holds for every request: id, Host, deadline, panics, header fields, metrics |
//! | `auth` | who asks: tokens, sessions, where a browser's request comes from |
//! | `host` | the names that we answer to |
//! | `extract`, `problem` | what requests carry, read strictly; refusals |
//! | `state` | what all share |
//! | `session`, `api_keys`, `shared_secret`, `revisions`, `nodes`, `audit`, `operators` | the endpoints, a file a group |
//! | `view` | what several groups show |
//! | `openapi` | the description of them all |
//! | `page` | HTML, style and scripts, for which the API is what it is for everybody |
//!
//! Every endpoint but logging in demands an operator, proven. Changes go through `lifecycle`; what is only shown is
//! read from the store. Never here: anything of the data plane. Built by `app`.

pub mod api_keys;
pub mod audit;
pub mod auth;
mod envelope;
pub mod extract;
pub mod host;
pub mod nodes;
pub mod openapi;
pub mod operators;
pub mod page;
pub mod places;
pub mod problem;
pub mod request_id;
pub mod revisions;
pub mod server;
pub mod session;
pub mod shared_secret;
pub mod state;
#[cfg(test)]
pub mod test_rig;
pub mod tls;
pub mod view;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;

use state::Admin;

/// Every endpoint, the page, and what holds for all of them.
pub fn router(admin: Arc<Admin>) -> Router {
    Router::from(endpoints())
        .merge(page::routes())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn_with_state(Arc::clone(&admin), envelope::wrap))
        .with_state(admin)
}

/// The endpoints of the API, described.
#[must_use]
pub fn endpoints() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .merge(session::routes())
        .merge(api_keys::routes())
        .merge(shared_secret::routes())
        .merge(revisions::routes())
        .merge(nodes::routes())
        .merge(audit::routes())
        .merge(operators::routes())
        .merge(openapi::routes())
}
