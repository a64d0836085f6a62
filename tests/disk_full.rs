//! A full disk: the store cannot be written, requests go on, and nothing of their use is lost. Needs root: the disk
//! is a small tmpfs in a mount namespace of the gateway's own.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::namespaces::{may_unshare, run_by};
use crate::support::node::Node;
use crate::support::request::get;
use crate::support::site::{Done, key_in};
use crate::support::{Config, Key, Site, Upstream, wait_for};

/// Mounts the small disk where the store is, makes the store, and becomes the gateway.
const START: &str =
    r#"mount -t tmpfs -o size=4m none "$1" && "$2" --config "$3" init >/dev/null && exec "$2" --config "$3" serve"#;

/// A site whose store is on a small disk that only the node, and what joins its namespace, can see.
struct SmallDisk {
    node: Node,
    site: Site,
}

impl SmallDisk {
    fn start(config: &Config) -> Self {
        let site = Site::empty();
        std::fs::create_dir(site.path("small")).expect("a mount point");
        let text = config.text("run");
        let on_small_disk = text.replace("sqlite:keygate.db", "sqlite:small/keygate.db");
        assert_ne!(text, on_small_disk);
        site.write_config_text(&on_small_disk);
        let program = site.command(&[]).get_program().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", START, "sh"]).arg(site.path("small")).arg(program).arg(site.path("keygate.toml"));
        shell.current_dir(site.dir());
        let node = site.serve_by(&mut run_by("unshare", &["--mount"], &shell));
        let master_key = std::fs::read_to_string(site.path("master.key")).expect("init makes the master key");
        site.secrets.learn_exactly(master_key.trim());
        Self { node, site }
    }

    /// A command in the node's namespace, with `--output json`.
    fn cli(&self, args: &[&str]) -> Done {
        let all: Vec<&str> = ["--output", "json"].iter().chain(args).copied().collect();
        let pid = self.node.pid().to_string();
        self.site.run(&mut run_by("nsenter", &["--target", &pid, "--mount", "--"], &self.site.command(&all)))
    }

    fn key_add(&self, name: &str) -> Key {
        key_in(&self.cli(&["key", "add", name, "--role", "readonly"]).expect(0).json())
    }

    fn use_count(&self, key: &Key) -> u64 {
        self.cli(&["key", "show", &key.id]).expect(0).json()["use_count"].as_u64().expect("a count")
    }

    /// A file on the disk, as this process can reach it.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.site.path("small").join(name);
        Path::new("/proc").join(self.node.pid().to_string()).join("root").join(inside.strip_prefix("/").unwrap())
    }

    /// Takes every free byte.
    fn fill(&self) {
        let mut file = File::create(self.path("fill")).expect("a file");
        for block in [64 << 10, 4 << 10, 1] {
            let bytes = vec![0; block];
            while file.write_all(&bytes).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.path("fill")).expect("removes it");
    }
}

#[test]
fn while_the_disk_is_full_requests_go_on_and_every_use_is_written_later() {
    if !may_unshare(&["--mount"]) {
        return;
    }
    let lease = Duration::from_secs(2);
    let upstream = Upstream::echo();
    let disk = SmallDisk::start(&Config::in_front_of(&upstream).lease("2s"));
    let keys: Vec<Key> = (0..5).map(|n| disk.key_add(&format!("k{n}"))).collect();
    let mut client = disk.node.connect();
    assert_eq!(client.exchange(&get("/x").bearer(&keys[0])).status, 200);
    wait_for("the first use is written", || disk.use_count(&keys[0]) == 1);

    disk.fill();
    // Longer than a lease: it is renewed by reading.
    let (begun, mut slowest, mut rounds) = (Instant::now(), Duration::ZERO, 0);
    let failures = || disk.node.metric("keygate_usage_flush_failures_total", &[]);
    while begun.elapsed() < 3 * lease || failures() < 0.5 {
        for key in &keys {
            let sent = Instant::now();
            assert_eq!(
                client.exchange(&get("/x").bearer(key)).status,
                200,
                "{:?} after the disk was full",
                begun.elapsed()
            );
            slowest = slowest.max(sent.elapsed());
        }
        rounds += 1;
        assert!(begun.elapsed() < crate::support::PATIENCE, "no write has failed");
    }
    // Who waits for the store waits for its lock: five seconds.
    assert!(slowest < 2 * lease, "a request waited {slowest:?} for the store");
    wait_for("uses are pending", || disk.node.metric("keygate_usage_pending", &[]) > 0.5);
    assert_eq!(disk.node.metrics_page("/readyz").status, 200, "it has its lease");
    // What cannot be written is refused, not half done.
    let refused = disk.cli(&["key", "add", "late", "--role", "readonly"]).expect(1);
    assert!(!refused.stderr.contains("panic") && !refused.stderr.is_empty(), "{}", refused.stderr);

    disk.free();
    wait_for("nothing is pending", || disk.node.metric("keygate_usage_pending", &[]) < 0.5);
    for (n, key) in keys.iter().enumerate() {
        let uses = rounds + u64::from(n == 0);
        wait_for("every use is written", || disk.use_count(key) == uses);
    }
    assert!(disk.node.metric("keygate_usage_dropped_total", &[]) < 0.5);
    let late = disk.key_add("late");
    assert_eq!(disk.node.get("/x", &late).status, 200);
}
