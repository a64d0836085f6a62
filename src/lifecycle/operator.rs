//! Operators: made, given another token, let in by a link, removed. None of it concerns the data plane, so nothing
//! waits for nodes.

use std::time::Duration;

use serde_json::json;

use super::{Lifecycle, Result};
use crate::clock::{Clock, WallTime};
use crate::credential::{KeyId, KeyName, OperatorToken};
use crate::entropy::Entropy;
use crate::store::{Actor, Audit, Operator, OperatorRole, Store, StoreError};

/// For how long a login link is valid at most.
pub const LINK_AT_MOST: Duration = Duration::from_mins(10);

/// Makes an operator with a new token. Beside [`Lifecycle::add_operator`] for whoever has a store and nothing else.
///
/// # Errors
/// [`StoreError::OperatorNameTaken`]; when the store fails.
pub async fn add_operator(
    store: &dyn Store,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    name: &KeyName,
    role: OperatorRole,
    actor: &Actor,
) -> std::result::Result<(Operator, OperatorToken), StoreError> {
    let token = OperatorToken::generate(entropy);
    let operator = Operator {
        id: token.id(),
        name: name.to_string(),
        role,
        digest: token.digest(),
        created_at: clock.wall(),
        last_login: None,
    };
    let audit = Audit {
        actor,
        at: operator.created_at,
        action: "operator.create",
        subject: operator.id.to_string(),
        detail: json!({ "name": operator.name, "role": role }),
    };
    store.insert_operator(&operator, &audit).await?;
    Ok((operator, token))
}

impl Lifecycle {
    /// Makes an operator with a new token. Its name has the form of an API key's.
    ///
    /// # Errors
    /// [`StoreError::OperatorNameTaken`]; when the store fails.
    pub async fn add_operator(
        &self,
        name: KeyName,
        role: OperatorRole,
        actor: &Actor,
    ) -> Result<(Operator, OperatorToken)> {
        Ok(add_operator(&*self.store, &*self.clock, &*self.entropy, &name, role, actor).await?)
    }

    /// Removes an operator; its sessions and login links end.
    ///
    /// # Errors
    /// [`StoreError::NoSuchOperator`], [`StoreError::LastAdmin`]; when the store fails.
    pub async fn remove_operator(&self, id: KeyId, actor: &Actor) -> Result<()> {
        let operator = self.operator(id).await?;
        let detail = json!({ "name": operator.name, "role": operator.role });
        let audit = self.audit(actor, "operator.delete", &id, detail);
        Ok(self.store.remove_operator(id, &audit).await?)
    }

    /// Gives an operator another token; the old one, its sessions and login links end.
    ///
    /// # Errors
    /// [`StoreError::NoSuchOperator`]; when the store fails.
    pub async fn rotate_operator(&self, id: KeyId, actor: &Actor) -> Result<(Operator, OperatorToken)> {
        let operator = self.operator(id).await?;
        let token = OperatorToken::generate_for(id, &*self.entropy);
        let audit = self.audit(actor, "operator.rotate", &id, json!({ "name": operator.name }));
        self.store.rotate_operator(id, token.digest(), &audit).await?;
        Ok((Operator { digest: token.digest(), ..operator }, token))
    }

    /// Makes a one-time token that opens one session of an operator, and says until when. It has an id of its own and
    /// is valid for at most [`LINK_AT_MOST`].
    ///
    /// # Errors
    /// [`StoreError::NoSuchOperator`]; when the store fails.
    pub async fn login_link(&self, id: KeyId, valid_for: Duration, actor: &Actor) -> Result<(OperatorToken, WallTime)> {
        let operator = self.operator(id).await?;
        let token = OperatorToken::generate(&*self.entropy);
        let until = self.clock.wall().plus(valid_for.min(LINK_AT_MOST));
        let detail = json!({ "name": operator.name, "expires_at": until.rfc3339() });
        let audit = self.audit(actor, "login_link.create", &id, detail);
        self.store.insert_login_link(token.digest(), id, until, &audit).await?;
        Ok((token, until))
    }

