//! Who asks: an operator by the token in `Authorization`, or by the session of a cookie.
//!
//! Endpoints demand a [`Viewer`] or an [`Administrator`], which nothing but a proven credential makes. Tokens are found
//! by their id and compared by digest in constant time; an id that nobody has costs the same. Failures are slowed per
//! address, counted, and audited within bounds. A right token is let in all the same: it cannot be guessed, and whoever
//! fails at an operator's address must not keep the operator out. Requests that a browser may have been tricked into (a
//! cookie, and a method that is not safe) must come from our own page.
//!
//! A credential may end while its request waits for a body or for the store, so whoever waited asks again
//! ([`Caller::still`]) before it acts or hands out what opens a door.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::places::Hold;
use super::problem::{Answer, Problem};
use super::state::{Admin, Connection};
use crate::clock::WallTime;
use crate::credential::{KeyId, OperatorToken, SecretDigest, SessionToken};
use crate::metrics::LoginOutcome;
use crate::store::{Actor, Audit, Operator, OperatorRole, Session, StoreError};

/// A request with this field is one that the page makes by itself: it does not keep a session alive.
pub const BACKGROUND: &str = "x-keygate-background";

/// Sessions are written that often at most, and at least ten times in what is their idle time.
const TOUCH: Duration = Duration::from_mins(1);
/// For writing that. A store that cannot be written can still be read, and so can we.
const TOUCH_TIMEOUT: Duration = Duration::from_secs(1);

const UNPROVEN: &str = "an operator's token is needed: Authorization: Bearer kgo_…, or a session";
const INVALID: &str = "this is not the token of an operator";
const ENDED: &str = "there is no such session, or no longer; log in again";

/// An operator who may see what is no secret.
#[derive(Clone, Debug)]
pub struct Viewer(pub Caller);

/// An operator who may do everything.
#[derive(Clone, Debug)]
pub struct Administrator(pub Caller);

/// Who asks, proven.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub operator: Operator,
    /// From where.
    pub address: IpAddr,
    /// By which session, if by one.
    pub session: Option<Session>,
}

impl Caller {
    /// For audit records.
    #[must_use]
    pub fn actor(&self) -> Actor {
        actor(&self.operator, self.address)
    }

    /// Is what was proven still so? Sessions end with the token of their operator.
    ///
    /// # Errors
    /// 401 if not; when the store fails.
    pub async fn still(&self, admin: &Admin) -> Answer<()> {
        match &self.session {
            None => still(admin, &self.operator).await,
            Some(session) => match admin.lifecycle.store.session(&session.digest).await? {
                Some(_) => Ok(()),
                None => Err(Problem::unauthenticated(ENDED)),
            },
        }
    }
}

/// Has this operator still the token that it had when it was read?
pub(super) async fn still(admin: &Admin, operator: &Operator) -> Answer<()> {
    let now = admin.lifecycle.store.operator(operator.id).await?;
    match now.filter(|now| now.digest.matches(&operator.digest)) {
        Some(_) => Ok(()),
        None => Err(Problem::unauthenticated(INVALID)),
    }
}

/// For audit records.
pub(super) fn actor(operator: &Operator, address: IpAddr) -> Actor {
    Actor { who: format!("operator:{}", operator.id), from: address.to_string() }
}

impl FromRequestParts<Arc<Admin>> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Answer<Self> {
        caller(parts, admin).await.map(Self)
    }
}

impl FromRequestParts<Arc<Admin>> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Answer<Self> {
        let caller = caller(parts, admin).await?;
        if caller.operator.role < OperatorRole::Admin {
            let detail = "this needs an operator with the role admin; you are a viewer";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        Ok(Self(caller))
    }
}

async fn caller(parts: &mut Parts, admin: &Admin) -> Answer<Caller> {
    let caller = proven(parts, admin).await?;
    if let Some(hold) = parts.extensions.get::<Hold>() {
        hold.keep();
    }
    // For whoever waits for the body.
    parts.extensions.insert(caller.clone());
    Ok(caller)
}

async fn proven(parts: &Parts, admin: &Admin) -> Answer<Caller> {
    let connection = connection(parts)?;
    // What is sent on purpose counts before what a browser sends by itself.
    if parts.headers.contains_key(AUTHORIZATION) {
        return bearer(&parts.headers, admin, connection.peer).await;
    }
    let Some(token) = session_token(&parts.headers, connection) else { return Err(Problem::unauthenticated(UNPROVEN)) };
    if !parts.method.is_safe() || is_from_elsewhere(&parts.headers) {
        own_page(&parts.headers, connection, true)?;
    }
    let (session, operator) = session(admin, token.digest(), parts.headers.contains_key(BACKGROUND)).await?;
    Ok(Caller { operator, address: connection.peer, session: Some(session) })
}

/// How the request came.
pub(super) fn connection(parts: &Parts) -> Answer<Connection> {
    parts.extensions.get::<Connection>().copied().ok_or_else(|| {
        tracing::error!("a request came without its connection");
        Problem::internal()
    })
}

