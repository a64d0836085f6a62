//! Token exchange: the protocol of integrations that do not send their key, but a JWT made of it and of the shared secret,
//! and then the access token that they get for it.
//!
//! Endpoints of the data plane, in front of routing; they work on bytes, and `proxy` reads and writes these. Nothing is
//! remembered of a token. What is remembered is bounded: the JWTs of the last minutes, so that none counts twice
//! (`replay`), and addresses from which nothing but wrong ones came ([`crate::throttle`]).
//!
//! | file | what |
//! |---|---|
//! | `assertion` | is this JWT true: whose, by which secret, of now, for us |
//! | `grant` | the tokens that are given for it, or for a refresh token |
//! | `refusal` | every way to be turned away, and what each is told |
//! | `answer` | the protocol's JSON |
//! | `replay` | JWTs that were seen |
//! | `reading` | how many bodies may be read at a time |
//!
//! What somebody is told depends on what it has proven. Every integration knows the shared secret, so a signature alone
//! proves nothing: the app key's digest must hold too. Never here: a store, a socket, a log.

mod answer;
mod assertion;
mod grant;
mod reading;
mod refusal;
mod replay;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::resolved::TokenExchange;
use crate::fleet::lease::LeaseGate;
use crate::keyring::Keyring;
use crate::metrics::ExchangeOutcome;
use crate::throttle::Throttle;

pub use answer::Answer;
pub use reading::Reading;
pub use refusal::Refusal;

use refusal::Refused;
use replay::Replays;

/// The longest body of a request here, in bytes.
pub const BODY_MAX: usize = 8 * 1024;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A JWT for tokens.
    Token,
    /// A refresh token for the next access token.
    Refresh,
}

/// What all exchanges of a node share, whatever the configuration in force.
pub struct Exchanges {
    keyring: Arc<Keyring>,
    lease: Arc<LeaseGate>,
    clock: Arc<dyn Clock>,
    replays: Replays,
    throttle: Throttle,
    reading: reading::Limit,
}

impl Exchanges {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, lease: Arc<LeaseGate>, clock: Arc<dyn Clock>) -> Self {
        Self {
            keyring,
            lease,
            clock,
            replays: Replays::default(),
            throttle: Throttle::default(),
            reading: reading::Limit::default(),
        }
    }

    /// A place among those whose bodies are waited for; until it is dropped, or gives way.
    pub fn begin(&self, settings: &TokenExchange) -> Reading<'_> {
        self.reading.begin(settings.max_concurrent)
    }

    /// Answers a request with this body.
    pub fn answer(&self, settings: &TokenExchange, endpoint: Endpoint, body: &[u8], client: IpAddr) -> Answer {
        let outcome = match endpoint {
            Endpoint::Token => grant::by_jwt(self, settings, body, client),
            Endpoint::Refresh => grant::by_refresh_token(self, settings, body, client),
        };
        match outcome {
            Ok(granted) => {
                self.throttle.succeeded(client);
                Answer::granted(&granted)
            }
            Err(Refused { refusal, slot }) => Answer { slot, ..Answer::refused(&self.slowed(refusal, client)) },
        }
    }

    /// A refusal as it is told: who proves nothing again and again is told to wait. Somebody at the same address whose
    /// credentials hold is never kept waiting.
    fn slowed(&self, refusal: Refusal, client: IpAddr) -> Refusal {
        if refusal.outcome() != ExchangeOutcome::NotProven {
            return refusal;
        }
        let now = self.clock.boot();
        match self.throttle.check(client, now) {
            Ok(()) => {
                self.throttle.failed(client, now);
                refusal
            }
            Err(wait) => Refusal::Slowed { wait: wait.as_secs() + 1 },
        }
    }
}

impl std::fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchanges").finish_non_exhaustive()
    }
}
