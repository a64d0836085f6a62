//! What the API shows: the JSON objects that several endpoints share, and how an answer is made of one.
//!
//! The command line prints the same objects with `--output json`. Never here: a secret other than those that an
//! endpoint hands over to be shown once; what requests say, which are `given` and `rules`. Used by the endpoint groups and by
//! `cli`.

pub(in crate::admin) mod given;
pub(in crate::admin) mod rules;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde::{Serialize, Serializer};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::WallTime;
use crate::credential::{KeyState, Role};
use crate::fleet::revoke::Revocation;
use crate::lifecycle::Waited;
use crate::store::{ApiKey, OperatorRole, SecretVersion, Usage};

/// A point in time: RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub WallTime);

impl From<WallTime> for Moment {
    fn from(at: WallTime) -> Self {
        Self(at)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.rfc3339())
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A point in time, RFC 3339 in UTC."))
            .examples(["2027-01-31T12:00:00.000Z"])
            .into()
    }
}

impl ToSchema for Moment {}

impl PartialSchema for Role {
    fn schema() -> RefOr<Schema> {
        let what = "What an API key may do: READONLY the safe methods (GET, HEAD, OPTIONS, QUERY), ADMIN all methods.";
        words([Self::ReadOnly.as_str(), Self::Admin.as_str()], what).into()
    }
}

impl ToSchema for Role {}

impl PartialSchema for KeyState {
    fn schema() -> RefOr<Schema> {
        let what = "The state of an API key: active, disabled (refused until enabled) or deleted (only its record is \
                    left).";
        words([Self::Active.as_str(), Self::Disabled.as_str(), Self::Deleted.as_str()], what).into()
    }
}

impl ToSchema for KeyState {}

impl PartialSchema for OperatorRole {
    fn schema() -> RefOr<Schema> {
        let what = "What an operator may do: an admin everything, a viewer see what is no secret.";
        words([Self::Admin.as_str(), Self::Viewer.as_str()], what).into()
    }
}

impl ToSchema for OperatorRole {}

fn words<const N: usize>(words: [&'static str; N], description: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    text.examples(words.first().copied()).enum_values(Some(words)).build()
}

/// An API key, without any secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    /// Never used again, not even after the key is deleted.
    #[schema(pattern = "^[0-9a-z]{12}$", example = "4k9w0c2m7xqz")]
    pub id: String,
    /// Application name, unique among the keys that are not deleted.
    #[schema(example = "nightly reports")]
    pub name: String,
    /// Free text.
    #[schema(example = "Reads the orders every night; ask finance before you touch it")]
    pub description: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may be used.
    pub state: KeyState,
    /// Is the time of `expires_at` over?
    #[schema(example = false)]
    pub expired: bool,
    /// Refused from this moment on; null: it does not expire.
    #[schema(required = true)]
    pub expires_at: Option<Moment>,
    /// Networks (CIDR) that its clients must be in; null: anywhere.
    #[schema(value_type = Option<Vec<String>>, required = true, example = json!(["10.0.0.0/8", "2001:db8::/32"]))]
    pub allowed_networks: Option<Vec<IpNet>>,
    /// Labels (host and path) of the routes that it may use; null: all.
    #[schema(required = true, example = json!(["/reports"]))]
    pub allowed_routes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Moment,
    /// When it was last changed.
    pub updated_at: Moment,
    /// The revision of its last change; as an entity tag, the value for If-Match.
    #[schema(minimum = 0, example = 42)]
    pub revision: u64,
    /// Time of the last admitted request, to the second or so; null: never.
    #[schema(required = true)]
    pub last_login: Option<Moment>,
    /// Client address of that request.
    #[schema(required = true, example = "10.1.2.3")]
    pub last_address: Option<String>,
    /// Admitted requests so far.
    #[schema(minimum = 0, example = 1_234)]
    pub use_count: u64,
    /// The old shared secret version that it was last seen sending and was refused for; null: none since it sent the
    /// current one.
    #[schema(required = true, minimum = 1, example = json!(null))]
    pub stale_version: Option<u32>,
    /// When that was.
    #[schema(required = true, example = json!(null))]
    pub stale_seen_at: Option<Moment>,
}