    async fn operator(&self, id: KeyId) -> Result<Operator> {
        let found = self.store.operator(id).await?;
        Ok(found.ok_or_else(|| StoreError::NoSuchOperator(id.to_string()))?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::FakeClock;
    use crate::entropy::SystemEntropy;
    use crate::lifecycle::{LifecycleError, MasterKeyError, MasterKeys};
    use crate::store::sqlite::{SqliteNodeLocks, SqliteStore};

    async fn lifecycle(directory: &tempfile::TempDir) -> Lifecycle {
        let path = directory.path().join("keygate.db");
        Lifecycle {
            store: Arc::new(SqliteStore::create(&path, "store").await.unwrap()),
            locks: Arc::new(SqliteNodeLocks::new(&path)),
            // Operators need none.
            master: MasterKeys::unavailable(&MasterKeyError::Lost(path)),
            clock: Arc::new(FakeClock::default()),
            entropy: Arc::new(SystemEntropy),
        }
    }

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_operator_is_made_rotated_and_removed_and_each_is_audited() {
        let directory = tempfile::tempdir().unwrap();
        let lifecycle = lifecycle(&directory).await;
        let actor = Actor { who: "cli:test".to_owned(), from: "local".to_owned() };
        let (zoe, token) = lifecycle.add_operator(name("zoe"), OperatorRole::Admin, &actor).await.unwrap();
        assert_eq!(token.id(), zoe.id);
        let again = lifecycle.add_operator(name("zoe"), OperatorRole::Viewer, &actor).await;
        assert!(matches!(again, Err(LifecycleError::Store(StoreError::OperatorNameTaken(name))) if name == "zoe"));

        let (rotated, new) = lifecycle.rotate_operator(zoe.id, &actor).await.unwrap();
        assert_eq!((rotated.id, new.id()), (zoe.id, zoe.id), "who it is stays");
        let stored = lifecycle.store.operator(zoe.id).await.unwrap().unwrap();
        assert!(stored.digest.matches(&new.digest()) && !stored.digest.matches(&token.digest()));

        let last = lifecycle.remove_operator(zoe.id, &actor).await;
        assert!(matches!(last, Err(LifecycleError::Store(StoreError::LastAdmin))));
        lifecycle.add_operator(name("adam"), OperatorRole::Admin, &actor).await.unwrap();
        lifecycle.remove_operator(zoe.id, &actor).await.unwrap();
        let gone = lifecycle.rotate_operator(zoe.id, &actor).await;
        assert!(matches!(gone, Err(LifecycleError::Store(StoreError::NoSuchOperator(_)))));

        let records = lifecycle.store.audit(10).await.unwrap();
        let actions: Vec<_> = records.iter().map(|r| r.action.as_str()).collect();
        assert_eq!(actions, ["operator.delete", "operator.create", "operator.rotate", "operator.create"]);
        assert!(records.iter().all(|r| !r.detail.contains(token.expose()) && !r.detail.contains(new.expose())));
    }

    #[tokio::test]
    async fn a_login_link_opens_one_session_and_not_for_long() {
        let directory = tempfile::tempdir().unwrap();
        let lifecycle = lifecycle(&directory).await;
        let actor = Actor { who: "cli:test".to_owned(), from: "local".to_owned() };
        let (zoe, _) = lifecycle.add_operator(name("zoe"), OperatorRole::Admin, &actor).await.unwrap();
        let (link, until) = lifecycle.login_link(zoe.id, Duration::from_hours(5), &actor).await.unwrap();
        assert_eq!(until, lifecycle.clock.wall().plus(LINK_AT_MOST));
        assert_ne!(link.id(), zoe.id);
        assert!(lifecycle.store.operator(link.id()).await.unwrap().is_none(), "it is no operator's token");
        let now = lifecycle.clock.wall();
        let taken = lifecycle.store.take_login_link(&link.digest(), now).await.unwrap();
        assert_eq!(taken.map(|o| o.id), Some(zoe.id));
        assert!(lifecycle.store.take_login_link(&link.digest(), now).await.unwrap().is_none());
        let (late, until) = lifecycle.login_link(zoe.id, Duration::from_mins(1), &actor).await.unwrap();
        assert!(lifecycle.store.take_login_link(&late.digest(), until).await.unwrap().is_none());
    }
}
