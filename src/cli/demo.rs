//! `keygate demo`: a gateway in front of a small API of its own, with two keys, a bundle, `curl` lines to try and the
//! page.

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::Exit;
use super::context::{Context, actor, block_on};
use super::init::{self, Made};
use super::output::line;
use crate::admin::state::Origin;
use crate::config::Config;
use crate::credential::{Bundle, KeyName, OperatorToken, Policy, Role};
use crate::fleet::revoke::Wait;
use crate::lifecycle::{Issued, LINK_AT_MOST, Lifecycle, NewApiKey};
use crate::store::OperatorRole;

mod token;
mod upstream;

/// Try keygate: a gateway in front of a small built-in API, with two keys, curl lines that work, and the page.
///
/// Makes everything in a temporary directory, which is removed at the end; Ctrl-C ends it.
#[derive(Args)]
pub(super) struct Arguments {
    /// Keep everything in this directory (made if it is missing), to use other keygate commands on it.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Where the gateway listens; without this, 127.0.0.1:8080 or, if that is busy, a free port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let listen = match arguments.listen {
        Some(given) if given.port() != 0 => {
            // Before anything is made or told. The gateway binds it again in a moment.
            TcpListener::bind(given).with_context(|| format!("cannot listen on {given}"))?;
            given
        }
        Some(given) => free_port(given)?,
        None => free_port(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))?,
    };
    let directory = Directory::make(context, arguments.dir.as_deref())?;
    let upstream = upstream::start()?;
    let file = directory.path.join("keygate.toml");
    let admin = free_port(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)))?;
    let metrics = free_port(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)))?;
    refuse_foreign(&file)?;
    std::fs::write(&file, configuration(listen, upstream, admin, metrics))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let config = crate::config::load(&file)?;
    let made = block_on(prepare(context, &config, admin))?;
    introduce(&made, &config, &directory, &context.environment.executable, listen, metrics)?;
    let master_keys = context.master_keys(&config)?;
    crate::app::serve(config, master_keys)?;
    Ok(Exit::Done)
}

/// Where the demonstration keeps its files. A temporary one goes when this is dropped.
struct Directory {
    path: PathBuf,
    is_temporary: bool,
}

