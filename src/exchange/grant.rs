//! The tokens that are given for a JWT or a refresh token.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Exchanges;
use super::assertion::{self, Proven};
use super::refusal::{Refusal, Refused};
use super::replay::Seen;
use crate::clock::WallTime;
use crate::config::resolved::TokenExchange;
use crate::credential::jwt::Jwt;
use crate::credential::{Claims, MacKey, Role, Token, TokenKind, json};
use crate::keyring::{Found, NotProven, Verdict};

/// Tokens, and what is said of them.
pub(super) struct Granted {
    pub(super) access_token: Zeroizing<String>,
    /// In seconds.
    pub(super) expires_in: u32,
    pub(super) refresh_token: Zeroizing<String>,
    /// In seconds.
    pub(super) refresh_expires_in: u32,
    /// A UUID, the same for all that comes of one exchange.
    pub(super) session_state: String,
    pub(super) role: Role,
    /// Of the key.
    pub(super) slot: u32,
}

#[derive(Deserialize)]
struct TokenRequest {
    jwt: Zeroizing<String>,
}

#[derive(Deserialize)]
struct RefreshRequest {
    refresh_token: Zeroizing<String>,
}

/// Tokens for a JWT: `{"jwt": "…"}`.
pub(super) fn by_jwt(
    exchanges: &Exchanges,
    settings: &TokenExchange,
    body: &[u8],
    client: IpAddr,
) -> Result<Granted, Refused> {
    let request: TokenRequest = json::object(body)
        .ok_or(Refusal::Malformed("The body must be a JSON object with the text member jwt, each member once."))?;
    let entry = exchanges.lease.enter();
    let now = exchanges.clock.wall();
    let checked = Jwt::parse(request.jwt.as_bytes()).map_err(|_| Refusal::NotProven.into()).and_then(|jwt| {
        let proven = assertion::prove(exchanges, &jwt, now)?;
        let slot = proven.found.index;
        let checked = assertion::check(settings, &proven.found.record, &jwt.claims, client, now);
        let (id, issued_at) = checked.map_err(|refusal| refusal.of(slot))?;
        Ok::<_, Refused>((proven, id.to_owned(), issued_at))
    });
    // After the verification, as for every request: without a lease nothing is said about keys, good or bad.
    if !exchanges.lease.holds(entry, exchanges.clock.boot()) {
        return Err(Refusal::NoLease.into());
    }
    let (Proven { found, version, grace_end, signing }, id, issued_at) = checked?;
    let noted = exchanges.replays.note(found.index, &id, issued_at, now.as_millis() / 1000);
    noted.map_err(|seen| {
        let refusal = match seen {
            Seen::Before => Refusal::Replayed,
            Seen::TooMany { wait } => Refusal::TooMany { wait },
            Seen::Full => Refusal::Busy,
        };
        refusal.of(found.index)
    })?;
    let end = earliest(now, settings.refresh_lifetime, &[found.record.expires_at(), grace_end]);
    let session = Session { found: &found, version, end, grace_end, signing: &signing };
    Ok(session.grant(exchanges, settings, now, client))
}

