//! A directory with a configuration, a store and a master key, and the command line on it.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::leaks::Secrets;
use super::{Config, Node};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_keygate");

/// A site. Its nodes and commands share one store.
pub struct Site {
    dir: TempDir,
    pub secrets: Arc<Secrets>,
    nodes: AtomicUsize,
}

/// An API key as `key add` told it.
#[allow(clippy::struct_field_names, reason = "an app key is what it is called")]
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub name: String,
    pub encoded: String,
    pub app_key: String,
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.encoded
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}):\n{}", self.stdout))
    }
}

/// The program with nothing of this process's environment that it would read.
pub fn keygate() -> Command {
    let mut command = Command::new(BINARY);
    for name in ["KEYGATE_CONFIG", "KEYGATE_MASTER_KEY", "KEYGATE_SHARED_SECRET", "KEYGATE_APP_KEY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Site {
    /// Writes the configuration and runs `keygate init`.
    pub fn new(config: &Config) -> Self {
        let site = Self::empty();
        site.write_config(config);
        site.cli(&["init"]).expect(0);
        let master_key = std::fs::read_to_string(site.path("master.key")).expect("init makes the master key");
        site.secrets.learn_exactly(master_key.trim());
        site
    }

    /// Only a directory.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("keygate-test-").tempdir().expect("a temporary directory");
        Self { dir, secrets: Arc::default(), nodes: AtomicUsize::new(0) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the configuration of the first node and of the commands.
    pub fn write_config(&self, config: &Config) {
        self.write_config_text(&config.text("run"));
    }

    pub fn write_config_text(&self, text: &str) {
        // Whole or not at all, as an editor would: the gateway may be told to read it at any time.
        std::fs::write(self.path("keygate.toml.new"), text).expect("writes the configuration");
        std::fs::rename(self.path("keygate.toml.new"), self.path("keygate.toml")).expect("puts it in place");
    }

    /// Starts a node; the first with `keygate.toml`.
    pub fn serve(&self) -> Node {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        Node::start(&mut self.command(&["serve"]), self.dir(), number, &self.secrets)
    }

    /// Starts the first node by another command, which ends in `serve`.
    pub fn serve_by(&self, command: &mut Command) -> Node {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        Node::start(command, self.dir(), number, &self.secrets)
    }

    /// Starts one more node on the same store, with its own configuration file and run directory.
    pub fn serve_another(&self, config: &Config) -> Node {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let file = self.path(&format!("keygate-{number}.toml"));
        std::fs::write(&file, config.text(&format!("run-{number}"))).expect("writes the configuration");
        let mut command = keygate();
        command.arg("--config").arg(file).arg("serve").current_dir(self.dir());
        Node::start(&mut command, self.dir(), number, &self.secrets)
    }

    /// A command of the program on this site, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = keygate();
        command.arg("--config").arg(self.path("keygate.toml")).args(args).current_dir(self.dir());
        command
    }

    /// Runs a command to its end. What it prints on stdout may be secret; what it prints on stderr may not.
    pub fn cli(&self, args: &[&str]) -> Done {
        self.run(&mut self.command(args))
    }

    pub fn run(&self, command: &mut Command) -> Done {
        let output = command.output().expect("the program runs");
        self.done(&output)
    }

    /// Runs it with this on its standard input, of which it may read as much as it likes.
    pub fn run_with_stdin(&self, command: &mut Command, input: &str) -> Done {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let written = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        assert!(written.as_ref().err().is_none_or(|e| e.kind() == ErrorKind::BrokenPipe), "{written:?}");
        self.finish(child)
    }

    /// Starts a command whose end is waited for with [`Self::finish`].
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    pub fn finish(&self, child: Child) -> Done {
        self.done(&child.wait_with_output().expect("the command ends"))
    }

    fn done(&self, output: &Output) -> Done {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let done = Done { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        self.secrets.learn(&done.stdout);
        self.secrets.assert_absent("a command's stderr", &output.stderr);
        done
    }

    /// Runs a command that must succeed, with `--output json`.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--output", "json"];
        all.extend_from_slice(args);
        self.cli(&all).expect(0).json()
    }

    #[track_caller]
    pub fn key_add(&self, name: &str, role: &str) -> Key {
        self.key_add_with(name, role, &[])
    }

    #[track_caller]
    pub fn key_add_with(&self, name: &str, role: &str, options: &[&str]) -> Key {
        let mut args = vec!["key", "add", name, "--role", role];
        args.extend_from_slice(options);
        key_in(&self.json(&args))
    }

    /// The current shared secret.
    #[track_caller]
    pub fn shared_secret(&self) -> String {
        text_at(&self.json(&["secret", "show"]), "secret")
    }

    /// `last_login` of a key, as `key list` has it.
    pub fn last_login(&self, id: &str) -> Option<String> {
        self.listed(id)["last_login"].as_str().map(str::to_owned)
    }

    /// A key, as `key list` has it; null if it is not there.
    pub fn listed(&self, id: &str) -> Value {
        let list = self.json(&["key", "list"]);
        let keys = list["api_keys"].as_array().expect("api_keys");
        keys.iter().find(|k| k["id"] == id).cloned().unwrap_or_default()
    }
}

/// The key in an answer of `key add` or `key roll`.
#[track_caller]
pub fn key_in(answer: &Value) -> Key {
    Key {
        id: text_at(answer, "id"),
        name: text_at(answer, "name"),
        encoded: text_at(answer, "encoded_key"),
        app_key: text_at(answer, "app_key"),
    }
}

#[track_caller]
pub fn text_at(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_else(|| panic!("no text {member:?} in {answer}")).to_owned()
}

/// Encodes as the documentation tells integrators to: a shell and openssl, nothing of ours.
pub fn encode_with_openssl(app_key: &str, shared_secret: &str) -> String {
    let version = shared_secret.split('_').nth(1).expect("kgs_<version>_…");
    let rest = app_key.strip_prefix("kga_").expect("an app key");
    let line = format!(
        "P=kg_{version}_{rest}; echo ${{P}}_$(printf %s $P | openssl dgst -sha256 -hmac \"$SHARED_SECRET\" -r | cut -c1-40)"
    );
    let output = Command::new("sh").args(["-c", &line]).env("SHARED_SECRET", shared_secret).output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

impl Drop for Site {
    /// At rest nothing is in the clear, whatever the test did.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for name in ["keygate.db", "keygate.db-wal", "keygate.db-journal"] {
            if let Ok(bytes) = std::fs::read(self.path(name)) {
                self.secrets.assert_absent(name, &bytes);
            }
        }
    }
}
