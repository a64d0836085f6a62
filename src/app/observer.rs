//! From what the fleet and the flusher tell to metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::{KeyState, Role};
use crate::fleet::lease::{Alarm, LeaseGate};
use crate::fleet::member::{self, Operation};
use crate::keyring::Keyring;
use crate::metrics::{self, Metrics, StoreOperation};
use crate::usage::flush;

/// See the module's text.
pub(super) struct Observer(pub Arc<Metrics>);

impl member::Observer for Observer {
    fn applied(&self, revision: u64, took: Duration) {
        self.0.keyring_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.0.revocation_applied(took);
    }

    fn alarm(&self, alarm: Alarm) {
        self.0.alarm(match alarm {
            Alarm::ChangeIdMismatch => metrics::Alarm::ChangeIdMismatch,
            Alarm::RevisionBehind => metrics::Alarm::RevisionBehind,
            Alarm::UnknownChange => metrics::Alarm::UnknownChange,
        });
    }

    fn store_error(&self, operation: Operation) {
        self.0.store_error(match operation {
            Operation::Load => StoreOperation::Load,
            Operation::Changes => StoreOperation::Changes,
            Operation::Join => StoreOperation::Join,
            Operation::Renew => StoreOperation::Renew,
            Operation::Confirm => StoreOperation::Confirm,
            Operation::Seen => StoreOperation::Seen,
        });
    }
}

impl flush::Observer for Observer {
    fn state(&self, pending: usize, lag: Duration) {
        self.0.usage_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        self.0.usage_flush_lag.set(lag.as_secs_f64());
    }

    fn failed(&self) {
        self.0.usage_flush_failures.inc();
        self.0.store_error(StoreOperation::Usage);
    }
}

/// Sets the gauges that nobody sets as they change.
pub(super) fn refresh(metrics: &Metrics, keyring: &Keyring, lease: &LeaseGate, clock: &dyn Clock) {
    let census = keyring.census();
    for role in [Role::ReadOnly, Role::Admin] {
        for state in [KeyState::Active, KeyState::Disabled] {
            let keys = census.get(role as usize).and_then(|states| states.get(state as usize)).copied().unwrap_or(0);
            metrics.set_api_keys(role, state, usize::try_from(keys).unwrap_or(usize::MAX));
        }
    }
    metrics.shared_secret_version.set(i64::from(keyring.secret_version().unwrap_or(0)));
    metrics.lease_remaining.set(lease.deadline().since(clock.boot()).as_secs_f64());
}
