//! `GET /v1/revisions/{revision}`: waits again for a change whose wait was cut short.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawPathParams, State};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Viewer;
use super::extract::{WaitFor, WaitParameters};
use super::problem::{Answer, Problem};
use super::state::Admin;
use super::view::{self, RevocationView};
use crate::fleet::revoke::Wait;

/// Looking on is no reason to hold a connection for longer.
const LONGEST: Duration = Duration::from_mins(1);

/// Everything of `/v1/revisions`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default().routes(routes!(wait))
}

/// Wait until a change is in force on every node
///
/// For a change that was made with `wait`, or whose answer was lost. Waits for a minute at most.
#[utoipa::path(
    get, path = "/v1/revisions/{revision}", operation_id = "waitForRevision", tag = "nodes",
    params(
        ("revision" = u64, Path, description = "The revision that the change answered with.", minimum = 0,
            maximum = 9_223_372_036_854_775_807_u64, example = 43),
        WaitParameters,
    ),
    responses((status = 200, description = "How far the change has reached the nodes.", body = RevocationView)),
)]
async fn wait(
    _: Viewer,
    State(admin): State<Arc<Admin>>,
    path: RawPathParams,
    WaitFor(wait): WaitFor,
) -> Answer<Response> {
    let text = path.iter().find(|(name, _)| *name == "revision").map(|(_, text)| text);
    let revision = text.filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok());
    let revision: u64 = revision.ok_or_else(|| Problem::not_found("a revision is a number"))?;
    let wait = match wait {
        Wait::Full => Wait::AtMost(LONGEST),
        Wait::AtMost(longest) => Wait::AtMost(longest.min(LONGEST)),
        Wait::None => Wait::None,
    };
    Ok(view::ok(&RevocationView::from(admin.lifecycle.wait_for(revision, wait).await?)))
}

#[cfg(test)]
mod tests {
    use crate::admin::test_rig::Rig;

    #[tokio::test]
    async fn a_revision_that_is_there_can_be_waited_for() {
        let rig = Rig::new().await;
        let made = rig.make("reports", "ADMIN").await;
        let place = format!("/v1/revisions/{}", made["revision"]);
        for query in ["", "?wait=none", "?wait=5s"] {
            let told = rig.ask_as(Some(&rig.viewer.1), "GET", &format!("{place}{query}"), None).await;
            assert_eq!((told.status.as_u16(), &told.body["revision"]), (200, &made["revision"]), "{}", told.text);
            assert_eq!(told.body["promise_held"], true);
        }
        for unknown in ["99", "-1", "x", "18446744073709551616"] {
            assert_eq!(rig.ask("GET", &format!("/v1/revisions/{unknown}"), None).await.problem(), "not-found");
        }
        assert_eq!(rig.ask("GET", &format!("{place}?wait=soon"), None).await.fields(), ["wait"]);
    }
}
