//! The command line: what it prints, what it asks for, how it ends.

use std::process::Stdio;

use crate::support::site::keygate;
use crate::support::{Config, Site, Upstream};

fn site() -> (Upstream, Site) {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    (upstream, site)
}

#[test]
fn init_in_an_empty_directory_makes_all_that_a_gateway_needs_and_shows_the_operator_token_once() {
    let site = Site::empty();
    let init = |site: &Site| {
        let done = site.run(keygate().arg("init").current_dir(site.dir())).expect(0);
        done.stdout.matches("kgo_").count()
    };
    assert_eq!(init(&site), 1);
    for name in ["keygate.toml", "keygate.db", "master.key"] {
        assert!(site.path(name).exists(), "{name}");
    }
    let before = ["keygate.toml", "master.key"].map(|name| std::fs::read(site.path(name)).expect("it is there"));
    let secret = site.shared_secret();
    assert_eq!(init(&site), 0, "only what is missing is made");
    assert_eq!(before, ["keygate.toml", "master.key"].map(|name| std::fs::read(site.path(name)).expect("it is there")));
    assert_eq!(site.shared_secret(), secret);
}

#[test]
fn key_add_prints_what_the_contract_says() {
    let (_upstream, site) = site();
    let answer = site.json(&["key", "add", "reports", "--role", "ReadOnly", "--description", "nightly"]);
    let id = answer["id"].as_str().expect("an id");
    assert_eq!(
        (&answer["name"], &answer["role"], &answer["description"]),
        (&"reports".into(), &"READONLY".into(), &"nightly".into())
    );
    let app_key = answer["app_key"].as_str().expect("an app key");
    let encoded = answer["encoded_key"].as_str().expect("an encoded key");
    assert!(regex::Regex::new(r"^[0-9a-z]{12}$").unwrap().is_match(id), "{id}");
    assert!(regex::Regex::new(&format!("^kga_{id}_[0-9A-Za-z]{{43}}$")).unwrap().is_match(app_key));
    assert!(regex::Regex::new(&format!("^kg_1_{id}_[0-9A-Za-z]{{43}}_[0-9a-f]{{40}}$")).unwrap().is_match(encoded));
    // For people, too; and nowhere again.
    let told = site.cli(&["key", "add", "ci", "--role", "ADMIN"]).expect(0).stdout;
    assert!(told.contains("kg_1_") && told.contains("kga_"), "{told}");
    let shown = site.cli(&["key", "show", "ci"]).expect(0).stdout;
    assert!(!shown.contains("kg_1_") && !shown.contains("kga_"), "{shown}");
}

#[test]
fn key_list_prints_what_the_contract_says() {
    let (_upstream, site) = site();
    let key = site.key_add_with("reports", "readonly", &["--description", "nightly"]);
    site.key_add("ci", "admin");
    let list = site.json(&["key", "list"]);
    let listed = list["api_keys"].as_array().expect("api_keys");
    assert_eq!(listed.len(), 2);
    let reports = listed.iter().find(|k| k["id"] == key.id.as_str()).expect("it is listed");
    for (member, value) in [("name", "reports"), ("description", "nightly"), ("role", "READONLY"), ("state", "active")]
    {
        assert_eq!(reports[member], value);
    }
    assert_eq!(reports.get("last_login"), Some(&serde_json::Value::Null));
    let table = site.cli(&["key", "list"]).expect(0).stdout;
    for text in ["Name / Desc", "Role", "Last Login", "reports", "nightly", "READONLY", "ADMIN", "Never"] {
        assert!(table.contains(text), "{text} in\n{table}");
    }
    assert!(!table.contains('\x1b'), "colours only on a terminal");
}

#[test]
fn secret_show_prints_what_the_contract_says_and_is_audited() {
    let (_upstream, site) = site();
    let shown = site.json(&["secret", "show"]);
    assert_eq!(shown["version"], 1);
    let secret = shown["secret"].as_str().expect("a secret");
    assert!(regex::Regex::new("^kgs_1_[0-9A-Za-z]{43}$").unwrap().is_match(secret));
    assert!(shown["created_at"].as_str().is_some_and(|t| t.ends_with('Z')));
    let audit = site.json(&["audit"]);
    assert_eq!(audit["audit"][0]["action"], "shared_secret.view", "{audit}");
}

