//! `keygate completion`: what a shell needs to complete keygate's commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::context::Context;
use super::output::line;
use super::{Exit, Usage};

/// Print a completion script for a shell.
///
/// For bash: `keygate completion bash > /etc/bash_completion.d/keygate`
#[derive(Args)]
pub(super) struct Arguments {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

pub(super) fn run(_: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "keygate", &mut script);
    let script = String::from_utf8(script).map_err(|_| Usage("no script for this shell".to_owned()))?;
    line(script.trim_end_matches('\n'))?;
    Ok(Exit::Done)
}
