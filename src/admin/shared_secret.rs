//! `/v1/shared-secret`: the secret itself, what replacing it would mean, replacing it, and ending a grace period.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Administrator, Viewer};
use super::extract::{Body, NoParameters, WaitFor, WaitParameters};
use super::problem::{Answer, Problem, ProblemBody};
use super::state::Admin;
use super::view::given::{Faults, Given, set};
use super::view::rules::{duration, version};
use super::view::{self, Moment, PreviousSecret, RevocationView};
use crate::clock::WallTime;
use crate::store::KeyCounts;

/// Keys that logged in within this count as in use.
const IN_USE: Duration = Duration::from_hours(24);

/// Everything of `/v1/shared-secret`.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default()
        .routes(routes!(reveal))
        .routes(routes!(impact))
        .routes(routes!(regenerate))
        .routes(routes!(end_grace))
}

/// The shared secret.
#[derive(Serialize, ToSchema)]
struct SharedSecret {
    /// Which version it is.
    #[schema(minimum = 1, example = 7)]
    version: u32,
    /// The secret itself; the whole text is the key of the HMAC.
    #[schema(pattern = "^kgs_[0-9]{1,10}_[0-9A-Za-z]{43}$")]
    secret: String,
    /// When it was made.
    created_at: Moment,
    /// How long ago that was, in seconds.
    #[schema(minimum = 0, example = 86_400)]
    age_s: u64,
    /// The version before, during a grace period.
    #[schema(required = true)]
    previous: Option<PreviousSecret>,
}

/// Reveal the shared secret
///
/// That it was seen, and by whom, is written into the audit records first.
#[utoipa::path(
    get, path = "/v1/shared-secret", operation_id = "revealSharedSecret", tag = "shared-secret",
    responses((status = 200, description = "The secret that is in force.", body = SharedSecret)),
)]
async fn reveal(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    _: NoParameters,
) -> Answer<Response> {
    let revealed = admin.lifecycle.reveal_secret(&caller.actor()).await?;
    let previous = revealed
        .previous
        .map(|(version, until)| PreviousSecret { version: version.get(), grace_until: until.map(Moment) });
    Ok(view::ok(&SharedSecret {
        version: revealed.secret.version().get(),
        secret: revealed.secret.expose().to_owned(),
        created_at: revealed.created_at.into(),
        age_s: age(&admin, revealed.created_at),
        previous,
    }))
}

fn age(admin: &Admin, created_at: WallTime) -> u64 {
    admin.lifecycle.clock.wall().since(created_at).as_secs()
}

/// What replacing the shared secret would mean.
#[derive(Serialize, ToSchema)]
struct Impact {
    /// Which version is in force.
    #[schema(minimum = 1, example = 7)]
    version: u32,
    /// When it was made.
    created_at: Moment,
    /// How long ago that was, in seconds.
    #[schema(minimum = 0, example = 86_400)]
    age_s: u64,
    /// The version before, during a grace period.
    #[schema(required = true)]
    previous: Option<PreviousSecret>,
    /// The keys that it concerns.
    keys: ImpactKeys,
}

/// How many API keys there are of each kind. Deleted ones do not count.
#[derive(Serialize, ToSchema)]
struct ImpactKeys {
    /// Active ones.
    #[schema(minimum = 0, example = 40)]
    active: u64,
    /// Disabled ones.
    #[schema(minimum = 0, example = 2)]
    disabled: u64,
    /// Active ones that were used within the last 24 hours: these stop working until they are encoded anew.
    #[schema(minimum = 0, example = 12)]
    used_24h: u64,
    /// Active ones that were never used.
    #[schema(minimum = 0, example = 5)]
    never_used: u64,
    /// Active ones that were seen sending an old version, and not the current one since.
    #[schema(minimum = 0, example = 1)]
    stale: u64,
}

impl From<KeyCounts> for ImpactKeys {
    fn from(counts: KeyCounts) -> Self {
        let KeyCounts { active, disabled, used, never_used, stale } = counts;
        Self { active, disabled, used_24h: used, never_used, stale }
    }
}

