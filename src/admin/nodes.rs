//! `GET /v1/nodes`: the gateway's processes, and whether they follow.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Viewer;
use super::extract::NoParameters;
use super::problem::Answer;
use super::state::Admin;
use super::view::{self, Moment};
use crate::store::NodeRow;

/// Everything of `/v1/nodes`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default().routes(routes!(list))
}

/// The nodes and what they follow.
#[derive(Serialize, ToSchema)]
struct NodeList {
    /// The store's revision: changes so far.
    #[schema(minimum = 0, example = 43)]
    revision: u64,
    /// In the order of joining.
    nodes: Vec<Node>,
}

/// A running gateway process.
#[derive(Serialize, ToSchema)]
struct Node {
    /// Host and process id.
    #[schema(example = "gateway-1:4711")]
    id: String,
    /// Random, one a process.
    #[schema(example = "00112233445566778899aabbccddeeff")]
    incarnation: String,
    /// Its keygate's version.
    #[schema(example = "0.1.0")]
    version: String,
    /// For how long it may admit without having asked the store, in milliseconds.
    #[schema(minimum = 0, example = 30_000)]
    lease_ms: u64,
    /// Every change up to this revision is in force there.
    #[schema(minimum = 0, example = 43)]
    applied: u64,
    /// How many revisions it is behind the store.
    #[schema(minimum = 0, example = 0)]
    behind: u64,
    /// When it joined.
    joined_at: Moment,
    /// When it was last seen, to the minute.
    seen_at: Moment,
    /// Its process is surely gone.
    #[schema(example = false)]
    gone: bool,
}

impl Node {
    fn new(row: &NodeRow, head: u64, gone: bool) -> Self {
        Self {
            id: row.id.clone(),
            incarnation: row.incarnation.clone(),
            version: row.version.clone(),
            lease_ms: u64::try_from(row.lease.as_millis()).unwrap_or(u64::MAX),
            applied: row.applied,
            behind: head.saturating_sub(row.applied),
            joined_at: row.joined_at.into(),
            seen_at: row.seen_at.into(),
            gone,
        }
    }
}

/// List nodes
///
/// The gateway's processes and how far each has followed the store.
#[utoipa::path(
    get, path = "/v1/nodes", operation_id = "listNodes", tag = "nodes",
    responses((status = 200, description = "All nodes.", body = NodeList)),
)]
async fn list(_: Viewer, State(admin): State<Arc<Admin>>, _: NoParameters) -> Answer<Response> {
    let store = &admin.lifecycle.store;
    // In this order a node can look behind by what was changed in between, never ahead.
    let rows = store.nodes().await?;
    let revision = store.head().await?.revision;
    let locks = &admin.lifecycle.locks;
    let nodes = rows.iter().map(|row| Node::new(row, revision, locks.surely_gone(&row.incarnation))).collect();
    Ok(view::ok(&NodeList { revision, nodes }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::admin::test_rig::Rig;
    use crate::clock::WallTime;
    use crate::store::NodeRow;

    #[tokio::test]
    async fn a_node_is_shown_with_how_far_it_is() {
        let rig = Rig::new().await;
        let made = rig.make("reports", "ADMIN").await;
        let row = NodeRow {
            id: "gateway:1".to_owned(),
            incarnation: "abc".to_owned(),
            version: "0.1.0".to_owned(),
            lease: Duration::from_secs(30),
            applied: made["revision"].as_u64().unwrap() - 1,
            joined_at: WallTime::EPOCH,
            seen_at: WallTime::EPOCH,
        };
        rig.admin.lifecycle.locks.hold("abc").unwrap();
        rig.admin.lifecycle.store.join(&row).await.unwrap();
        let told = rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/nodes", None).await;
        assert_eq!((told.status.as_u16(), &told.body["revision"]), (200, &made["revision"]));
        let node = json!({
            "id": "gateway:1", "incarnation": "abc", "version": "0.1.0", "lease_ms": 30_000, "applied": row.applied,
            "behind": 1, "joined_at": "1970-01-01T00:00:00.000Z", "seen_at": "1970-01-01T00:00:00.000Z", "gone": false,
        });
        assert_eq!(told.body["nodes"], json!([node]));
    }
}
