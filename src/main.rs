//! The `keygate` program: turns what the command line says into an exit code, and nothing else.

use std::process::ExitCode;

use keygate::cli::{self, Environment};

/// Requests allocate in many small pieces on many threads; the system's allocator costs 15 % of a request.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), Environment::of_process()).into()
}