impl KeyView {
    /// How a key and its use look at this moment.
    #[must_use]
    pub fn new(key: &ApiKey, usage: &Usage, now: WallTime) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            description: key.description.clone(),
            role: key.role,
            state: key.state,
            expired: is_expired(key, now),
            expires_at: key.policy.expires_at.map(Moment),
            allowed_networks: key.policy.allowed_networks.clone(),
            allowed_routes: key.policy.allowed_routes.clone(),
            created_at: Moment(key.created_at),
            updated_at: Moment(key.updated_at),
            revision: key.revision,
            last_login: usage.last_login.map(Moment),
            last_address: usage.last_address.clone(),
            use_count: usage.use_count,
            stale_version: usage.stale.map(|(version, _)| version),
            stale_seen_at: usage.stale.map(|(_, at)| Moment(at)),
        }
    }
}

/// Is the time of this key over?
#[must_use]
pub fn is_expired(key: &ApiKey, now: WallTime) -> bool {
    key.policy.expires_at.is_some_and(|at| at <= now)
}

/// How far a change has reached the nodes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Revocation)]
pub struct RevocationView {
    /// The revision that was waited for.
    #[schema(minimum = 0, example = 43)]
    pub revision: u64,
    /// Nodes that have applied it.
    #[schema(example = json!(["gateway-1:4711"]))]
    pub confirmed: Vec<String>,
    /// Nodes that have not, and admit nothing any more as their lease is over.
    #[schema(example = json!([]))]
    pub fenced: Vec<String>,
    /// No request that begins from now on is admitted by the old authority. False only when the wait was cut short;
    /// `GET /v1/revisions/{revision}` waits again.
    #[schema(example = true)]
    pub promise_held: bool,
    /// How long the wait took, in milliseconds.
    #[schema(minimum = 0, example = 12)]
    pub took_ms: u64,
}

impl From<Revocation> for RevocationView {
    fn from(revocation: Revocation) -> Self {
        let Revocation { revision, confirmed, fenced, promise_held, took_ms } = revocation;
        Self { revision, confirmed, fenced, promise_held, took_ms }
    }
}

impl From<Waited> for RevocationView {
    /// The change is made whatever became of the wait, so a failure of that is told in the log.
    fn from(waited: Waited) -> Self {
        if let Some(error) = waited.failure {
            tracing::warn!(%error, revision = waited.revocation.revision, "a change is made; waiting for the nodes failed");
        }
        waited.revocation.into()
    }
}

/// The shared secret version before the current one, during a grace period.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PreviousSecret {
    /// Which version that is.
    #[schema(minimum = 1, example = 6)]
    pub version: u32,
    /// Until when it is still accepted.
    #[schema(required = true)]
    pub grace_until: Option<Moment>,
}

impl From<&SecretVersion> for PreviousSecret {
    fn from(previous: &SecretVersion) -> Self {
        Self { version: previous.version.get(), grace_until: previous.grace_until.map(Moment) }
    }
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(bytes)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 with a JSON body.
pub fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// The same answer with an API key's entity tag.
#[must_use]
pub fn tagged(mut response: Response, revision: u64) -> Response {
    // Digits and quotes are fine in every header.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_text_in_utc() {
        let at = Moment(WallTime::from_millis(1_801_396_800_000));
        assert_eq!(serde_json::to_value(at).unwrap(), "2027-01-31T12:00:00.000Z");
    }

    #[test]
    fn an_answer_says_what_it_is() {
        let answer = tagged(ok(&1), 7);
        assert_eq!(answer.headers()[ETAG], "\"7\"");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    }
}
