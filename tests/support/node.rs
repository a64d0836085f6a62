//! One running gateway process: started, spoken to, signalled, ended, and searched for secrets when it ends.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::leaks::Secrets;
use super::request::{get, request};
use super::{Client, Config, PATIENCE, Request, Response, Site, wait_for, wait_for_some};

/// How long a node may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A process that serves.
pub struct Node {
    child: Child,
    secrets: Arc<Secrets>,
    stdout: PathBuf,
    stderr: PathBuf,
    server: SocketAddr,
    metrics: SocketAddr,
    admin: Option<SocketAddr>,
    ended: bool,
}

/// The usual case: a site and its one node.
pub struct Gateway {
    // First, so that it ends first.
    pub node: Node,
    pub site: Site,
}

impl Gateway {
    pub fn start(config: &Config) -> Self {
        let site = Site::new(config);
        let node = site.serve();
        Self { node, site }
    }

    /// Ends the process (SIGTERM) and starts a new one on the same store.
    pub fn restart(&mut self) {
        self.node.stop();
        self.node = self.site.serve();
    }
}

impl Deref for Gateway {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// A process that was told to serve, with its outputs captured.
fn spawn(command: &mut Command, stdout: &Path, stderr: &Path) -> Child {
    command.stdout(Stdio::from(File::create(stdout).expect("a file for stdout")));
    command.stderr(Stdio::from(File::create(stderr).expect("a file for stderr")));
    command.spawn().expect("the program starts")
}

impl Node {
    /// Starts a process, which captures its outputs in this directory, and waits for its ready line.
    pub fn start(command: &mut Command, dir: &Path, number: usize, secrets: &Arc<Secrets>) -> Self {
        let [stdout, stderr] = ["stdout", "stderr"].map(|s| dir.join(format!("node-{number}.{s}")));
        let mut child = spawn(command, &stdout, &stderr);
        let ready = wait_for_some("the ready line", || {
            let log = std::fs::read_to_string(&stderr).unwrap_or_default();
            if let Some(status) = child.try_wait().expect("a child") {
                panic!("the gateway ended with {status} before it was ready:\n{log}");
            }
            ready_line(&log)
        });
        let address = |value: &Value| value.as_str().and_then(|a| a.parse().ok()).expect("an address");
        let (server, metrics) = (address(&ready["server"][0]), address(&ready["metrics"]));
        let admin = ready["admin"].as_str().map(|_| address(&ready["admin"]));
        Self { child, secrets: Arc::clone(secrets), stdout, stderr, server, metrics, admin, ended: false }
    }

    /// Where the data plane listens.
    pub fn address(&self) -> SocketAddr {
        self.server
    }

    /// Where the page and the REST API of the admin plane are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.server)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.connect().exchange(request)
    }

    /// Exact bytes on a connection of their own, and the first response.
    #[track_caller]
    pub fn send_raw(&self, bytes: &[u8]) -> Response {
        let mut client = self.connect();
        client.send(bytes);
        client.read("GET")
    }

    /// `GET target` with a key.
    #[track_caller]
    pub fn get(&self, target: &str, credential: impl AsRef<str>) -> Response {
        self.send(&get(target).bearer(credential))
    }

    /// A page of the metrics listener.
    pub fn metrics_page(&self, target: &str) -> Response {
        Client::connect(self.metrics).exchange(&get(target).field("Connection", "close"))
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        self.metrics_page("/metrics").text()
    }

    /// Sum of the samples of a metric whose labels hold all of these texts (`reason="forged"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.metrics()
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Requests that took the express lane, and the general lane.
    pub fn lanes(&self) -> (usize, usize) {
        let text = self.metrics();
        let of = |lane: &str| {
            let lines =
                text.lines().filter(|line| line.starts_with("keygate_lane_requests_total") && line.contains(lane));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
        };
        (of("lane=\"express\""), of("lane=\"general\""))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// SIGSTOP, and waits until every thread stands still: the signal alone is a request.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_for("every thread stands still", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("/proc");
            tasks.flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
            })
        });
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The most memory that it has held, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The program's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).expect("stderr")
    }

    /// The access log so far, complete lines only.
    pub fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.stdout).expect("stdout");
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        whole.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in access log: {l}"))).collect()
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits for the end and searches what it said.
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait_for_some("the gateway's end", || self.child.try_wait().expect("a child"));
        self.ended = true;
        self.search();
        status
    }

    fn search(&self) {
        for file in [&self.stdout, &self.stderr] {
            let bytes = std::fs::read(file).expect("a captured output");
            self.secrets.assert_absent(&file.display().to_string(), &bytes);
        }
        let log = self.log();
        let panic = log.lines().find(|l| l.contains("a panic;") || l.contains("panicked at"));
        assert_eq!(panic, None, "nothing in a gateway may panic");
    }

    fn try_metrics(&self) -> Option<Vec<u8>> {
        let mut client = Client::try_connect(self.metrics).ok()?;
        Some(client.try_exchange(&request("GET", "/metrics")).ok()?.body)
    }

    fn end_within(&mut self, grace: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.child.kill());
        drop(self.child.wait());
        None
    }
}

fn ready_line(log: &str) -> Option<Value> {
    let (whole, _) = log.rsplit_once('\n')?;
    whole.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).find(|v| v["event"] == "listening")
}

impl Drop for Node {
    fn drop(&mut self) {
        assert!(GRACE < PATIENCE);
        if !self.ended {
            let failed = std::thread::panicking();
            let metrics = if failed { None } else { self.try_metrics() };
            let pid = Pid::from_child(&self.child);
            // A test may have stopped it.
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::CONT);
            let status = self.end_within(GRACE);
            if !failed {
                let code = status.and_then(|s| s.code());
                assert!(status.is_none() || code == Some(0), "the gateway ended with {status:?}");
                self.secrets.assert_absent("the metrics", &metrics.unwrap_or_default());
                self.search();
            }
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.stderr).unwrap_or_default();
            let start = log.lines().count().saturating_sub(30);
            let mut err = std::io::stderr().lock();
            for line in log.lines().skip(start) {
                drop(writeln!(err, "gateway| {line}"));
            }
        }
    }
}
