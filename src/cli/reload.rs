//! `keygate reload`: asks the running gateway to apply its configuration file, and says what it answered.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::Exit;
use super::context::Context;
use super::output::{self, line};

/// How long the gateway may take to read and apply its configuration.
const PATIENCE: Duration = Duration::from_secs(30);

/// Make the running gateway apply routes, upstreams, limits and the token exchange of its configuration file anew, and
/// read the certificate of the admin plane again.
///
/// No request is dropped. A file that does not hold is refused, the gateway goes on with the old one, and this says
/// why (exit code 1).
#[derive(Args)]
pub(super) struct Arguments {}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    error: Option<String>,
}

pub(super) fn run(context: &Context, _: &Arguments) -> anyhow::Result<Exit> {
    // The file says where the gateway listens; if it does not hold, that is the answer already.
    let config = match context.config() {
        Ok(config) => config,
        Err(refused) => {
            eprintln!("{refused}");
            eprintln!("keygate: the running gateway, if any, goes on with its old configuration");
            return Ok(Exit::Failed);
        }
    };
    let answer = ask(&config.server.run_dir.join("control.sock"))?;
    if !answer.ok {
        let why = answer.error.unwrap_or_else(|| "the gateway did not say why".to_owned());
        bail!("the gateway refused the configuration and goes on with the old one: {why}");
    }
    if context.output.is_json() {
        output::json(&json!({ "ok": true }))?;
    } else {
        line("The gateway has applied its configuration.")?;
    }
    Ok(Exit::Done)
}

fn ask(socket: &Path) -> anyhow::Result<Answer> {
    let mut stream = UnixStream::connect(socket).map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            anyhow::anyhow!("no gateway is running with this configuration (nobody listens on {})", socket.display())
        }
        _ => anyhow::Error::new(e).context(format!("cannot reach the gateway on {}", socket.display())),
    })?;
    let failed = || format!("the gateway on {} did not answer", socket.display());
    stream.set_read_timeout(Some(PATIENCE)).with_context(failed)?;
    stream.write_all(b"reload\n").with_context(failed)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).with_context(failed)?;
    serde_json::from_str(&answer).with_context(failed)
}
