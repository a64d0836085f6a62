//! Fills a store for the benches: makes many API keys with keygate's own library, in one process.
//!
//! `make_keys CONFIG COUNT [NAME]` makes ADMIN keys, `<NAME>-0000000` and on, in the store of a configuration that
//! `keygate init` has prepared, and prints one line a key, `<id> <encoded key>`, to standard output. Started by
//! `run.py` and `instructions.py` before a gateway runs on that store; never for a store that anybody uses.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use keygate::clock::SystemClock;
use keygate::config;
use keygate::config::resolved::StoreLocation;
use keygate::credential::{Policy, Role};
use keygate::entropy::SystemEntropy;
use keygate::lifecycle::{Lifecycle, NewApiKey, master_key};
use keygate::store::Actor;
use keygate::store::sqlite::{SqliteNodeLocks, SqliteStore};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: make_keys CONFIG COUNT [NAME]";
    let mut arguments = std::env::args().skip(1);
    let (file, count) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?.parse::<u32>()?);
    let prefix = arguments.next().unwrap_or_else(|| "bench".to_owned());

    let config = config::load(Path::new(&file))?;
    let StoreLocation::Sqlite(path) = &config.store.location;
    // The master key is in the file that `init` has made; nothing is taken from the environment.
    let variable = |_: &str| None;
    let lifecycle = Lifecycle {
        store: Arc::new(SqliteStore::open(path).await?),
        locks: Arc::new(SqliteNodeLocks::new(path)),
        master: master_key::load(&master_key::source(&config.secrets, &variable)?, &variable)?,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let actor = Actor { who: "system".to_owned(), from: "local".to_owned() };

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let new = NewApiKey {
            name: format!("{prefix}-{number:07}").parse()?,
            description: String::new(),
            role: Role::Admin,
            policy: Policy::default(),
        };
        let issued = lifecycle.create(new, None, &actor).await?;
        writeln!(out, "{} {}", issued.key.id, *issued.encoded_key)?;
    }
    out.flush()?;
    Ok(())
}
