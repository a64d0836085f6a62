//! The protocol's JSON answers, ready to be written.

use serde_json::json;
use zeroize::Zeroizing;

use super::grant::Granted;
use super::refusal::Refusal;
use crate::metrics::ExchangeOutcome;

/// What a request is answered with.
#[derive(Debug)]
pub struct Answer {
    /// Status code; 0: nobody is there to be answered.
    pub status: u16,
    /// `application/json`.
    pub body: Body,
    /// What it is counted as.
    pub outcome: ExchangeOutcome,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// The connection must be closed.
    pub closes: bool,
    /// The slot of the key that has proven itself.
    pub slot: Option<u32>,
}

/// The text of an answer, which may hold tokens.
pub struct Body(Zeroizing<String>);

impl Body {
    /// To be written to the client, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body(…)")
    }
}

impl Answer {
    pub(super) fn granted(granted: &Granted) -> Self {
        // Tokens have letters, digits and underscores only, as have the other texts: nothing needs escaping, and no copy of
        // a token is left behind in a tree of values.
        let mut body = Zeroizing::new(String::with_capacity(512));
        let texts = [
            ("{\"access_token\":\"", granted.access_token.as_str()),
            ("\",\"token_type\":\"bearer\",\"expires_in\":", &granted.expires_in.to_string()),
            (",\"refresh_token\":\"", &granted.refresh_token),
            ("\",\"refresh_expires_in\":", &granted.refresh_expires_in.to_string()),
            (",\"not-before-policy\":0,\"session-state\":\"", &granted.session_state),
            ("\",\"scope\":\"", granted.role.as_str()),
            ("\"}\n", ""),
        ];
        for (name, value) in texts {
            body.push_str(name);
            body.push_str(value);
        }
        Self {
            status: 200,
            body: Body(body),
            outcome: ExchangeOutcome::Granted,
            retry_after: None,
            closes: false,
            slot: Some(granted.slot),
        }
    }

    /// No answer: the client has gone.
    #[must_use]
    pub fn none() -> Self {
        let body = Body(Zeroizing::new(String::new()));
        Self { status: 0, body, outcome: ExchangeOutcome::Gone, retry_after: None, closes: true, slot: None }
    }

    /// The answer to what is refused.
    #[must_use]
    pub fn refused(refusal: &Refusal) -> Self {
        let (status, name) = refusal.status();
        let body = format!("{}\n", json!({ "status": status, "name": name, "message": refusal.message() }));
        Self {
            status,
            body: Body(Zeroizing::new(body)),
            outcome: refusal.outcome(),
            retry_after: refusal.retry_after(),
            closes: refusal.poisons_connection(),
            slot: None,
        }
    }

    /// Header fields beside those of every answer.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let retry = self.retry_after.map(|seconds| ("Retry-After", seconds.to_string()));
        // RFC 9110, section 11.6.1: every 401 has a challenge.
        let challenge = (self.status == 401).then(|| ("WWW-Authenticate", "Bearer realm=\"keygate\"".to_owned()));
        let allow = (self.status == 405).then(|| ("Allow", "POST".to_owned()));
        [retry, challenge, allow].into_iter().flatten()
    }
}
