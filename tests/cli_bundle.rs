//! Bundles on the command line: printed once with a key, made anew offline or from the store, taken apart, inspected.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::exchange::Desk;
use crate::support::site::{keygate, text_at};
use crate::support::{Config, Site, Upstream};

fn site() -> (Upstream, Config, Site) {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).token_exchange("");
    let site = Site::new(&config);
    (upstream, config, site)
}

/// What a bundle holds, read as any integration would.
#[track_caller]
fn members(bundle: &str) -> Value {
    let json = STANDARD.decode(bundle).unwrap_or_else(|e| panic!("{e}"));
    serde_json::from_slice(&json).expect("JSON")
}

/// `keygate bundle encode` where there is no configuration.
fn encode_in(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = keygate();
    command.args(["bundle", "encode"]).args(arguments).current_dir(directory);
    command
}

/// The details of audit records of this action, the newest first.
fn details(site: &Site, action: &str) -> Vec<Value> {
    let answer = site.json(&["audit", "--limit", "100"]);
    let records = answer["audit"].as_array().expect("audit");
    records.iter().filter(|record| record["action"] == action).map(|record| record["detail"].clone()).collect()
}

#[test]
fn a_key_that_is_made_or_rolled_comes_with_its_bundle_and_the_audit_says_so() {
    let (_upstream, config, site) = site();
    let made = site.json(&["key", "add", "Orders & \"Co\"", "--role", "readonly"]);
    let expected = json!({
        "url": "http://127.0.0.1:8080",
        "shortname": "acme",
        "appname": "Orders & \"Co\"",
        "sharedsecret": site.shared_secret(),
        "appkey": made["app_key"],
    });
    let bundle = text_at(&made, "bundle");
    assert_eq!(members(&bundle), expected);
    let text = String::from_utf8(STANDARD.decode(&bundle).expect("base64")).expect("text");
    assert_eq!(text, expected.to_string(), "compact, and in this order");
    let rolled = site.json(&["key", "roll", "Orders & \"Co\"", "--yes"]);
    assert_eq!(members(&text_at(&rolled, "bundle"))["appkey"], rolled["app_key"]);
    for action in ["api_key.create", "api_key.roll"] {
        assert_eq!(details(&site, action)[0]["bundle"], true, "{action}");
    }
    // For people: on a line of its own, to be copied.
    let told = site.cli(&["key", "add", "ci", "--role", "admin"]).expect(0).stdout;
    let line = told.lines().skip_while(|line| *line != "Bundle").nth(1).expect("the bundle");
    assert_eq!(members(line)["appname"], "ci");
    assert!(told.contains("All three are shown this once"), "{told}");
    // Without [token_exchange] there is none, and the shared secret was not shown.
    site.write_config(&config.without_token_exchange());
    assert_eq!(site.json(&["key", "add", "plain", "--role", "admin"])["bundle"], Value::Null);
    assert_eq!(details(&site, "api_key.create")[0]["bundle"], Value::Null);
    let told = site.cli(&["key", "roll", "plain", "--yes"]).expect(0).stdout;
    assert!(!told.contains("undle") && told.contains("Both are shown this once"), "{told}");
}

