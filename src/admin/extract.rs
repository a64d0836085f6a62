//! What requests carry, read strictly: a body is JSON of exactly the members that are known, parameters are exactly
//! those that are known, and whatever does not hold is named.
//!
//! Who asks comes first (`auth`): an endpoint takes its `Viewer` or `Administrator` before anything of this file.
//! Messages never repeat a value, which may be a secret. Used by every endpoint of the admin plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{ObjectBuilder, Required};

use super::auth::Caller;
use super::problem::Problem;
use super::state::Admin;
use crate::credential::{self, KeyId};
use crate::fleet::revoke::Wait;

/// The most bytes of a body.
pub const MAX_BODY: usize = 64 * 1024;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "expected a body with Content-Type: application/json",
            ));
        }
        let caller = request.extensions().get::<Caller>().cloned();
        let body = read(request, admin.settings.request_timeout).await?;
        // Whoever sends slowly may be no operator any more.
        if let Some(caller) = caller {
            caller.still(admin).await?;
        }
        json(&body).map(Self)
    }
}

/// `application/json`, in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(value)), None) = (values.next().map(|value| value.to_str()), values.next()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| {
            let plain = parameter.replace('"', "");
            plain.is_empty() || plain.eq_ignore_ascii_case("charset=utf-8")
        })
}

async fn read(request: Request, patience: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a body has at most {MAX_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    };
    let told = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(patience, Limited::new(request.into_body(), MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "malformed-request", "the body ended before it was whole"))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "the body took too long to come")),
    }
}

/// Text that is no JSON is 400 with its place; JSON that is not what was asked for is 422 with its field.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // In two steps, since the second stops at whatever comes first.
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| {
        // What is skipped has no names; what is read has.
        let read = serde_path_to_error::deserialize::<_, Value>(&mut serde_json::Deserializer::from_slice(body));
        let path = read.err().map(|error| named(error.path())).unwrap_or_default();
        malformed(&shown(&path), &error)
    })?;
    // A list of values in the right order would do for serde.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("(body)", "expected an object"));
    }
    let mut typed = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut typed).map_err(|error| {
        let path = named(error.path());
        match error.inner().classify() {
            Category::Data => unfit(&path, &error.inner().to_string()),
            Category::Syntax | Category::Eof | Category::Io => malformed(&shown(&path), error.inner()),
        }
    })
}

fn malformed(field: &str, error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or_default();
    let at = if field.is_empty() { String::new() } else { format!(" in {field}") };
    let detail = format!("the body is not JSON: {what}{at}, at line {line}, column {column}");
    let problem = Problem::new(StatusCode::BAD_REQUEST, "malformed-json", detail);
    if field.is_empty() { problem } else { problem.field(field, format!("{what}, at line {line}, column {column}")) }
}

/// Without what serde adds for the top and for what it cannot name.
fn named(path: &serde_path_to_error::Path) -> String {
    let text = path.to_string();
    if text == "." || text == "?" { String::new() } else { text.trim_end_matches(".?").to_owned() }
}

/// From serde's message, of which only the parts without values are repeated.
fn unfit(path: &str, message: &str) -> Problem {
    let message = message.split(" at line ").next().unwrap_or_default();
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let inside = |name: &str| match path {
        "" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    let expected = message.split_once(", expected ").map(|(_, expected)| expected);
    if message.starts_with("missing field") {
        return Problem::invalid(inside(quoted), "is missing");
    }
    if message.starts_with("duplicate field") {
        return Problem::invalid(inside(quoted), "is there twice");
    }
    if message.starts_with("unknown field") {
        let known = expected.map_or_else(|| "there is none".to_owned(), |known| format!("expected {known}"));
        // The path ends with it.
        let parent = path.strip_suffix(quoted).unwrap_or(path);
        return Problem::invalid(shown(&format!("{parent}{quoted}")), format!("is not known; {known}"));
    }
    let detail = match expected {
        Some(expected) => format!("expected {expected}"),
        None if message.starts_with("invalid") || message.contains(['"', '`']) => "does not hold".to_owned(),
        None => message.to_owned(),
    };
    Problem::invalid(if path.is_empty() { "(body)" } else { path }, detail)
}

/// The name of a member or parameter that may be anything: cut short, plain, and not at all if it holds a credential.
fn shown(name: &str) -> String {
    let plain: String = name.chars().take(80).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    let word_end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let is_secret = plain.split(word_end).any(|word| credential::is_ours(word.as_bytes()));
    if is_secret { "(not shown: it may be a secret)".to_owned() } else { plain }
}

/// The parameters of the query string.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Admin>> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Problem> {
        parameters(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parameters<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    for pair in query.split('&') {
        if !is_encoded(pair) {
            let name = pair.split('=').next().unwrap_or_default();
            return Err(Problem::invalid(shown(name), "is not percent-encoded UTF-8"));
        }
    }
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| unfit(&named(error.path()), &error.inner().to_string()))
}

