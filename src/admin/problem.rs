//! Refusals: one type, which becomes a problem document (RFC 9457), and what the errors of other modules become.
//!
//! What went wrong inside is told in the program's log, with the request's id; the caller gets the id. Used by every
//! endpoint of the admin plane.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::request_id;
use crate::lifecycle::LifecycleError;
use crate::store::StoreError;

/// What every endpoint gives back.
pub type Answer<T> = Result<T, Problem>;

/// The content type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds after which to try again what failed on our side.
const AGAIN: HeaderValue = HeaderValue::from_static("1");

/// A refusal.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    name: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    headers: HeaderMap,
}

/// One member of a body, or one parameter, that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Its name; with dots and brackets where it is inside of another: `allowed_networks[2]`.
    pub field: String,
    /// What is wrong with it, or what was expected.
    pub detail: String,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:keygate:problem:<name>`; does not change between versions.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: &'static str,
    /// The status code.
    pub status: u16,
    /// What is wrong, for people.
    pub detail: String,
    /// The request's id, as in `X-Request-Id` and the log.
    pub request_id: String,
    /// What is wrong with the single fields or parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A refusal with this status, of this type (`urn:keygate:problem:<name>`).
    #[must_use]
    pub fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Parts { status, name, detail, errors: Vec::new(), headers: HeaderMap::new() }))
    }

    /// 422 `invalid-request`: well-formed, but this field or parameter does not hold.
    #[must_use]
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let whole = format!("{field}: {detail}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", whole).field(field, detail)
    }

    /// 404 `not-found`.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 401 `unauthenticated`.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"keygate admin\""))
    }

    /// 500 `internal-error`. The cause belongs into the log.
    #[must_use]
    pub fn internal() -> Self {
        const DETAIL: &str = "keygate failed; its log tells more under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", DETAIL)
    }

    /// 503 `store-unavailable`, to be tried again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", detail).header(RETRY_AFTER, AGAIN)
    }

    /// Names one more field or parameter that does not hold.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, detail: impl Into<String>) -> Self {
        self.0.errors.push(FieldError { field: name.into(), detail: detail.into() });
        self
    }

    /// Adds a field to the header of the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The last part of the type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What does not hold.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { status, name, detail, errors, headers } = *self.0;
        let body = ProblemBody {
            kind: format!("urn:keygate:problem:{name}"),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail,
            request_id: request_id::current(),
            errors,
        };
        // Text and numbers always become JSON.
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, name) = match &error {
            StoreError::NameTaken(_) | StoreError::OperatorNameTaken(_) => (StatusCode::CONFLICT, "name-taken"),
            StoreError::VersionConflict { .. } | StoreError::SecretsChanged => {
                (StatusCode::CONFLICT, "version-conflict")
            }
            StoreError::LastAdmin => (StatusCode::CONFLICT, "last-admin"),
            StoreError::Changed(_) => (StatusCode::PRECONDITION_FAILED, "changed"),
            StoreError::NoSuchKey(_) | StoreError::NoSuchOperator(_) | StoreError::NoSuchRevision { .. } => {
                (StatusCode::NOT_FOUND, "not-found")
            }
            StoreError::OperatorGone => return Self::unauthenticated(error.to_string()),
            StoreError::OtherOrder => return Self::invalid("cursor", error.to_string()),
            StoreError::NotInitialised(_)
            | StoreError::NewerSchema { .. }
            | StoreError::Corrupt(_)
            | StoreError::Seal(_)
            | StoreError::Database(..)
            | StoreError::Unopened { .. } => {
                tracing::error!(%error, request_id = request_id::current(), "the store failed a request");
                return Self::unavailable("the store could not do this; the log tells more under this request's id");
            }
        };
        Self::new(status, name, error.to_string())
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Store(error) => error.into(),
            LifecycleError::Deleted(_) => Self::new(StatusCode::CONFLICT, "deleted", error.to_string()),
            LifecycleError::NoMoreVersions(_) => Self::new(StatusCode::CONFLICT, "version-conflict", error.to_string()),
            other => {
                tracing::error!(error = %other, request_id = request_id::current(), "a request failed");
                Self::internal()
            }
        }
    }
}

/// 404 for paths where nothing is.
pub async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path")
}

/// 405; the router adds which methods there are.
pub async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this method is not for this path; Allow names those that are",
    )
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::credential::KeyId;

    async fn rendered(problem: Problem) -> (StatusCode, HeaderMap, serde_json::Value) {
        let response = problem.into_response();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_ours() {
        let problem = Problem::invalid("role", "expected READONLY or ADMIN").field("name", "is missing");
        let (status, headers, body) = rendered(problem).await;
        assert_eq!(status, 422);
        assert_eq!(headers[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:keygate:problem:invalid-request",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "role: expected READONLY or ADMIN",
                "request_id": "",
                "errors": [
                    { "field": "role", "detail": "expected READONLY or ADMIN" },
                    { "field": "name", "detail": "is missing" }
                ]
            })
        );
    }

    #[tokio::test]
    async fn what_fails_inside_is_not_told_outside() {
        let inner = StoreError::Corrupt("a row of kgs_1_secret".to_owned());
        let (status, headers, body) = rendered(LifecycleError::from(inner).into()).await;
        assert_eq!((status, &headers[RETRY_AFTER]), (StatusCode::SERVICE_UNAVAILABLE, &AGAIN));
        assert_eq!(body["type"], "urn:keygate:problem:store-unavailable");
        assert!(!body.to_string().contains("kgs_"), "{body}");
        assert!(body.get("errors").is_none());
    }

    #[test]
    fn errors_of_other_modules_have_their_status() {
        let id = KeyId::parse(b"0123456789ab").unwrap();
        for (error, status, name) in [
            (StoreError::NameTaken("a".into()), 409, "name-taken"),
            (StoreError::OperatorNameTaken("a".into()), 409, "name-taken"),
            (StoreError::NoSuchKey("a".into()), 404, "not-found"),
            (StoreError::NoSuchOperator("a".into()), 404, "not-found"),
            (StoreError::NoSuchRevision { asked: 2, head: 1 }, 404, "not-found"),
            (StoreError::VersionConflict { expected: 1, actual: 2 }, 409, "version-conflict"),
            (StoreError::LastAdmin, 409, "last-admin"),
            (StoreError::Changed(id), 412, "changed"),
            (StoreError::OtherOrder, 422, "invalid-request"),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status().as_u16(), problem.name()), (status, name));
        }
        assert_eq!(Problem::from(LifecycleError::Deleted(id)).name(), "deleted");
        assert_eq!(Problem::from(LifecycleError::NoFreeId).status(), 500);
    }
}