/// Show what regenerating would mean
///
/// Version and age of the shared secret, without the secret, and how many keys depend on it.
#[utoipa::path(
    get, path = "/v1/shared-secret/impact", operation_id = "getSharedSecretImpact", tag = "shared-secret",
    responses((status = 200, description = "Version, age and counts.", body = Impact)),
)]
async fn impact(_: Viewer, State(admin): State<Arc<Admin>>, _: NoParameters) -> Answer<Response> {
    let store = Arc::clone(&admin.lifecycle.store);
    let secrets = store.secrets().await?.secrets;
    let since = admin.lifecycle.clock.wall().minus(IN_USE);
    let counts = admin.read_long(async move { store.key_counts(since).await }).await?;
    Ok(view::ok(&Impact {
        version: secrets.current.version.get(),
        created_at: secrets.current.created_at.into(),
        age_s: age(&admin, secrets.current.created_at),
        previous: secrets.in_grace(admin.lifecycle.clock.wall()).map(PreviousSecret::from),
        keys: counts.into(),
    }))
}

/// Which shared secret is to be replaced, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegenerateBody {
    /// The version that is to be replaced; another one is in force: 409. So a lost answer can be retried.
    #[schema(value_type = u32, required = true, minimum = 1, maximum = 4_294_967_295_u32, example = 7)]
    #[serde(default)]
    expected_version: Given<serde_json::Number>,
    /// Go on accepting the version that is replaced for this long; null or absent: not at all.
    #[schema(value_type = Option<String>, pattern = "^[0-9]{1,5}[smhd]$", example = "24h")]
    #[serde(default)]
    grace: Given<String>,
}

impl RegenerateBody {
    fn checked(self) -> Answer<(u32, Option<Duration>)> {
        let mut faults = Faults::default();
        let expected = faults.required("expected_version", self.expected_version, |number| version(&number));
        let grace = set(faults.limit("grace", self.grace, |text| duration(&text)));
        faults.finish(expected.map(|expected| (expected, grace)))
    }
}

/// A new shared secret version.
#[derive(Serialize, ToSchema)]
struct Regenerated {
    /// The version that is in force now.
    #[schema(minimum = 2, example = 8)]
    version: u32,
    /// When it was made.
    created_at: Moment,
    /// Until when the version before is still accepted; null: no longer.
    #[schema(required = true)]
    grace_until: Option<Moment>,
    #[serde(flatten)]
    revocation: RevocationView,
}

