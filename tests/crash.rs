//! kill -9 at any moment loses nothing that was acknowledged and leaves no mixed state.

use std::process::{Child, Command};
use std::time::Duration;

use crate::support::request::get;
use crate::support::site::{encode_with_openssl, key_in, text_at};
use crate::support::{Config, Key, Node, Site, Upstream, count};

/// Moments that differ from round to round and are the same in every run: 0 to 63 ms.
fn moment(round: usize) -> Duration {
    let mixed = (round as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Duration::from_micros(mixed >> 48)
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
}

struct Known {
    /// Acknowledged, never deleted.
    keys: Vec<Key>,
    /// Acknowledged as deleted.
    deleted: Vec<Key>,
    /// The last acknowledged version of the shared secret.
    version: u64,
}

#[test]
fn kill_9_at_any_moment_loses_nothing_acknowledged_and_leaves_no_mixed_state() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream).lease("1s").flush_interval("10ms"));
    let mut known = Known { keys: vec![site.key_add("first", "admin")], deleted: Vec::new(), version: 1 };
    for round in 0..count(15, 200) {
        let mut node = site.serve();
        let doomed = (round % 3 == 2).then(|| known.keys.pop()).flatten();
        let name = format!("round {round}");
        let mut add = site.spawn(&["--output", "json", "key", "add", &name, "--role", "admin"]);
        let mut regenerate = site.spawn(&["--output", "json", "secret", "regenerate", "--yes"]);
        let mut delete =
            doomed.as_ref().map(|key| site.spawn(&["--output", "json", "key", "delete", &key.id, "--yes"]));
        // Usage is written meanwhile, too.
        for key in known.keys.iter().rev().take(3) {
            drop(node.connect().try_exchange(&get("/x").bearer(key)));
        }
        std::thread::sleep(moment(round));
        node.kill();
        match round % 4 {
            0 => kill(&mut add),
            1 => kill(&mut regenerate),
            2 => delete.iter_mut().for_each(kill),
            _ => {}
        }
        let added = site.finish(add);
        if added.code == Some(0) {
            known.keys.push(key_in(&added.json()));
        }
        let regenerated = site.finish(regenerate);
        if regenerated.code == Some(0) {
            known.version += 1;
        }
        if let (Some(key), Some(delete)) = (doomed, delete)
            && site.finish(delete).code == Some(0)
        {
            known.deleted.push(key);
        }
        check(&site, &mut known, &name);
    }
    assert!(known.keys.len() > 1, "some were acknowledged");
}

/// What the store says after a crash, and what a new process makes of it.
fn check(site: &Site, known: &mut Known, name: &str) {
    let integrity = Command::new("sqlite3").arg(site.path("keygate.db")).arg("PRAGMA integrity_check").output();
    assert_eq!(String::from_utf8_lossy(&integrity.expect("sqlite3 runs").stdout), "ok\n");

    let secret = site.json(&["secret", "show"]);
    let version = secret["version"].as_u64().expect("a version");
    assert!(version >= known.version, "version {} was acknowledged; there is {version}", known.version);
    assert!(version <= known.version + 1, "at most the regenerate that was killed is not acknowledged");
    known.version = version;

    let listed = site.json(&["key", "list"]);
    let listed = listed["api_keys"].as_array().expect("api_keys");
    for key in &known.keys {
        assert!(listed.iter().any(|k| k["id"] == key.id.as_str()), "{} is lost", key.name);
    }
    for key in &known.deleted {
        assert!(listed.iter().all(|k| k["id"] != key.id.as_str()), "{} is back", key.name);
    }
    assert!(listed.iter().filter(|k| k["name"] == name).count() <= 1);

    let node = site.serve();
    let secret = text_at(&secret, "secret");
    for key in known.keys.iter().rev().take(4) {
        assert_admitted(&node, site, key, &secret, 200);
    }
    for key in known.deleted.iter().rev().take(2) {
        assert_admitted(&node, site, key, &secret, 401);
    }
}

fn assert_admitted(node: &Node, site: &Site, key: &Key, secret: &str, status: u16) {
    let encoded = encode_with_openssl(&key.app_key, secret);
    site.secrets.learn(&encoded);
    assert_eq!(node.get("/x", &encoded).status, status, "{}", key.name);
}

#[test]
fn every_change_has_its_audit_record_and_every_revision_one_change() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let key = site.key_add("app", "readonly");
    site.json(&["key", "update", &key.id, "--description", "changed"]);
    site.json(&["key", "disable", &key.id, "--yes"]);
    site.json(&["key", "enable", &key.id]);
    site.json(&["key", "roll", &key.id, "--yes"]);
    site.json(&["secret", "show"]);
    site.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    site.json(&["secret", "end-grace", "--yes"]);
    site.json(&["key", "delete", &key.id, "--yes"]);
    let audit = site.json(&["audit"]);
    let records = audit["audit"].as_array().expect("records");
    let mut actions: Vec<&str> = records.iter().rev().filter_map(|r| r["action"].as_str()).collect();
    actions.retain(|a| a.starts_with("api_key.") || a.starts_with("shared_secret."));
    let expected = [
        "api_key.create",
        "api_key.update",
        "api_key.disable",
        "api_key.enable",
        "api_key.roll",
        "shared_secret.view",
        "shared_secret.regenerate",
        "shared_secret.end_grace",
        "api_key.delete",
    ];
    let from = actions.len().saturating_sub(expected.len());
    assert_eq!(actions[from..], expected);
    let mut revisions: Vec<u64> = records.iter().filter_map(|r| r["revision"].as_u64()).collect();
    revisions.reverse();
    assert!(revisions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{revisions:?}");
}
