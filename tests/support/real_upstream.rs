//! Real servers as upstreams, each of which reports what it saw: nginx, Apache httpd, HAProxy, Python's http.server,
//! Node. Their configurations and the form of a report are in tests/corpus/servers. Debian's packages, which
//! `.ci/install.sh test` brings; started without privileges, in the foreground, on an address of this process's own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::corpus;
use super::wait_for;

/// `nobody` of every Debian.
const NOBODY: u32 = 65534;
/// How long a server may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Apache2,
    HaProxy,
    Python,
    Node,
}

impl Kind {
    /// As in `refused_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache2 => "apache2",
            Self::HaProxy => "haproxy",
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// Debian's own, whatever else is on the path.
    fn command(self, dir: &Path, address: SocketAddr) -> Command {
        let at = |name: &str| dir.join(name);
        let (program, arguments) = match self {
            Self::Nginx => (
                "/usr/sbin/nginx",
                vec!["-p".into(), at(""), "-e".into(), at("error.log"), "-c".into(), at("nginx.conf")],
            ),
            Self::Apache2 => ("/usr/sbin/apache2", vec!["-X".into(), "-f".into(), at("apache2.conf")]),
            Self::HaProxy => ("/usr/sbin/haproxy", vec!["-db".into(), "-f".into(), at("haproxy.cfg")]),
            Self::Python => ("/usr/bin/python3", vec![at("server.py")]),
            Self::Node => ("/usr/bin/node", vec![at("server.js")]),
        };
        assert!(Path::new(program).exists(), "{program} is not there: run .ci/install.sh test");
        let mut command = Command::new(program);
        command.args(arguments);
        if matches!(self, Self::Python | Self::Node) {
            command.arg(address.ip().to_string()).arg(address.port().to_string()).arg(at("reports"));
        }
        command
    }
}

/// What a server says of one request.
#[derive(Clone, Debug)]
pub struct Report {
    /// The request line; empty where the server does not tell.
    pub line: Vec<u8>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the decoded body.
    pub body: usize,
    /// The body came to its end, and the server answered.
    pub complete: bool,
}

/// A running server; ends when dropped.
pub struct RealUpstream {
    pub address: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl RealUpstream {
    pub fn start(kind: Kind) -> Self {
        let dir = tempfile::Builder::new().prefix("keygate-upstream-").tempdir().expect("a temporary directory");
        let address = own_address();
        write_files(dir.path(), address);
        let mut command = kind.command(dir.path(), address);
        let log = File::create(dir.path().join("out")).expect("a file for its output");
        command.current_dir(dir.path()).stdin(Stdio::null()).stderr(log.try_clone().expect("a handle")).stdout(log);
        if geteuid().is_root() {
            give_away(dir.path());
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().expect("the server starts");
        let mut upstream = Self { address, dir, child };
        wait_for("the server listens", || {
            let ended = upstream.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{kind:?} ended: {}", upstream.said());
            TcpStream::connect(address).is_ok()
        });
        upstream
    }

    /// What it printed and logged.
    pub fn said(&self) -> String {
        ["out", "error.log"]
            .map(|name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }

    /// Ends it, and gives all that it reported. To be called when nobody asks it anything any more.
    pub fn finish(mut self) -> Vec<Report> {
        self.end();
        let reports = std::fs::read_to_string(self.dir.path().join("reports")).expect("reports");
        // HAProxy's service never hears of what HAProxy refuses; its log does.
        let refused = self.said();
        let refused = refused.lines().filter(|line| line.starts_with("{\"refused\""));
        reports.lines().chain(refused).map(report).collect()
    }

    fn end(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RealUpstream {
    fn drop(&mut self) {
        self.end();
    }
}

/// A loopback address that is made of this process's number, so that no other process binds a port there between our
/// finding a free one and the server's taking it.
fn own_address() -> SocketAddr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | (a & 63), b, c);
    let probe = TcpListener::bind((ip, 0)).unwrap_or_else(|e| panic!("cannot listen on {ip}: {e}"));
    probe.local_addr().expect("an address")
}

/// The files of all servers, with this directory and address in them.
fn write_files(dir: &Path, address: SocketAddr) {
    for entry in std::fs::read_dir(corpus::folder().join("servers")).expect("the servers' files") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a server's file");
        let text = text
            .replace("@DIR@", dir.to_str().expect("a path of text"))
            .replace("@ADDRESS@", &address.to_string())
            .replace("@MODULES@", "/usr/lib/apache2/modules");
        std::fs::write(dir.join(path.file_name().expect("a name")), text).expect("writes a server's file");
    }
    File::create(dir.join("reports")).expect("a file for reports");
}

fn give_away(dir: &Path) {
    chown(dir, Some(NOBODY), Some(NOBODY)).expect("gives the directory away");
    for entry in std::fs::read_dir(dir).expect("the directory") {
        chown(entry.expect("an entry").path(), Some(NOBODY), Some(NOBODY)).expect("gives a file away");
    }
}

fn report(line: &str) -> Report {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
    let pair = |pair: &Value| (bytes(&pair[0]), bytes(&pair[1]));
    Report {
        line: bytes(&value["line"]),
        fields: value["fields"].as_array().map(|all| all.iter().map(pair).collect()).unwrap_or_default(),
        body: value["body"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default(),
        complete: value["complete"] == true,
    }
}

/// Reports hold bytes as the first 256 characters of Unicode.
fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().unwrap_or_default().chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