#[test]
fn an_old_bundle_and_the_new_secret_make_the_new_bundle_offline() {
    let (_upstream, _, site) = site();
    let old = text_at(&site.json(&["key", "add", "app", "--role", "admin"]), "bundle");
    let regenerated = site.cli(&["secret", "regenerate", "--yes"]).expect(0).stdout;
    assert!(regenerated.contains("keygate bundle encode"), "{regenerated}");
    let secret = site.shared_secret();
    let mut expected = members(&old);
    expected["sharedsecret"] = json!(secret);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let file = elsewhere.path().join("old-bundle.txt");
    std::fs::write(&file, format!("{old}\n")).expect("writes");
    let secret_file = elsewhere.path().join("secret.txt");
    std::fs::write(&secret_file, &secret).expect("writes");
    let [file, secret_file] = [&file, &secret_file].map(|path| path.to_str().expect("text"));
    let mut by_file = encode_in(elsewhere.path(), &["--key-file", file, "--secret-file", secret_file]);
    let mut by_environment = encode_in(elsewhere.path(), &[]);
    by_environment.env("KEYGATE_APP_KEY", &old).env("KEYGATE_SHARED_SECRET", &secret);
    let mut by_stdin = encode_in(elsewhere.path(), &["--secret-file", secret_file]);
    for done in [site.run(&mut by_file), site.run(&mut by_environment), site.run_with_stdin(&mut by_stdin, &old)] {
        let done = done.expect(0);
        assert_eq!(done.stdout.lines().count(), 1, "the bundle and nothing else: {}", done.stdout);
        assert_eq!(members(done.stdout.trim_end()).to_string(), expected.to_string());
    }
    // What is given here goes before what the old bundle says.
    let arguments = ["--url", "https://API.example.org/", "--shortname", "other", "--name", "renamed"];
    let mut command = encode_in(elsewhere.path(), &arguments);
    command.arg("--output").arg("json").env("KEYGATE_APP_KEY", &old).env("KEYGATE_SHARED_SECRET", &secret);
    let answer = site.run(&mut command).expect(0).json();
    let made = members(&text_at(&answer, "bundle"));
    assert_eq!((&answer["version"], &answer["url"]), (&json!(2), &made["url"]));
    assert_eq!(
        (&made["url"], &made["shortname"], &made["appname"]),
        (&json!("https://api.example.org"), &json!("other"), &json!("renamed"))
    );
    assert_eq!(details(&site, "shared_secret.view").len(), 1, "the test's own look alone");
}

#[test]
fn with_a_store_at_hand_what_is_not_given_comes_from_it() {
    let (_upstream, config, site) = site();
    let key = site.json(&["key", "add", "app", "--role", "admin"]);
    let bundle = text_at(&key, "bundle");
    let encode = |key: &str, arguments: &[&str]| {
        let mut command = site.command(&["bundle", "encode"]);
        command.args(arguments).env("KEYGATE_APP_KEY", key);
        site.run(&mut command)
    };
    for from in ["app_key", "encoded_key", "bundle"] {
        assert_eq!(encode(&text_at(&key, from), &[]).expect(0).stdout.trim_end(), bundle, "{from}");
    }
    assert_eq!(details(&site, "shared_secret.view").len(), 3, "each look at the secret is audited");
    // After a regeneration the old bundle alone is enough.
    site.cli(&["secret", "regenerate", "--yes"]).expect(0);
    let anew = members(encode(&bundle, &[]).expect(0).stdout.trim_end());
    assert_eq!((&anew["sharedsecret"], &anew["appkey"]), (&json!(site.shared_secret()), &key["app_key"]));
    // A key that the store does not have needs its name; one that was rolled is not worth a bundle.
    let foreign = format!("kga_000000000000_{}", "0".repeat(43));
    assert!(encode(&foreign, &[]).expect(1).stderr.contains("give --name"));
    assert_eq!(members(encode(&foreign, &["--name", "b"]).expect(0).stdout.trim_end())["appname"], "b");
    site.cli(&["key", "roll", "app", "--yes"]).expect(0);
    assert!(encode(&text_at(&key, "app_key"), &[]).expect(1).stderr.contains("was the key rolled?"));
    // Without [token_exchange] nobody says what goes into it.
    site.write_config(&config.without_token_exchange());
    let done = encode(&foreign, &["--name", "b"]).expect(2);
    assert!(done.stderr.contains("give --url and --shortname: the configuration has no [token_exchange]"), "{done:?}");
    let done = encode(&foreign, &["--name", "b", "--url", "https://a", "--shortname", "acme"]).expect(0);
    assert_eq!(members(done.stdout.trim_end())["url"], "https://a");
}