/// Regenerate the shared secret
///
/// Every key that is encoded with an earlier version stops working until it is encoded anew; with a grace period, those
/// of the last version only when that ends. The answer comes when no node admits the old ones any more. A leaked encoded
/// key is not helped by this, as it contains its app key: roll that key.
#[utoipa::path(
    post, path = "/v1/shared-secret/regenerate", operation_id = "regenerateSharedSecret", tag = "shared-secret",
    params(WaitParameters),
    request_body = RegenerateBody,
    responses(
        (status = 200, description = "There is a new version.", body = Regenerated),
        (status = 409, description = "`version-conflict`: another version is in force.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn regenerate(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    WaitFor(wait): WaitFor,
    Body(body): Body<RegenerateBody>,
) -> Answer<Response> {
    let (expected, grace) = body.checked()?;
    let done = admin.lifecycle.regenerate(Some(expected), grace, &caller.actor(), wait).await?;
    // The version is there whatever becomes of this look at it.
    let current = admin.lifecycle.store.secrets().await.ok().map(|snapshot| snapshot.secrets.current);
    let current = current.filter(|current| current.version == done.version);
    Ok(view::ok(&Regenerated {
        version: done.version.get(),
        created_at: current.map_or_else(|| admin.lifecycle.clock.wall(), |current| current.created_at).into(),
        grace_until: done.grace_until.map(Moment),
        revocation: done.waited.into(),
    }))
}

/// The end of a grace period.
#[derive(Serialize, ToSchema)]
struct GraceEnded {
    /// The version that is not accepted any more.
    #[schema(minimum = 1, example = 6)]
    ended_version: u32,
    #[serde(flatten)]
    revocation: RevocationView,
}

/// End the grace period
///
/// The version before the current one is not accepted any more. The answer comes when no node admits it.
#[utoipa::path(
    post, path = "/v1/shared-secret/end-grace", operation_id = "endGrace", tag = "shared-secret",
    params(WaitParameters),
    responses(
        (status = 200, description = "The grace period is over.", body = GraceEnded),
        (status = 409, description = "`no-grace`: there is no grace period.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn end_grace(
    Administrator(caller): Administrator,
    State(admin): State<Arc<Admin>>,
    WaitFor(wait): WaitFor,
) -> Answer<Response> {
    let Some((ended_version, waited)) = admin.lifecycle.end_grace(&caller.actor(), wait).await? else {
        return Err(Problem::new(StatusCode::CONFLICT, "no-grace", "there is no grace period to end"));
    };
    Ok(view::ok(&GraceEnded { ended_version, revocation: waited.into() }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::admin::test_rig::Rig;

    async fn last_action(rig: &Rig) -> Value {
        rig.ask("GET", "/v1/audit?limit=1", None).await.body["audit"][0].take()
    }

    #[tokio::test]
    async fn a_reveal_is_for_admins_and_leaves_a_record() {
        let rig = Rig::new().await;
        let shown = rig.ask("GET", "/v1/shared-secret", None).await;
        assert_eq!((shown.status.as_u16(), &shown.body["version"]), (200, &json!(1)));
        let secret = shown.body["secret"].as_str().unwrap();
        assert!(secret.starts_with("kgs_1_"));
        assert_eq!(shown.body["previous"], Value::Null);
        let record = last_action(&rig).await;
        assert_eq!(record["action"], "shared_secret.view");
        assert_eq!(record["who"], format!("operator:{}", rig.root.0.id));
        assert!(!record.to_string().contains(secret));
        assert_eq!(rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/shared-secret", None).await.problem(), "forbidden");
    }

    #[tokio::test]
    async fn impact_counts_and_has_no_secret() {
        let rig = Rig::new().await;
        rig.make("reports", "ADMIN").await;
        rig.clock.advance(std::time::Duration::from_mins(1));
        let told = rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/shared-secret/impact", None).await;
        assert_eq!((told.status.as_u16(), &told.body["age_s"]), (200, &json!(60)));
        let keys = json!({ "active": 1, "disabled": 0, "used_24h": 0, "never_used": 1, "stale": 0 });
        assert_eq!(told.body["keys"], keys);
        assert!(!told.text.contains("kgs_"));
    }

    #[tokio::test]
    async fn regenerating_names_what_it_replaces_and_a_grace_period_can_be_ended() {
        let rig = Rig::new().await;
        let regenerate = async |body: Value| rig.ask("POST", "/v1/shared-secret/regenerate", Some(body)).await;
        let end = async || rig.ask("POST", "/v1/shared-secret/end-grace", None).await;
        assert_eq!(end().await.problem(), "no-grace");
        let conflict = regenerate(json!({ "expected_version": 4 })).await;
        assert_eq!((conflict.status.as_u16(), conflict.problem()), (409, "version-conflict"));
        let done = regenerate(json!({ "expected_version": 1, "grace": "24h" })).await;
        assert_eq!((done.status.as_u16(), &done.body["version"]), (200, &json!(2)), "{}", done.text);
        assert_eq!((&done.body["promise_held"], &done.body["fenced"]), (&json!(true), &json!([])));
        assert_eq!(done.body["created_at"], "2026-01-01T00:00:00.000Z");
        assert_eq!(done.body["grace_until"], "2026-01-02T00:00:00.000Z");
        let impact = rig.ask("GET", "/v1/shared-secret/impact", None).await;
        assert_eq!(impact.body["previous"], json!({ "version": 1, "grace_until": "2026-01-02T00:00:00.000Z" }));
        let ended = end().await;
        assert_eq!((&ended.body["ended_version"], &ended.body["promise_held"]), (&json!(1), &json!(true)));
        let third = regenerate(json!({ "expected_version": 2.0, "grace": null })).await;
        assert_eq!((&third.body["version"], &third.body["grace_until"]), (&json!(3), &Value::Null));
        for wrong in
            [json!({ "expected_version": 0, "grace": "1 day" }), json!({ "expected_version": 1.5, "grace": 1 })]
        {
            assert_eq!(regenerate(wrong).await.fields(), ["expected_version", "grace"]);
        }
        assert_eq!(regenerate(json!({})).await.fields(), ["expected_version"]);
    }
}
