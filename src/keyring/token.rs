//! **HOT** From a presented access or refresh token to a proven key: one MAC at every use, nothing remembered.

use super::{Keyring, NotProven, Verdict};
use crate::clock::Clock;
use crate::credential::{Claims, KeyState, Token, TokenKind};

impl Keyring {
    /// Verifies a presented token. Epoch, state and expiry are read from the slot at every call. Beside a proven key stands
    /// what the token says.
    pub fn verify_token(&self, kind: TokenKind, presented: &[u8], clock: &dyn Clock) -> (Verdict<'_>, Option<Claims>) {
        let not_proven = |reason| (Verdict::NotProven(reason), None);
        let Some(token) = Token::parse(kind, presented) else { return not_proven(NotProven::Malformed) };
        let claims = token.claims;
        let Some(found) = self.find(claims.id) else { return not_proven(NotProven::Unknown) };
        if found.record.state == KeyState::Deleted {
            return not_proven(NotProven::Unknown);
        }
        let generations = self.generations.load();
        let Some(generations) = generations.as_ref() else { return not_proven(NotProven::Unknown) };
        let Some(generation) = generations.in_force(claims.version, || clock.wall_coarse()) else {
            return not_proven(NotProven::Outdated);
        };
        if !generation.signing().is_some_and(|key| token.mac_holds(key)) {
            return not_proven(NotProven::Forged);
        }
        let now = clock.wall_coarse();
        let verdict = if found.record.state == KeyState::Disabled {
            Verdict::Disabled(found)
        } else if found.record.expires_at().is_some_and(|at| at <= now) {
            Verdict::Expired(found)
        } else if found.record.epoch != claims.epoch {
            Verdict::TokenRevoked(found)
        } else if claims.is_over(now) {
            Verdict::TokenExpired(found)
        } else {
            Verdict::Proven(found, claims.version)
        };
        (verdict, Some(claims))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::clock::{BootTime, FakeClock, WallTime};
    use crate::credential::{AppKey, KeyId, Policy, Role, SharedSecret, SigningKey};
    use crate::entropy::SystemEntropy;
    use crate::keyring::{Generation, Generations, Record};

    struct Rig {
        keyring: Keyring,
        clock: FakeClock,
        id: KeyId,
        app_key: AppKey,
    }

    fn version(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn signing(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32]).unwrap()
    }

    fn generation(n: u8) -> Generation {
        Generation::new(&SharedSecret::generate(version(n.into()), &SystemEntropy), Some(&signing(n)))
    }

    impl Rig {
        fn new() -> Self {
            let id = KeyId::draw(&SystemEntropy);
            let rig = Self {
                keyring: Keyring::new(&SystemEntropy),
                clock: FakeClock::at(BootTime::ZERO, WallTime::from_millis(100_000)),
                id,
                app_key: AppKey::generate(id, &SystemEntropy),
            };
            rig.put(KeyState::Active, 3, None);
            rig.keyring.set_generations(Generations::new(generation(1), None));
            rig
        }

        fn put(&self, state: KeyState, epoch: u32, expires_at: Option<WallTime>) {
            let policy = expires_at.map(|_| Box::new(Policy { expires_at, ..Policy::default() }));
            let digest = self.app_key.digest();
            let record = Record { epoch, role: Role::ReadOnly, state, digest, name: "a".into(), policy };
            self.keyring.put(self.id, record).unwrap();
        }

        fn claims(&self, by: u32) -> Claims {
            Claims { version: version(by), id: self.id, epoch: 3, end: 200 }
        }

        fn verdict(&self, claims: Claims, key: &SigningKey) -> String {
            let text = claims.sign(TokenKind::Access, &key.mac_key());
            let (verdict, _) = self.keyring.verify_token(TokenKind::Access, text.as_bytes(), &self.clock);
            let debug = format!("{verdict:?}");
            debug.split("Found").next().unwrap_or_default().to_owned()
        }
    }

    #[test]
    fn a_token_holds_until_its_end_and_no_longer() {
        let rig = Rig::new();
        assert_eq!(rig.verdict(rig.claims(1), &signing(1)), "Proven(");
        rig.clock.advance(Duration::from_secs(99));
        assert_eq!(rig.verdict(rig.claims(1), &signing(1)), "Proven(");
        rig.clock.advance(Duration::from_secs(1));
        assert_eq!(rig.verdict(rig.claims(1), &signing(1)), "TokenExpired(");
    }

    #[test]
    fn it_dies_with_its_generation_its_epoch_and_its_key() {
        let rig = Rig::new();
        let token = || rig.verdict(rig.claims(1), &signing(1));
        rig.put(KeyState::Active, 4, None);
        assert_eq!(token(), "TokenRevoked(");
        rig.put(KeyState::Disabled, 4, None);
        assert_eq!(token(), "Disabled(");
        rig.put(KeyState::Active, 3, Some(WallTime::from_millis(100_000)));
        assert_eq!(token(), "Expired(");
        rig.put(KeyState::Deleted, 3, None);
        assert_eq!(token(), "NotProven(Unknown)");
        rig.put(KeyState::Active, 3, None);
        assert_eq!(token(), "Proven(");
        let grace = Some((generation(1), WallTime::from_millis(150_000)));
        rig.keyring.set_generations(Generations::new(generation(2), grace));
        assert_eq!(token(), "Proven(");
        rig.clock.advance(Duration::from_secs(50));
        assert_eq!(token(), "NotProven(Outdated)");
        assert_eq!(rig.verdict(rig.claims(2), &signing(2)), "Proven(");
    }

    #[test]
    fn no_other_key_signs() {
        let rig = Rig::new();
        assert_eq!(rig.verdict(rig.claims(1), &signing(2)), "NotProven(Forged)");
        let secret = SharedSecret::generate(version(1), &SystemEntropy);
        rig.keyring.set_generations(Generations::new(Generation::new(&secret, Some(&signing(1))), None));
        let text = rig.claims(1).sign(TokenKind::Access, &secret.mac_key());
        let (verdict, claims) = rig.keyring.verify_token(TokenKind::Access, text.as_bytes(), &rig.clock);
        assert!(matches!(verdict, Verdict::NotProven(NotProven::Forged)), "the shared secret signs no token");
        assert_eq!(claims, None);
        rig.keyring.set_generations(Generations::new(Generation::new(&secret, None), None));
        assert_eq!(rig.verdict(rig.claims(1), &signing(1)), "NotProven(Forged)");
        let stranger = Claims { id: KeyId::draw(&SystemEntropy), ..rig.claims(1) };
        assert_eq!(rig.verdict(stranger, &signing(1)), "NotProven(Unknown)");
    }
}
