//! `GET /v1/audit`: who changed or saw what.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Viewer;
use super::extract::Parameters;
use super::problem::Answer;
use super::state::Admin;
use super::view::given::Faults;
use super::view::rules::{moment, page_length, search};
use super::view::{self, Moment};
use crate::store::{AuditQuery, AuditRecord};

const DEFAULT_LIMIT: u32 = 50;

/// Everything of `/v1/audit`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default().routes(routes!(list))
}

/// Which audit records.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct AuditParameters {
    /// How many records at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50, example = 50)]
    limit: Option<String>,
    /// Where to go on: `next_cursor` of the page before.
    #[param(pattern = "^[0-9a-f]{16}$", example = "000000000000002a")]
    cursor: Option<String>,
    /// Only what somebody did whose name or address holds this text.
    #[param(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "operator:4k9w0c2m7xqz")]
    who: Option<String>,
    /// Only this action (`api_key.create`), or group of actions (`api_key`).
    #[param(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "api_key")]
    action: Option<String>,
    /// Only what was done to this: the id of a key or an operator, a version of the shared secret.
    #[param(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "4k9w0c2m7xqz")]
    subject: Option<String>,
    /// Not before this time.
    #[param(format = DateTime, example = "2026-01-31T12:00:00Z")]
    since: Option<String>,
    /// Before this time.
    #[param(format = DateTime, example = "2099-01-31T12:00:00Z")]
    until: Option<String>,
}

impl AuditParameters {
    fn query(self) -> Answer<AuditQuery> {
        let mut faults = Faults::default();
        let query = AuditQuery {
            who: faults.parameter("who", self.who, search).flatten(),
            action: faults.parameter("action", self.action, search).flatten(),
            subject: faults.parameter("subject", self.subject, search).flatten(),
            since: faults.parameter("since", self.since, |text| moment(&text)),
            until: faults.parameter("until", self.until, |text| moment(&text)),
            before: faults.parameter("cursor", self.cursor, |text| place(&text)),
            limit: faults.parameter("limit", self.limit, |text| page_length(&text)).unwrap_or(DEFAULT_LIMIT),
        };
        faults.finish(Some(query))
    }
}

fn cursor(place: u64) -> String {
    format!("{place:016x}")
}

fn place(text: &str) -> Result<u64, &'static str> {
    let place = u64::from_str_radix(text, 16).ok().filter(|place| cursor(*place) == text);
    place.ok_or("is no cursor of the audit records")
}

/// A page of audit records.
#[derive(Serialize, ToSchema)]
struct AuditList {
    /// Newest first.
    audit: Vec<Record>,
    /// What `cursor` of the next page is; null: this is the last one.
    #[schema(required = true, example = "000000000000002a")]
    next_cursor: Option<String>,
}

/// An audit record.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditRecord)]
struct Record {
    /// Ascending.
    #[schema(minimum = 0, example = 42)]
    id: u64,
    /// When.
    at: Moment,
    /// Who: `operator:<id>`, `cli:<user>`, `system`, `unknown`.
    #[schema(example = "operator:4k9w0c2m7xqz")]
    who: String,
    /// From which address or host.
    #[schema(example = "10.1.2.3")]
    from: String,
    /// What was done.
    #[schema(example = "api_key.create")]
    action: String,
    /// What it was done to: the id of a key or an operator, a version of the shared secret.
    #[schema(example = "7m2x0c9k4wqz")]
    subject: String,
    /// What changed; never a secret.
    #[schema(value_type = Object, example = json!({"name": "nightly reports"}))]
    detail: Value,
    /// The revision that it made; null: it changed no key and no secret.
    #[schema(required = true, minimum = 0, example = 43)]
    revision: Option<u64>,
}

impl From<AuditRecord> for Record {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { id, at, actor, action, subject, detail, revision } = record;
        let detail = match serde_json::from_str(&detail) {
            Ok(Value::Object(members)) => Value::Object(members),
            _ => serde_json::json!({ "text": detail }),
        };
        Self { id, at: at.into(), who: actor.who, from: actor.from, action, subject, detail, revision }
    }
}

/// List audit records
///
/// Who changed or saw what, newest first.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "listAudit", tag = "audit",
    params(AuditParameters),
    responses((status = 200, description = "A page of records.", body = AuditList)),
)]
async fn list(
    _: Viewer,
    State(admin): State<Arc<Admin>>,
    Parameters(parameters): Parameters<AuditParameters>,
) -> Answer<Response> {
    let mut query = parameters.query()?;
    let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
    // One more tells whether there is a next page.
    query.limit += 1;
    let store = Arc::clone(&admin.lifecycle.store);
    let mut records = admin.read_long(async move { store.audit_page(&query).await }).await?;
    let has_next = records.len() > wanted;
    records.truncate(wanted);
    let next_cursor = records.last().filter(|_| has_next).map(|last| cursor(last.id));
    Ok(view::ok(&AuditList { audit: records.into_iter().map(Record::from).collect(), next_cursor }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::admin::test_rig::Rig;

    #[test]
    fn a_cursor_is_one_text_for_one_place() {
        assert_eq!(place(&cursor(42)), Ok(42));
        assert_eq!(place(&cursor(u64::MAX)), Ok(u64::MAX));
        for bad in ["", "2a", "+00000000000002a", "000000000000002A", "00000000000000002a"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn records_are_narrowed_and_paged() {
        let rig = Rig::new().await;
        for name in ["a", "b", "c"] {
            rig.make(name, "ADMIN").await;
        }
        let ask = async |query: &str| rig.ask_as(Some(&rig.viewer.1), "GET", &format!("/v1/audit?{query}"), None).await;
        let page = ask("limit=2&action=api_key.create").await;
        let subjects = |page: &Value| {
            let records = page["audit"].as_array().unwrap();
            records.iter().map(|r| r["detail"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(subjects(&page.body), ["c", "b"], "{}", page.text);
        let next = page.body["next_cursor"].as_str().unwrap();
        let last = ask(&format!("limit=2&action=api_key&cursor={next}")).await;
        assert_eq!((subjects(&last.body), &last.body["next_cursor"]), (vec!["a".to_owned()], &Value::Null));
        let id = page.body["audit"][0]["subject"].as_str().unwrap();
        assert_eq!(subjects(&ask(&format!("subject={id}")).await.body), ["c"]);
        assert_eq!(ask("who=cli:nobody").await.body["audit"], serde_json::json!([]));
        assert_eq!(subjects(&ask("who=operator&action=api_key&since=2026-01-01T00:00:00Z").await.body).len(), 3);
        assert_eq!(ask("until=2026-01-01T00:00:00Z").await.body["audit"], serde_json::json!([]));
        let wrong = ask("since=yesterday&until=2026&cursor=1&limit=201&who=%00").await;
        assert_eq!(wrong.fields(), ["who", "since", "until", "cursor", "limit"]);
        assert_eq!(ask("before=1").await.fields(), ["before"]);
    }
}
