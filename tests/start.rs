//! Starts that fail say what is wrong, leave nothing behind, and disturb nobody; and keygate as PID 1.

use std::net::TcpListener;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::namespaces::{may_unshare, run_by};
use crate::support::request::get;
use crate::support::site::Done;
use crate::support::{Config, Gateway, PATIENCE, Site, Upstream, wait_for_some};

/// `serve`, which must end by itself with 1.
#[track_caller]
fn refused_start(site: &Site) -> Done {
    let mut child = site.spawn(&["serve"]);
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() && Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(child.kill());
    let done = site.finish(child).expect(1);
    assert!(!done.stderr.to_lowercase().contains("panic"), "{}", done.stderr);
    assert!(!done.stderr.contains("\"listening\""), "{}", done.stderr);
    done
}

fn nodes(site: &Site) -> usize {
    site.json(&["nodes"])["nodes"].as_array().expect("nodes").len()
}

/// Configurations with which a start fails, and what it then must name. The ports that are taken stay so.
fn failures(upstream: &Upstream, run_dir_in_use: Option<&str>) -> (TcpListener, Vec<(String, String)>) {
    let good = Config::in_front_of(upstream);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let unresolvable = Config::default()
        .upstream_at("api", &["no-such-host.invalid:9000".to_owned()], "")
        .route("path = \"/\"\nupstream = \"api\"");
    let busy = |section: &str| {
        let text = good.text("run-of-another");
        let changed =
            text.replacen(&format!("{section} = \"127.0.0.1:0\""), &format!("{section} = \"{address}\""), usize::MAX);
        assert_ne!(text, changed);
        changed
    };
    let mut all = vec![
        (unresolvable.text("run-of-another"), "no-such-host.invalid".to_owned()),
        (busy("[metrics]\nlisten"), address.clone()),
        (good.text("run-of-another").replace("[\"127.0.0.1:0\"]", &format!("[\"{address}\"]")), address.clone()),
        (good.text("keygate.db"), "keygate.db".to_owned()),
    ];
    all.extend(run_dir_in_use.map(|dir| (good.text(dir), "run_dir".to_owned())));
    (taken, all)
}

#[test]
fn a_failed_start_is_exit_1_names_its_cause_and_leaves_no_node_behind() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let (_taken, failures) = failures(&upstream, None);
    for (text, cause) in failures {
        site.write_config_text(&text);
        let done = refused_start(&site);
        assert!(done.stderr.contains(&cause), "{cause} is not named:\n{}", done.stderr);
        site.write_config(&Config::in_front_of(&upstream));
        assert_eq!(nodes(&site), 0, "after {cause}");
    }
    // Nothing that they left is in the way of a good one.
    let key = site.key_add("app", "readonly");
    assert_eq!(site.serve().get("/x", &key).status, 200);
}

#[test]
fn a_failed_start_beside_a_running_gateway_changes_nothing_for_it() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "readonly");
    let before = gateway.json(&["nodes"])["nodes"].clone();
    let (_taken, failures) = failures(&upstream, Some("run"));
    for (text, cause) in failures {
        gateway.write_config_text(&text);
        let done = refused_start(&gateway);
        assert!(done.stderr.contains(&cause), "{cause} is not named:\n{}", done.stderr);
        gateway.write_config(&Config::in_front_of(&upstream));
        let after = gateway.json(&["nodes"])["nodes"].clone();
        assert_eq!(after.as_array().map(Vec::len), Some(1), "after {cause}: {after}");
        assert_eq!(after[0]["incarnation"], before[0]["incarnation"]);
        assert_eq!(gateway.node.get("/x", &key).status, 200);
        assert_eq!(gateway.cli(&["reload"]).code, Some(0), "its control socket is still its own, after {cause}");
    }
}

#[test]
fn as_pid_1_sigterm_ends_it_with_exit_0() {
    const OPTIONS: [&str; 4] = ["--fork", "--pid", "--mount-proc", "--kill-child"];
    if !may_unshare(&OPTIONS) {
        return;
    }
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.key_add("app", "readonly");
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = site.serve_by(&mut run_by("unshare", &OPTIONS, &site.command(&["serve"])));
        assert_eq!(node.get("/x", &key).status, 200);
        // unshare's only child. To it, it is PID 1, and a signal without a handler would not reach it.
        let children = format!("/proc/{0}/task/{0}/children", node.pid());
        let child = wait_for_some("the child", || {
            let list = std::fs::read_to_string(&children).ok()?;
            Pid::from_raw(list.split_whitespace().next()?.parse().ok()?)
        });
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).expect("/proc");
        let pids = status.lines().find(|l| l.starts_with("NSpid:")).unwrap_or_default();
        assert_eq!(pids.split_whitespace().last(), Some("1"), "{pids}");
        let mut idle = node.connect();
        assert_eq!(idle.exchange(&get("/x").bearer(&key)).status, 200);
        kill_process(child, signal).expect("it is there");
        assert_eq!(node.wait().code(), Some(0), "{signal:?}");
    }
}