impl Directory {
    fn make(context: &Context, given: Option<&Path>) -> anyhow::Result<Self> {
        let is_temporary = given.is_none();
        let path = given.map_or_else(
            || {
                let parent =
                    context.environment.variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
                parent.join(format!("keygate-demo-{}", context.entropy.hex128()))
            },
            Path::to_owned,
        );
        // A temporary one must be new: its name was drawn, so whatever is there is somebody else's.
        let made = DirBuilder::new().mode(0o700).recursive(!is_temporary).create(&path);
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Self { path, is_temporary })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to the system's own cleaning of temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// This address, or the same with a port that is free now.
fn free_port(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(wanted)
        .or_else(|_| TcpListener::bind(SocketAddr::new(wanted.ip(), 0)))
        .with_context(|| format!("cannot listen on {}", wanted.ip()))?;
    Ok(listener.local_addr()?)
}

/// What the configuration of a demonstration begins with.
const MARK: &str = "# Written by `keygate demo`, anew at each start.\n";

/// Somebody's own gateway must not become a demonstration.
fn refuse_foreign(file: &Path) -> anyhow::Result<()> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.starts_with(MARK) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) => anyhow::bail!("{} is not of a demonstration; choose another directory", file.display()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn configuration(listen: SocketAddr, upstream: SocketAddr, admin: SocketAddr, metrics: SocketAddr) -> String {
    format!(
        r#"{MARK}
[server]
listen = ["{listen}"]

[[upstream]]
name = "api"
servers = ["{upstream}"]

[[route]]
path = "/"
upstream = "api"

[[route.rule]]                # a POST that only reads: READONLY keys may
methods = ["POST"]
path = "/search"
role = "READONLY"

[[route]]
path = "/public"
upstream = "api"
access = "public"

[token_exchange]
url = "http://{listen}"
shortname = "demo"

[store]
url = "sqlite:keygate.db"

[secrets]
master_key_file = "master.key"

[admin]
listen = "{admin}"

[metrics]
listen = "{metrics}"

[log]
access = "off"
level = "warn"
"#
    )
}

/// How far ahead of the clock the demonstration's JWT is dated. A gateway takes one that is 300 s off, either way: so
/// it is good for about as long as the link to the page.
const AHEAD: Duration = Duration::from_secs(290);

/// What there is to try.
struct Prepared {
    reader: Issued,
    admin: Issued,
    /// What an integration makes of the reader's bundle.
    jwt: String,
    /// The page.
    origin: Origin,
    /// Opens it once.
    login: OperatorToken,
}

/// A READONLY and an ADMIN key; ones that an earlier run made get new app keys. And a way into the page.
async fn prepare(context: &Context, config: &Config, page: SocketAddr) -> anyhow::Result<Prepared> {
    init::prepare(context, config, &mut Made::default()).await?;
    let lifecycle = context.lifecycle(config).await?;
    let reader = issue(&lifecycle, config, "demo-reader", Role::ReadOnly).await?;
    let admin = issue(&lifecycle, config, "demo-admin", Role::Admin).await?;
    let bundle = Bundle::decode(reader.bundle.as_deref().map_or("", String::as_str))?;
    let jwt = token::jwt(&bundle, context.clock.wall().plus(AHEAD), &context.entropy.hex128());
    let operators = lifecycle.store.operators().await?;
    let operator = operators.into_iter().find(|operator| operator.role == OperatorRole::Admin);
    let operator = operator.context("there is no operator with the role admin")?;
    let (login, _) = lifecycle.login_link(operator.id, LINK_AT_MOST, &actor()).await?;
    Ok(Prepared { reader, admin, jwt, origin: Origin::of(page, false), login })
}

async fn issue(lifecycle: &Lifecycle, config: &Config, name: &str, role: Role) -> anyhow::Result<Issued> {
    let (actor, exchange) = (actor(), config.token_exchange.as_ref());
    if let Some((key, _)) = lifecycle.store.key_named(name).await? {
        return Ok(lifecycle.roll(key.id, None, exchange, &actor, Wait::Full).await?);
    }
    let name: KeyName = name.parse()?;
    let description = "made by keygate demo".to_owned();
    let new = NewApiKey { name, description, role, policy: Policy::default() };
    Ok(lifecycle.create(new, exchange, &actor).await?)
}

fn introduce(
    made: &Prepared,
    config: &Config,
    directory: &Directory,
    program: &Path,
    listen: SocketAddr,
    metrics: SocketAddr,
) -> anyhow::Result<()> {
    let url = format!("http://{listen}");
    let (reader, admin) = (&*made.reader.encoded_key, &*made.admin.encoded_key);
    let page = made.origin.login_link(made.login.expose());
    let file = directory.path.join("keygate.toml");
    let gone = if directory.is_temporary { " and removes its files" } else { "" };
    line(&format!(
        "\
keygate listens on {url} in a moment, in front of a small API that says what reached it.

The page      {origin}
  This link logs in, once, within 10 minutes:
  {page}

READONLY key  {reader}
ADMIN key     {admin}
Bundle        {bundle}
  of the READONLY key, for integrations that exchange a signed token for an access token

# 401: no key
curl -i {url}/hello
# 200
curl -i -H 'X-API-Key: {reader}' {url}/hello
# 403: a READONLY key may not write
curl -i -H 'Authorization: Bearer {reader}' -d name=tea {url}/items
# 201
curl -i -H 'Authorization: Bearer {admin}' -d name=tea {url}/items
# 200: a rule of the route says that this POST only reads
curl -i -H 'Authorization: Bearer {reader}' -d q=tea {url}/search
# 200: an access token, for a JWT that is signed with the bundle; once, within 9 minutes. It is sent as a key is
curl -i {url}{exchange} -d '{{\"jwt\":\"{jwt}\"}}'
# 200: a public route
curl -i {url}/public/hello
# metrics
curl -s http://{metrics}/metrics | grep ^keygate_

# From another terminal: last logins, and the end of every key at once
{program} --config {file} key list
{program} --config {file} secret regenerate

Ctrl-C ends it{gone}.",
        bundle = made.reader.bundle.as_deref().map_or("", String::as_str),
        exchange = config.token_exchange.as_ref().map_or("", |exchange| &exchange.path),
        jwt = made.jwt,
        origin = made.origin,
        program = for_shell(program),
        file = for_shell(&file),
    ))
}

/// A path as a shell reads it back.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',' | ':' | '@');
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(for_shell(Path::new("/opt/keygate-1.0/keygate")), "/opt/keygate-1.0/keygate");
        assert_eq!(for_shell(Path::new("/home/o'neil/my keys/x.toml")), r"'/home/o'\''neil/my keys/x.toml'");
    }
}
