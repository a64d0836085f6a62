//! What every command stands on: the environment, the configuration, the store, the master key, who is asking.
//!
//! The one place of the command line that reads the environment.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::output::{Format, Output};
use crate::clock::{Clock, SystemClock};
use crate::config::resolved::{Config, StoreLocation};
use crate::entropy::{Entropy, SystemEntropy};
use crate::lifecycle::{Lifecycle, MasterKeyError, MasterKeys, master_key};
use crate::store::sqlite::{SqliteNodeLocks, SqliteStore};
use crate::store::{Actor, Store};

/// The process's environment as it was at the start, where its program is, and which of its streams are terminals.
pub struct Environment {
    variables: HashMap<OsString, OsString>,
    /// The running program's file; its bare name where the system does not tell.
    pub executable: PathBuf,
    /// Standard input is a terminal.
    pub stdin_is_terminal: bool,
    /// Standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_is_terminal: bool,
}

impl Environment {
    /// Of this process. `main` makes the one.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place where the command line reads the environment")]
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            executable: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("keygate")),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// A variable's value; an empty one counts as unset.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty()).cloned()
    }

    /// Can a person be asked?
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        self.stdin_is_terminal && self.stderr_is_terminal
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables may hold secrets.
        f.debug_struct("Environment").field("variables", &self.variables.len()).finish_non_exhaustive()
    }
}

/// What a command is given.
pub(super) struct Context {
    pub environment: Environment,
    pub output: Output,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    config: PathBuf,
}

impl Context {
    pub(super) fn new(environment: Environment, config: Option<PathBuf>, format: Format) -> Self {
        let config = config
            .or_else(|| environment.variable("KEYGATE_CONFIG").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("keygate.toml"));
        Self {
            output: Output::new(format, &environment),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            environment,
            config,
        }
    }

    /// Where the configuration is (or will be).
    pub(super) fn config_path(&self) -> &PathBuf {
        &self.config
    }

    /// The configuration.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        Ok(crate::config::load(&self.config)?)
    }

    /// The configured store.
    pub(super) async fn store(&self, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
        let StoreLocation::Sqlite(path) = &config.store.location;
        Ok(Arc::new(SqliteStore::open(path).await?))
    }

    /// The master keys of this configuration.
    pub(super) fn master_keys(&self, config: &Config) -> Result<MasterKeys, MasterKeyError> {
        let variable = |name: &str| self.environment.variable(name);
        let loaded = master_key::load(&master_key::source(&config.secrets, &variable)?, &variable);
        let StoreLocation::Sqlite(store) = &config.store.location;
        loaded.map_err(|error| match error {
            // What the store holds was sealed with it: `init` refuses to make another.
            MasterKeyError::Missing(file) if store.exists() => MasterKeyError::Lost(file),
            other => other,
        })
    }

    /// What changes keys and secrets, on the configured store. A missing master key is told when it is needed:
    /// a key can be disabled without one.
    pub(super) async fn lifecycle(&self, config: &Config) -> anyhow::Result<Lifecycle> {
        let store = self.store(config).await?;
        let master = self.master_keys(config).unwrap_or_else(|reason| MasterKeys::unavailable(&reason));
        Ok(self.lifecycle_on(config, store, master))
    }

    /// The same with a store that is open already.
    pub(super) fn lifecycle_on(&self, config: &Config, store: Arc<dyn Store>, master: MasterKeys) -> Lifecycle {
        let StoreLocation::Sqlite(path) = &config.store.location;
        Lifecycle {
            store,
            locks: Arc::new(SqliteNodeLocks::new(path)),
            master,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        }
    }
}

/// Runs a command's asynchronous part on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(work)
}

/// Who is asking, for the audit records.
pub(super) fn actor() -> Actor {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_name(&passwd, uid).map_or_else(|| uid.to_string(), str::to_owned);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    Actor { who: format!("cli:{user}"), from: if host.is_empty() { "local" } else { host }.to_owned() }
}

/// The name of a user id in `/etc/passwd` (passwd(5)). The environment's `USER` could say anything.
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_by_their_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# note\ndaemon:x:1:1::/:/bin/false\n";
        assert_eq!(user_name(passwd, 0), Some("root"));
        assert_eq!(user_name(passwd, 1), Some("daemon"));
        assert_eq!(user_name(passwd, 2), None);
        assert_eq!(user_name("", 0), None);
    }

    #[test]
    fn variables_are_not_printed() {
        let environment = Environment {
            variables: [("KEYGATE_APP_KEY".into(), "kga_secret".into()), ("EMPTY".into(), OsString::new())].into(),
            executable: "keygate".into(),
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: true,
        };
        assert!(!format!("{environment:?}").contains("secret"));
        assert_eq!(environment.variable("KEYGATE_APP_KEY"), Some("kga_secret".into()));
        assert_eq!(environment.variable("EMPTY"), None);
        assert!(!environment.is_interactive());
    }
}
