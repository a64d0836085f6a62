//! How a running gateway is told things: signals, and `control.sock` in the run directory.
//!
//! The directory has mode 0700 and is ours: whoever can reach the socket could as well change the configuration.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::reload::Reloader;

/// For one command and its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A command is a word.
const COMMAND_MAX: u64 = 64;

/// The socket, removed when this is dropped.
pub(super) struct ControlSocket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

/// Makes the run directory and the socket in it.
pub(super) fn bind(run_dir: &Path) -> anyhow::Result<ControlSocket> {
    let failed = || format!("cannot make the run directory {}", run_dir.display());
    fs::DirBuilder::new().mode(0o700).recursive(true).create(run_dir).with_context(failed)?;
    let metadata = fs::symlink_metadata(run_dir).with_context(failed)?;
    anyhow::ensure!(metadata.is_dir(), "{} is not a directory", run_dir.display());
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(run_dir, fs::Permissions::from_mode(0o700)).with_context(failed)?;
    }
    let path = run_dir.join("control.sock");
    let failed = || format!("cannot listen on {}", path.display());
    // One that nobody listens on was left by a process that was killed. One that somebody listens on belongs to
    // a gateway with the same configuration: it keeps it, until it ends.
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        anyhow::bail!("{}: another gateway is running with this run directory (server.run_dir)", failed());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(failed),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path).with_context(failed)?;
    listener.set_nonblocking(true).with_context(failed)?;
    Ok(ControlSocket { listener, path })
}

impl ControlSocket {
    /// Answers commands, one connection at a time, for ever.
    pub(super) async fn serve(self, reloader: Arc<Reloader>) {
        let listener = match self.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the control socket does not work; SIGHUP still reloads");
                return;
            }
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // A client that goes silent must not keep others from being heard.
            if tokio::time::timeout(PATIENCE, answer(stream, &reloader)).await.is_err() {
                tracing::warn!("a client of the control socket took too long");
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, reloader: &Reloader) -> io::Result<()> {
    let mut command = String::new();
    let (reading, mut writing) = stream.split();
    BufReader::new(reading.take(COMMAND_MAX)).read_line(&mut command).await?;
    let outcome = match command.trim() {
        "reload" => reloader.reload().await,
        _ => Err("the only command is reload".to_owned()),
    };
    let answer = match outcome {
        Ok(()) => serde_json::json!({ "ok": true }),
        Err(error) => serde_json::json!({ "ok": false, "error": error }),
    };
    writing.write_all(format!("{answer}\n").as_bytes()).await
}

/// Reloads at each SIGHUP. The handler is in place when this returns: a signal that comes early must not end the process.
pub(super) fn on_hangup(reloader: Arc<Reloader>) -> anyhow::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot receive SIGHUP")?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            // Told in the log, whatever it is.
            let _ = reloader.reload().await;
        }
    })
}

/// Resolves at SIGTERM or SIGINT. The handlers are in place when this returns: also as process 1, which has no
/// default ones.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot receive SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot receive SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
