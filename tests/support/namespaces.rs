//! Programs in Linux namespaces of their own: needs root, or a system that lets others make them.

use std::process::{Command, Stdio};

/// May `unshare` do this here? If not, says that the test has not looked.
pub fn may_unshare(options: &[&str]) -> bool {
    let mut probe = Command::new("unshare");
    probe.args(options).arg("true").stdin(Stdio::null()).stderr(Stdio::null());
    let may = probe.status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIPPED: unshare {} is not permitted here; nothing was tested", options.join(" "));
    }
    may
}

/// `program arguments command`: the command, run by another program.
pub fn run_by(program: &str, arguments: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        outer.current_dir(directory);
    }
    outer
}