#[test]
fn what_makes_no_bundle_is_refused_and_not_repeated() {
    let (_upstream, _, site) = site();
    let key = site.json(&["key", "add", "app", "--role", "admin"]);
    let (app_key, secret) = (text_at(&key, "app_key"), site.shared_secret());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let spoilt = STANDARD.encode(r#"{"url":"https://a","shortname":"a","appname":"a","appkey":"x"}"#);
    for (given, shared, said) in [
        ("hunter2", &secret, "expected an app key (kga_…), an encoded key (kg_…) or a bundle"),
        (&secret, &secret, "expected an app key (kga_…), an encoded key (kg_…) or a bundle"),
        (&spoilt, &secret, "the bundle's sharedsecret is missing"),
        (&app_key, &app_key, "a shared secret is kgs_"),
    ] {
        let mut command = encode_in(elsewhere.path(), &["--url", "https://a", "--shortname", "a", "--name", "a"]);
        let done = site.run(command.env("KEYGATE_APP_KEY", given).env("KEYGATE_SHARED_SECRET", shared)).expect(1);
        assert!(done.stderr.contains(said) && !done.stderr.contains(given), "{done:?}");
        assert_eq!(done.stdout, "");
    }
    for (arguments, said) in [
        (&["--name", "a"][..], "give --url and --shortname: there is no configuration here"),
        (&["--url", "https://a", "--shortname", "a"], "give --name: there is no configuration here"),
        (&["--url", "https://a/b", "--shortname", "a", "--name", "a"], "has a path, a query or a fragment"),
        (&["--url", "https://a", "--shortname", "a b", "--name", "a"], "expected 1 to 64 of the characters"),
        (&["--url", "https://a", "--shortname", "a", "--name", " "], "--name"),
    ] {
        let mut command = encode_in(elsewhere.path(), arguments);
        let done = site.run(command.env("KEYGATE_APP_KEY", &app_key).env("KEYGATE_SHARED_SECRET", &secret)).expect(2);
        assert!(done.stderr.contains(said), "{said}: {}", done.stderr);
    }
    let mut command = encode_in(elsewhere.path(), &["--url", "https://a", "--shortname", "a", "--name", "a"]);
    assert!(site.run(command.env("KEYGATE_APP_KEY", &app_key)).expect(2).stderr.contains("--secret-file"));
    let mut command = encode_in(elsewhere.path(), &[]);
    assert!(site.run(command.env("KEYGATE_SHARED_SECRET", &secret)).expect(2).stderr.contains("no key was given"));
}

#[test]
fn decode_shows_what_a_bundle_holds_and_its_secrets_only_if_asked() {
    let (_upstream, _, site) = site();
    let key = site.json(&["key", "add", "app", "--role", "admin"]);
    let (bundle, id) = (text_at(&key, "bundle"), text_at(&key, "id"));
    let elsewhere = tempfile::tempdir().expect("a directory");
    let decode = |input: &str, arguments: &[&str]| {
        let mut command = keygate();
        site.run_with_stdin(command.args(["bundle", "decode"]).args(arguments).current_dir(elsewhere.path()), input)
    };
    let hidden = decode(&format!("{bundle}\n"), &[]).expect(0);
    let mut expected = members(&bundle);
    assert_eq!(decode(&bundle, &["--reveal"]).expect(0).json(), expected);
    expected["sharedsecret"] = json!("kgs_1_…");
    expected["appkey"] = json!(format!("kga_{id}_…"));
    assert_eq!(hidden.json(), expected);
    assert!(hidden.stderr.contains("hidden; --reveal shows them"), "{}", hidden.stderr);
    site.secrets.assert_absent("what decode prints", hidden.stdout.as_bytes());
    let file = elsewhere.path().join("bundle.txt");
    std::fs::write(&file, &bundle).expect("writes");
    let from_file = decode("", &["--file", file.to_str().expect("text")]).expect(0);
    assert_eq!(from_file.stdout, hidden.stdout);
    // Whatever is wrong is named, and nothing of the text.
    let sound = members(&bundle);
    for member in ["url", "shortname", "appname", "sharedsecret", "appkey"] {
        for (value, said) in [(Value::Null, "is not text"), (json!("\u{1}"), "")] {
            let mut spoilt = sound.clone();
            spoilt[member] = value;
            let done = decode(&STANDARD.encode(spoilt.to_string()), &[]).expect(1);
            assert!(done.stderr.contains(&format!("the bundle's {member} {said}")), "{}", done.stderr);
        }
        let mut spoilt = sound.clone();
        spoilt.as_object_mut().expect("an object").remove(member);
        let done = decode(&STANDARD.encode(spoilt.to_string()), &[]).expect(1);
        assert!(done.stderr.contains(&format!("the bundle's {member} is missing")), "{}", done.stderr);
    }
    for text in [&bundle[1..], "hunter2", &STANDARD.encode("[]")] {
        let done = decode(text, &[]).expect(1);
        assert!(done.stderr.contains("bundle") && !done.stderr.contains(text), "{}", done.stderr);
    }
}

#[test]
fn inspect_knows_bundles_and_what_is_wrong_with_them() {
    let (_upstream, config, site) = site();
    let key = site.json(&["key", "add", "app", "--role", "readonly"]);
    let (bundle, id) = (text_at(&key, "bundle"), text_at(&key, "id"));
    let inspect = |text: &str| {
        let done = site.run_with_stdin(&mut site.command(&["--output", "json", "inspect"]), text);
        site.secrets.assert_absent("inspect", done.stdout.as_bytes());
        done.expect(0).json()
    };
    let says = |text: &str, admitted: bool, note: &str| {
        let said = inspect(text);
        let told = said["note"].as_str().unwrap_or_default().contains(note);
        assert!(said["admitted"] == admitted && told, "{note}: {said}");
    };
    let good = inspect(&bundle);
    assert_eq!((&good["kind"], &good["id"], &good["name"]), (&json!("bundle"), &json!(id), &json!("app")));
    says(&bundle, true, "tokens are exchanged for it at http://127.0.0.1:8080");
    let changed = |member: &str, value: &str| {
        let mut spoilt = members(&bundle);
        spoilt[member] = json!(value);
        let text = STANDARD.encode(spoilt.to_string());
        site.secrets.learn(&text);
        text
    };
    says(&changed("shortname", "other"), false, "its shortname is not that of this gateway, \"acme\"");
    says(&changed("appname", "other"), false, "its appname is not the name of the API key");
    let other = format!("kgs_1_{}", "0".repeat(43));
    says(&changed("sharedsecret", &other), false, "another shared secret is in force under the version");
    let unknown = format!("kga_000000000000_{}", "0".repeat(43));
    says(&changed("appkey", &unknown), false, "no API key has this id");
    site.cli(&["secret", "regenerate", "--yes"]).expect(0);
    says(&bundle, false, "its sharedsecret is version 1; the current version is 2");
    site.cli(&["key", "disable", "app", "--yes"]).expect(0);
    let anew = changed("sharedsecret", &site.shared_secret());
    says(&anew, false, "the API key is disabled");
    site.cli(&["key", "roll", "app", "--yes"]).expect(0);
    says(&anew, false, "was the key rolled?");
    site.write_config(&config.without_token_exchange());
    says(&anew, false, "no [token_exchange]");
    // Cut short, it is told which part is missing.
    let mut command = site.command(&["--output", "json", "inspect"]);
    let cut = site.run_with_stdin(&mut command, &bundle[..bundle.len() - 8]).expect(1).json();
    assert_eq!((&cut["kind"], &cut["well_formed"]), (&json!("bundle"), &json!(false)));
}

#[test]
fn inspect_knows_access_and_refresh_tokens() {
    let desk = Desk::start();
    let token = desk.token(&desk.reader);
    let inspect = |text: &str| {
        let done = desk.site.run_with_stdin(&mut desk.command(&["--output", "json", "inspect"]), text);
        desk.secrets.assert_absent("inspect", done.stdout.as_bytes());
        done.expect(0).json()
    };
    let access = inspect(&token.access);
    assert_eq!((&access["kind"], &access["name"]), (&json!("access token"), &json!(desk.reader.name)));
    assert_eq!((&access["version"], &access["admitted"]), (&json!(1), &json!(true)), "{access}");
    assert!(access["expires_at"].is_string(), "{access}");
    let refresh = inspect(&token.refresh);
    assert_eq!((&refresh["kind"], &refresh["admitted"]), (&json!("refresh token"), &Value::Null));
    assert!(refresh["note"].as_str().is_some_and(|note| note.contains("POST /api/auth/bearer/refresh")), "{refresh}");
    let last = if token.access.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &token.access[..token.access.len() - 1]);
    desk.secrets.learn(&forged);
    assert_eq!(inspect(&forged)["admitted"], false);
    desk.cli(&["key", "roll", &desk.reader.id, "--yes"]).expect(0);
    for text in [&token.access, &token.refresh] {
        let revoked = inspect(text);
        assert_eq!(revoked["admitted"], false);
        assert!(revoked["note"].as_str().is_some_and(|note| note.contains("rolled")), "{revoked}");
    }
    desk.cli(&["secret", "regenerate", "--yes"]).expect(0);
    let dead = inspect(&token.access);
    assert!(dead["note"].as_str().is_some_and(|note| note.contains("is not in force any more")), "{dead}");
}