/// The next access token for a refresh token: `refresh_token=…` as a form, or as JSON.
pub(super) fn by_refresh_token(
    exchanges: &Exchanges,
    settings: &TokenExchange,
    body: &[u8],
    client: IpAddr,
) -> Result<Granted, Refused> {
    let presented =
        refresh_token(body).ok_or(Refusal::Malformed("The body must be a form with the field refresh_token, once."))?;
    let entry = exchanges.lease.enter();
    let now = exchanges.clock.wall();
    let (verdict, claims) =
        exchanges.keyring.verify_token(TokenKind::Refresh, presented.trim().as_bytes(), &*exchanges.clock);
    if !exchanges.lease.holds(entry, exchanges.clock.boot()) {
        return Err(Refusal::NoLease.into());
    }
    let found = match verdict {
        Verdict::Proven(found, _) => found,
        Verdict::Disabled(found) => return Err(Refusal::KeyDisabled.of(found.index)),
        Verdict::Expired(found) => return Err(Refusal::KeyExpired.of(found.index)),
        Verdict::TokenExpired(found) | Verdict::TokenRevoked(found) => {
            return Err(Refusal::SessionEnded.of(found.index));
        }
        Verdict::NotProven(NotProven::Outdated) => return Err(Refusal::OutdatedToken.into()),
        Verdict::NotProven(_) | Verdict::Stale { .. } => return Err(Refusal::NotProven.into()),
    };
    let claims = claims.ok_or(Refusal::NotProven)?;
    if !assertion::allows(&found.record, client) {
        return Err(Refusal::NetworkNotAllowed.of(found.index));
    }
    let generations = exchanges.keyring.generations();
    let generations = generations.as_ref().ok_or(Refusal::NoLease)?;
    // It was in force a moment ago; if a regeneration came in between, the token died with it.
    let generation = generations.in_force(claims.version, || now).ok_or(Refusal::NotProven)?;
    let signing = generation.signing().ok_or(Refusal::NoSigningKey)?;
    let (version, grace_end) = (claims.version, generations.grace_end(claims.version));
    let session = Session { found: &found, version, end: claims.end, grace_end, signing };
    Ok(session.grant(exchanges, settings, now, client))
}

/// One form field, or one member of a JSON object.
fn refresh_token(body: &[u8]) -> Option<Zeroizing<String>> {
    let token = if body.trim_ascii_start().first() == Some(&b'{') {
        json::object::<RefreshRequest>(body)?.refresh_token
    } else {
        let mut values = form_urlencoded::parse(body).filter(|(name, _)| name == "refresh_token");
        let value = Zeroizing::new(values.next()?.1.into_owned());
        values.next().is_none().then_some(value)?
    };
    (!token.is_empty()).then_some(token)
}

/// What comes of one exchange, until its end.
struct Session<'a> {
    found: &'a Found<'a>,
    version: NonZeroU32,
    /// In seconds since 1970.
    end: u32,
    grace_end: Option<WallTime>,
    signing: &'a MacKey,
}

impl Session<'_> {
    fn grant(&self, exchanges: &Exchanges, settings: &TokenExchange, now: WallTime, client: IpAddr) -> Granted {
        let ends = [self.found.record.expires_at(), self.grace_end];
        let end = earliest(now, settings.access_lifetime, &ends).min(self.end);
        let claims = Claims { version: self.version, id: self.found.slot.id(), epoch: self.found.record.epoch, end };
        let refresh_token = Claims { end: self.end, ..claims }.sign(TokenKind::Refresh, self.signing);
        exchanges.keyring.news.admitted(self.found.index, &self.found.slot.usage, now, client);
        let now = seconds(now);
        Granted {
            access_token: claims.sign(TokenKind::Access, self.signing),
            expires_in: claims.end.saturating_sub(now),
            session_state: self.state(&refresh_token),
            refresh_token,
            refresh_expires_in: self.end.saturating_sub(now),
            role: self.found.record.role,
            slot: self.found.index,
        }
    }

    /// A UUID that belongs to the refresh token without telling it: version 8 of RFC 9562, section 5.8, from a MAC.
    fn state(&self, refresh_token: &str) -> String {
        let name = Token::parse(TokenKind::Refresh, refresh_token.as_bytes()).map_or(&b""[..], |token| token.name());
        let mac = self.signing.mac(&[b"session-state ", name].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&mac[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        let mut text = String::with_capacity(36);
        for (at, digit) in hex.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    }
}

/// After this time, or before it where something else ends: in seconds since 1970.
fn earliest(now: WallTime, lifetime: Duration, others: &[Option<WallTime>]) -> u32 {
    let end = others.iter().flatten().copied().fold(now.plus(lifetime), WallTime::min);
    seconds(end)
}

/// Whole seconds since 1970, until 2106.
fn seconds(time: WallTime) -> u32 {
    u32::try_from(time.as_millis() / 1000).unwrap_or(u32::MAX)
}