#[test]
fn dangerous_commands_need_yes_where_there_is_no_terminal() {
    let (_upstream, site) = site();
    let key = site.key_add("app", "admin");
    let dangerous: [&[&str]; 4] = [
        &["secret", "regenerate"],
        &["key", "roll", &key.id],
        &["key", "disable", &key.id],
        &["key", "delete", &key.id],
    ];
    for args in dangerous {
        let done = site.cli(args).expect(2);
        assert!(done.stderr.contains("--yes"), "{}", done.stderr);
        // A yes on standard input is no terminal.
        let done = site.run_with_stdin(&mut site.command(args), "y\n").expect(2);
        assert!(done.stdout.is_empty());
    }
    assert_eq!(site.json(&["secret", "show"])["version"], 1);
    assert_eq!(site.listed(&key.id)["state"], "active");
}

#[test]
fn commands_work_without_a_running_gateway() {
    let (_upstream, site) = site();
    let key = site.key_add("app", "admin");
    for args in [
        &["key", "update", "app", "--description", "d"][..],
        &["key", "disable", "app", "--yes"],
        &["key", "enable", "app"],
        &["key", "roll", "app", "--yes"],
        &["secret", "regenerate", "--yes"],
        &["key", "delete", &key.id, "--yes"],
    ] {
        let answer = site.json(args);
        assert!(answer["promise_held"] != false, "no node is there to admit anything: {answer}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_2_and_a_refusal_exit_1() {
    let (_upstream, site) = site();
    site.key_add("app", "admin");
    for args in
        [&["no-such-command"][..], &["key", "add"], &["key", "add", "x", "--role", "root"], &["key", "add", "x"], &[]]
    {
        site.cli(args).expect(2);
    }
    for args in [
        &["key", "add", "app", "--role", "admin"][..],
        &["key", "show", "nobody"],
        &["key", "delete", "nobody", "--yes"],
        &["secret", "end-grace"],
    ] {
        let done = site.cli(args).expect(1);
        assert_eq!(done.stderr.lines().count(), 1, "one line: {}", done.stderr);
    }
}

#[test]
fn names_that_are_none_are_refused() {
    let (_upstream, site) = site();
    let long = "x".repeat(129);
    for name in ["", " ", "a\nb", "a\x1bb", &long, " a"] {
        let done = site.cli(&["key", "add", name, "--role", "admin"]);
        assert!(matches!(done.code, Some(1 | 2)), "{name:?}: {done:?}");
    }
    site.key_add(&"ü".repeat(128), "admin");
    assert_eq!(site.json(&["key", "list"])["api_keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn encode_works_offline_from_an_app_key_or_an_old_encoded_key() {
    let (_upstream, site) = site();
    let key = site.key_add("app", "admin");
    let first = site.shared_secret();
    site.json(&["secret", "regenerate", "--yes"]);
    let second = site.shared_secret();
    let expected = crate::support::site::encode_with_openssl(&key.app_key, &second);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let encode = |app_key: &str, secret: &str| {
        let mut command = keygate();
        command.arg("encode").env("KEYGATE_APP_KEY", app_key).env("KEYGATE_SHARED_SECRET", secret);
        site.run(command.current_dir(elsewhere.path())).expect(0).stdout
    };
    assert_eq!(encode(&key.app_key, &second), format!("{expected}\n"));
    assert_eq!(encode(&key.encoded, &second), format!("{expected}\n"));
    assert_eq!(encode(&key.app_key, &first), format!("{}\n", key.encoded));
    // From standard input and a file.
    let file = site.path("secret.txt");
    std::fs::write(&file, &second).expect("writes");
    let mut command = keygate();
    command.arg("encode").arg("--secret-file").arg(&file);
    assert_eq!(
        site.run_with_stdin(&mut command, &format!("{}\n", key.app_key)).expect(0).stdout,
        format!("{expected}\n")
    );
}

#[test]
fn encode_refuses_what_is_no_key_or_no_secret_without_repeating_it() {
    let (_upstream, site) = site();
    let key = site.key_add("app", "admin");
    let secret = site.shared_secret();
    for (app_key, shared) in
        [("kga_x", secret.as_str()), (&key.app_key, "kgs_x"), (&secret, &secret), (&key.app_key, &key.app_key)]
    {
        let mut command = keygate();
        command.arg("encode").env("KEYGATE_APP_KEY", app_key).env("KEYGATE_SHARED_SECRET", shared);
        let done = site.run(&mut command).expect(1);
        assert!(done.stdout.is_empty() && !done.stderr.contains(app_key) && !done.stderr.contains(shared), "{done:?}");
    }
}

#[test]
fn inspect_says_what_a_credential_is_without_showing_it() {
    let (_upstream, site) = site();
    let key = site.key_add("app", "admin");
    let secret = site.shared_secret();
    for (credential, words) in [
        (&key.encoded, ["encoded key", key.id.as_str()]),
        (&key.app_key, ["app key", key.id.as_str()]),
        (&secret, ["shared secret", "1"]),
    ] {
        let done = site.run_with_stdin(&mut site.command(&["inspect"]), credential).expect(0);
        for word in words {
            assert!(done.stdout.contains(word), "{word} in {}", done.stdout);
        }
        site.secrets.assert_absent("inspect", done.stdout.as_bytes());
    }
    site.run_with_stdin(&mut site.command(&["inspect"]), "hello").expect(1);
}

#[test]
fn check_names_file_line_key_and_what_was_expected() {
    let (upstream, site) = site();
    assert_eq!(site.cli(&["check"]).expect(0).stderr, "");
    let good = Config::in_front_of(&upstream).text("run");
    for (from, to, named) in [
        ("[server]\n", "[server]\nlissen = []\n", "lissen"),
        ("lease = \"5s\"", "lease = 5", "store.lease"),
        ("lease = \"5s\"", "lease = \"5 parsecs\"", "store.lease"),
        ("upstream = \"api\"", "upstream = \"apo\"", "route.upstream"),
        ("path = \"/\"", "path = \"x\"", "route.path"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        site.write_config_text(&bad);
        let line = bad.lines().position(|l| to.trim_end().ends_with(l) && !l.is_empty()).expect("the line") + 1;
        let done = site.cli(&["check"]).expect(1);
        assert!(done.stderr.contains(&format!("keygate.toml:{line}")), "line {line}: {}", done.stderr);
        assert!(done.stderr.contains(named), "{named}: {}", done.stderr);
        assert!(done.stderr.contains("expected") || done.stderr.contains("did you mean"), "{}", done.stderr);
    }
}

#[test]
fn the_configuration_is_found_by_option_then_environment_then_directory() {
    let (_upstream, site) = site();
    let elsewhere = tempfile::tempdir().expect("a directory");
    site.run(keygate().args(["key", "list"]).current_dir(site.dir())).expect(0);
    site.run(keygate().args(["key", "list"]).current_dir(elsewhere.path())).expect(1);
    let file = site.path("keygate.toml");
    site.run(keygate().args(["key", "list"]).env("KEYGATE_CONFIG", &file).current_dir(elsewhere.path())).expect(0);
    let mut command = keygate();
    command.arg("--config").arg(&file).args(["key", "list"]).env("KEYGATE_CONFIG", "/nonexistent");
    site.run(command.current_dir(elsewhere.path())).expect(0);
}

#[test]
fn what_is_not_there_yet_is_refused_with_a_clear_message() {
    let (upstream, site) = site();
    let good = Config::in_front_of(&upstream).text("run");
    for (from, to) in [
        ("sqlite:keygate.db", "postgres://localhost/keygate"),
        ("[store]", "[rate_limit]\nrequests = 5\n[store]"),
        ("[store]", "[server.tls]\n[store]"),
        ("listen = [\"127.0.0.1:0\"]", "listen = [\"unix:/run/x.sock\"]"),
    ] {
        site.write_config_text(&good.replacen(from, to, 1));
        let done = site.cli(&["check"]).expect(1);
        assert!(done.stderr.contains("does not have") && done.stderr.contains("yet"), "{to}: {}", done.stderr);
    }
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = keygate().args(["completion", shell]).output().expect("runs");
        assert!(output.status.success() && output.stdout.windows(7).any(|w| w == b"keygate"), "{shell}");
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let (_upstream, site) = site();
    site.key_add("app", "admin");
    let mut child =
        site.command(&["key", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let done = site.finish(child);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_lost_master_key_is_said_and_nothing_is_broken() {
    let (_upstream, site) = site();
    let key = site.path("master.key");
    let saved = std::fs::read(&key).expect("it is there");
    std::fs::remove_file(&key).expect("removes");
    for args in [&["secret", "show"][..], &["serve"], &["init"]] {
        let done = site.cli(args).expect(1);
        assert!(done.stderr.contains("master"), "{}", done.stderr);
    }
    assert!(!key.exists(), "init does not make another one");
    std::fs::write(&key, saved).expect("writes");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    site.shared_secret();
}
