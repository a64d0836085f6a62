//! `keygate serve`: the gateway itself, until it is told to stop.

use clap::Args;

use super::Exit;
use super::context::Context;

/// Run the gateway.
///
/// Says `{"event":"listening",…}` on standard error when it is ready. SIGTERM or SIGINT: answer what is in flight,
/// then end. SIGHUP: as `keygate reload`.
#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context, _: &Arguments) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let master_keys = context.master_keys(&config)?;
    crate::app::serve(config, master_keys)?;
    Ok(Exit::Done)
}