async fn bearer(headers: &HeaderMap, admin: &Admin, address: IpAddr) -> Answer<Caller> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthenticated("there are two Authorization fields"));
    };
    let presented = value.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((_, text)) = presented.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(Problem::unauthenticated(UNPROVEN));
    };
    let token = OperatorToken::parse(text.trim()).ok();
    let operator = match &token {
        Some(token) => operator_of(admin, token).await?,
        None => None,
    };
    let Some(operator) = operator else {
        not_too_often(admin, address)?;
        failed(admin, address, token.map(|token| token.id())).await;
        return Err(Problem::unauthenticated(INVALID));
    };
    admin.throttle.succeeded(address);
    Ok(Caller { operator, address, session: None })
}

/// The operator whose token this is.
pub(super) async fn operator_of(admin: &Admin, token: &OperatorToken) -> Result<Option<Operator>, StoreError> {
    let found = admin.lifecycle.store.operator(token.id()).await?;
    let known = found.as_ref().map_or(SecretDigest::ERASED, |operator| operator.digest);
    let holds = known.matches(&token.digest());
    Ok(found.filter(|_| holds))
}

/// Refuses whoever failed too often.
pub(super) fn not_too_often(admin: &Admin, address: IpAddr) -> Answer<()> {
    admin.throttle.check(address, admin.lifecycle.clock.boot()).map_err(|wait| {
        admin.metrics.admin_login(LoginOutcome::Slowed);
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        let detail = format!("too many logins failed from this address; try again in {seconds} s");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", detail)
            .header(RETRY_AFTER, HeaderValue::from(seconds))
    })
}

/// Counts a failure, and audits it within bounds. `id` is the one that was shown, which proves nothing.
pub(super) async fn failed(admin: &Admin, address: IpAddr, id: Option<KeyId>) {
    admin.metrics.admin_login(LoginOutcome::Refused);
    let Some(failures) = admin.throttle.failed(address, admin.lifecycle.clock.boot()).audit else { return };
    let actor = Actor { who: "unknown".to_owned(), from: address.to_string() };
    let audit = Audit {
        actor: &actor,
        at: admin.lifecycle.clock.wall(),
        action: "session.refused",
        subject: id.map(|id| id.to_string()).unwrap_or_default(),
        detail: json!({ "failures": failures }),
    };
    if let Err(error) = admin.lifecycle.store.record(&audit).await {
        tracing::error!(%error, "a refused login could not be audited");
    }
}

/// The session with this digest, if it has not ended. One that has is removed.
async fn session(admin: &Admin, digest: SecretDigest, in_background: bool) -> Answer<(Session, Operator)> {
    let store = &admin.lifecycle.store;
    let now = admin.lifecycle.clock.wall();
    let Some((session, operator)) = store.session(&digest).await? else { return Err(Problem::unauthenticated(ENDED)) };
    if has_ended(&session, admin, now) {
        // It has ended whether or not this can be written.
        if let Err(error) = store.remove_session(&digest, None).await {
            tracing::warn!(%error, "a session that has ended could not be removed");
        }
        return Err(Problem::unauthenticated(ENDED));
    }
    if !in_background && now.since(session.seen_at) >= TOUCH.min(admin.settings.session_idle / 10) {
        match tokio::time::timeout(TOUCH_TIMEOUT, store.touch_session(&digest, now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "that a session is used could not be written"),
            Err(_) => tracing::warn!("writing that a session is used takes too long"),
        }
    }
    Ok((session, operator))
}

/// Also by settings that were shortened since it was opened.
fn has_ended(session: &Session, admin: &Admin, now: WallTime) -> bool {
    now >= session.expires_at.min(session.created_at.plus(admin.settings.session_max))
        || now.since(session.seen_at) >= admin.settings.session_idle
}

/// With TLS under a name that browsers let nobody else set.
pub(super) fn cookie_name(connection: Connection) -> &'static str {
    if connection.has_tls { "__Host-keygate_session" } else { "keygate_session" }
}

/// The session that the cookie names. Two such cookies are none: somebody else set one of them.
pub(super) fn session_token(headers: &HeaderMap, connection: Connection) -> Option<SessionToken> {
    let name = cookie_name(connection);
    let mut ours = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(given, _)| *given == name);
    let (Some((_, value)), None) = (ours.next(), ours.next()) else { return None };
    SessionToken::parse(value)
}

/// Does the browser say that another page made it send this? A neighbour (another port of this host) is sent along with
/// the cookie, and reading the shared secret leaves a record even if the neighbour sees nothing of it.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin" && site != "none")
}

/// Refuses what another site made a browser send. With `needed`, also what does not tell where it is from.
pub(super) fn own_page(headers: &HeaderMap, connection: Connection, needed: bool) -> Answer<()> {
    let text = |value: Option<&HeaderValue>| value.map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    // Two of a field are none of ours.
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = text(values.next());
        if values.next().is_some() { Some("?".to_owned()) } else { value }
    };
    let (origin, site) = (only(ORIGIN.as_str()), only("sec-fetch-site"));
    let host = text(headers.get(HOST)).unwrap_or_default();
    let is_ours = match (site.as_deref(), origin.as_deref()) {
        // The scheme may be another where something in front of us ends TLS; the browser has looked at it.
        (Some("same-origin"), Some(origin)) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin == format!("{}://{host}", connection.scheme()),
        (None, None) => !needed,
    };
    if is_ours {
        return Ok(());
    }
    let detail = "a request with a session must come from keygate's own page (Origin); others send a token";
    Err(Problem::new(StatusCode::FORBIDDEN, "cross-origin", detail))
}

#[cfg(test)]
mod tests;