/// Is every `%` followed by two hexadecimal digits, and what they mean UTF-8?
fn is_encoded(text: &str) -> bool {
    let mut rest = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    let hex = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => decoded.push(high << 4 | low),
                _ => return false,
            },
            byte => decoded.push(byte),
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// For endpoints that take no parameters: whatever is there is refused.
#[derive(Debug)]
pub struct NoParameters;

impl FromRequestParts<Arc<Admin>> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct None {}
        parameters::<None>(parts.uri.query().unwrap_or_default()).map(|_| Self)
    }
}

/// The `{id}` in a path. What has not the form of an id is the id of nothing: 404.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub KeyId);

impl FromRequestParts<Arc<Admin>> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let nothing = || Problem::not_found("there is nothing with this id");
        let path = RawPathParams::from_request_parts(parts, admin).await.map_err(|_| nothing())?;
        let id = path.iter().find(|(name, _)| *name == "id").and_then(|(_, value)| KeyId::parse(value.as_bytes()));
        id.map(Self).ok_or_else(nothing)
    }
}

impl IntoParams for Id {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            ParameterBuilder::new()
                .name("id")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("12 characters of [0-9a-z]."))
                .schema(Some(text("^[0-9a-z]{12}$")))
                .build(),
        ]
    }
}

/// A text of this form, for the description.
fn text(pattern: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

/// The revision that the caller read, from `If-Match`; `None` without the field, or with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<u64>);

impl FromRequestParts<Arc<Admin>> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Problem> {
        if_match(&parts.headers).ok_or_else(|| {
            let detail = "If-Match is the ETag of the key as it was read, such as \"17\", or *";
            Problem::new(StatusCode::BAD_REQUEST, "malformed-request", detail).field("If-Match", "is not such an ETag")
        })
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            ParameterBuilder::new()
                .name("If-Match")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some("The ETag of what was read: 412 if it has changed since."))
                .schema(Some(text("^(\\*|\"(0|[1-9][0-9]{0,17})\")$")))
                .build(),
        ]
    }
}

fn if_match(headers: &HeaderMap) -> Option<IfMatch> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else { return Some(IfMatch(None)) };
    let value = value.to_str().ok().filter(|_| values.next().is_none())?.trim();
    if value == "*" {
        return Some(IfMatch(None));
    }
    let digits = value.strip_prefix('"')?.strip_suffix('"')?;
    let revision = digits.parse().ok()?;
    // One text for one number: as we wrote it.
    (u64::to_string(&revision) == digits).then_some(IfMatch(Some(revision)))
}

/// Marks a request that waits for nodes: the deadline of requests is not for it.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<AtomicBool>);

impl Waits {
    /// Does it wait?
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `?wait=` of calls that wait for nodes; without it, until the promise holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitFor(pub Wait);

/// The parameters of calls that revoke.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitParameters {
    /// How long to wait for the nodes: `none`, or at most a duration such as `5s`. Without it, until the promise
    /// holds.
    #[param(required = false, pattern = "^(none|0|[0-9]{1,4}(ms|s|m))$", example = "5s")]
    pub wait: Option<String>,
}

impl FromRequestParts<Arc<Admin>> for WaitFor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Problem> {
        let given: WaitParameters = parameters(parts.uri.query().unwrap_or_default())?;
        let wait = wait(given.wait.as_deref())?;
        if let Some(waits) = parts.extensions.get::<Waits>() {
            waits.set();
        }
        Ok(Self(wait))
    }
}

fn wait(given: Option<&str>) -> Result<Wait, Problem> {
    match given {
        None => Ok(Wait::Full),
        Some("none") => Ok(Wait::None),
        Some(text) => humantime::parse_duration(text)
            .map(Wait::AtMost)
            .map_err(|_| Problem::invalid("wait", "expected none or a duration with its unit, such as 5s")),
    }
}

#[cfg(test)]
mod tests;
