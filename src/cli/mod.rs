//! The command line: what can be said, and which file does it. One file a command.
//!
//! Nothing here decides anything about keys or requests: commands call `lifecycle` for changes, the store for
//! reading and `app` for serving. Called by `main` alone.

mod audit;
mod bundle;
mod check;
mod completion;
mod context;
mod demo;
mod encode;
mod init;
mod inspect;
mod key;
mod master_key;
mod nodes;
mod operator;
mod output;
mod parse;
mod prompt;
mod reload;
mod revision;
mod secret;
mod serve;
mod wait;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;
use context::Context;
pub use context::Environment;
use output::{Format, StdoutClosed, clean};

/// What the process tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed or refused, or a revocation whose promise does not hold yet.
    Failed = 1,
    /// Not a way to call keygate, or a missing `--yes`.
    Usage = 2,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that was not called as it must be: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

const ENVIRONMENT: &str = "\
Environment:
  KEYGATE_CONFIG         configuration file, when --config is not given
  KEYGATE_MASTER_KEY     master key (64 hexadecimal digits); wins over the configured file
  KEYGATE_SHARED_SECRET  shared secret for `encode` and `bundle encode`
  KEYGATE_APP_KEY        app key or old encoded key for the same, or old bundle for the latter
  NO_COLOR               no colours on terminals

Exit codes: 0 done; 1 failed or refused, or a revocation that not every node is sure to follow yet; 2 usage.";

/// A reverse proxy that lets in only requests with a valid API key.
#[derive(Parser)]
#[command(name = "keygate", version, after_help = ENVIRONMENT, propagate_version = true, max_term_width = 110)]
struct Arguments {
    /// Configuration file [default: `KEYGATE_CONFIG`, then keygate.toml].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print results.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Arguments),
    Serve(serve::Arguments),
    Check(check::Arguments),
    /// Make, list and change API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Show or replace the gateway's shared secret.
    #[command(subcommand)]
    Secret(secret::Command),
    Encode(encode::Arguments),
    /// Make the bundles of integrations that exchange tokens, and take them apart.
    #[command(subcommand)]
    Bundle(bundle::Command),
    Inspect(inspect::Arguments),
    Nodes(nodes::Arguments),
    Audit(audit::Arguments),
    /// Who manages keys.
    #[command(subcommand)]
    Operator(operator::Command),
    /// The key that secrets are stored under.
    #[command(subcommand)]
    MasterKey(master_key::Command),
    /// Changes, and whether they are in force.
    #[command(subcommand)]
    Revision(revision::Command),
    Reload(reload::Arguments),
    Demo(demo::Arguments),
    Completion(completion::Arguments),
}

/// Runs one command to its end and says how it went. Errors are one line on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: Environment) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(e) => {
            // A closed terminal must not turn help into a failure.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let context = Context::new(environment, arguments.config, arguments.output);
    execute(&context, arguments.command).unwrap_or_else(|error| report(&error))
}

fn execute(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Init(arguments) => init::run(context, &arguments),
        Command::Serve(arguments) => serve::run(context, &arguments),
        Command::Check(arguments) => check::run(context, &arguments),
        Command::Key(command) => key::run(context, command),
        Command::Secret(command) => secret::run(context, &command),
        Command::Encode(arguments) => encode::run(context, &arguments),
        Command::Bundle(command) => bundle::run(context, &command),
        Command::Inspect(arguments) => inspect::run(context, &arguments),
        Command::Nodes(arguments) => nodes::run(context, &arguments),
        Command::Audit(arguments) => audit::run(context, &arguments),
        Command::Operator(command) => operator::run(context, command),
        Command::MasterKey(command) => master_key::run(context, command),
        Command::Revision(command) => revision::run(context, &command),
        Command::Reload(arguments) => reload::run(context, &arguments),
        Command::Demo(arguments) => demo::run(context, &arguments),
        Command::Completion(arguments) => completion::run(context, &arguments),
    }
}

fn report(error: &anyhow::Error) -> Exit {
    // Whoever reads our output has seen enough (`keygate key list | head -1`).
    if error.is::<StdoutClosed>() {
        return Exit::Done;
    }
    match error.downcast_ref::<ConfigError>() {
        // It names file, line and key itself, on as many lines as it needs.
        Some(config) => eprintln!("{config}"),
        None => eprintln!("keygate: {}", one_line(error)),
    }
    if error.is::<Usage>() { Exit::Usage } else { Exit::Failed }
}

/// The error and its causes, joined by ": "; causes that the error before has named already are left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    clean(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        assert_eq!([Exit::Done as u8, Exit::Failed as u8, Exit::Usage as u8], [0, 1, 2]);
        assert_eq!(report(&Usage("say --yes".to_owned()).into()), Exit::Usage);
        assert_eq!(report(&anyhow::anyhow!("it broke")), Exit::Failed);
        assert_eq!(report(&StdoutClosed.into()), Exit::Done);
    }

    #[test]
    fn causes_are_named_once() {
        let inner = std::io::Error::other("disk full");
        let error = anyhow::Error::new(inner).context("cannot write: disk full").context("no key was made");
        assert_eq!(one_line(&error), "no key was made: cannot write: disk full");
        assert_eq!(one_line(&anyhow::anyhow!("a\x1b[31mb\nc")), "a\\u{1b}[31mb\\nc");
    }

    #[test]
    fn secrets_are_no_arguments() {
        for arguments in [
            vec!["keygate", "encode", "kga_x"],
            vec!["keygate", "inspect", "kga_x"],
            vec!["keygate", "encode", "--secret", "kgs_x"],
            vec!["keygate", "bundle", "encode", "kga_x"],
            vec!["keygate", "bundle", "encode", "--secret", "kgs_x"],
            vec!["keygate", "bundle", "decode", "eyJ1cmwiO"],
        ] {
            let parsed = Arguments::try_parse_from(&arguments);
            assert!(parsed.is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn roles_are_read_in_any_case() {
        for role in ["readonly", "ReadOnly", "ADMIN"] {
            assert!(Arguments::try_parse_from(["keygate", "key", "add", "x", "--role", role]).is_ok());
        }
        assert!(Arguments::try_parse_from(["keygate", "key", "add", "x", "--role", "root"]).is_err());
        assert!(Arguments::try_parse_from(["keygate", "key", "add", "x"]).is_err());
    }
}
