//! Integrations as they are written, with the libraries that they use, and nothing given to them but a bundle; and the
//! page that tells how to write one, whose every example is run.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Value;

use crate::support::exchange::{self, Desk, Jwt, exchange, now, refresh};
use crate::support::site::{BINARY, text_at};
use crate::support::{Key, tools};

/// A desk whose bundles name the address where it really is, and the bundle of a key.
struct Place {
    desk: Desk,
    key: Key,
    bundle: String,
}

fn start(name: &str, role: &str) -> Place {
    let desk = Desk::start();
    desk.write_config(&desk.config.clone().exchange_url(&format!("http://{}", desk.node.address())));
    let answer = desk.json(&["key", "add", name, "--role", role]);
    let key = crate::support::site::key_in(&answer);
    Place { bundle: text_at(&answer, "bundle"), key, desk }
}

/// The bundle with another shared secret, and nothing else of it touched.
fn with_secret(bundle: &str, secret: &str) -> String {
    let json = String::from_utf8(STANDARD.decode(bundle).expect("base64")).expect("text");
    let members: Value = serde_json::from_str(&json).expect("JSON");
    STANDARD.encode(json.replace(members["sharedsecret"].as_str().expect("a secret"), secret))
}

/// Runs an integration with this bundle: its exit code and what it printed.
fn run(place: &Place, mut command: Command, bundle: &str) -> (Option<i32>, String) {
    place.desk.secrets.learn(bundle);
    let output = command.env("KEYGATE_BUNDLE", bundle).output().expect("the integration runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    place.desk.secrets.assert_absent("an integration's output", &output.stdout);
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

/// Exchange, a GET, refresh, a GET; and the same again when the shared secret is regenerated, with nothing replaced
/// in the bundle but `sharedsecret`.
fn works_and_survives_regenerate(make: impl Fn(&Place) -> Command) {
    for (name, role) in [("reports", "readonly"), ("Größe \"XL\" \\ 7", "admin")] {
        let mut place = start(name, role);
        let scope = role.to_uppercase();
        let expected = format!("exchange 200 {scope}\nget 200\nrefresh 200 {scope}\nget 200\n");
        let as_expected = (Some(0), expected);
        let first = place.bundle.clone();
        assert_eq!(run(&place, make(&place), &first), as_expected);
        // More than once: no two JWTs are alike.
        assert_eq!(run(&place, make(&place), &first), as_expected);

        place.desk.regenerate(&[]);
        let (code, told) = run(&place, make(&place), &first);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.starts_with("exchange 401 Unauthorized: The bundle's sharedsecret is out of date"), "{told}");
        let second = with_secret(&first, &place.desk.secret);
        assert_eq!(run(&place, make(&place), &second), as_expected);

        let seen = place.desk.upstream.seen();
        assert_eq!(seen.len(), 6);
        for request in seen {
            assert_eq!((request.header("authorization"), request.method()), (None, "GET"));
            assert_eq!(request.header("x-keygate-key-id"), Some(place.key.id.as_str()));
        }
    }
}

/// A script of tests/tools/integrations in the site's directory, where Node.js looks for libraries.
fn node_script(place: &Place, name: &str) -> Command {
    std::fs::copy(tools::source(&format!("integrations/{name}")), place.desk.path(name)).expect("copies");
    let mut command = tools::node(place.desk.dir());
    command.arg(name);
    command
}

#[test]
fn pyjwt_and_httpx() {
    works_and_survives_regenerate(|_| {
        let mut command = tools::python();
        command.arg(tools::source("integrations/httpx_client.py"));
        command
    });
}

#[test]
fn pyjwt_and_requests() {
    works_and_survives_regenerate(|_| {
        let mut command = tools::python();
        command.arg(tools::source("integrations/requests_client.py"));
        command
    });
}

#[test]
fn jsonwebtoken_and_fetch() {
    works_and_survives_regenerate(|place| node_script(place, "jsonwebtoken.mjs"));
}

#[test]
fn jose_and_fetch() {
    works_and_survives_regenerate(|place| node_script(place, "jose.mjs"));
}

#[test]
fn a_shell_with_curl_and_openssl() {
    works_and_survives_regenerate(|_| {
        let mut command = tools::without_proxies(Command::new("sh"));
        command.arg(tools::source("integrations/curl.sh"));
        command
    });
}

/// `docs/integrations.md`.
fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/integrations.md");
    std::fs::read_to_string(path).expect("docs/integrations.md")
}

/// The page's sections: title, and the blocks in it by language, in order.
fn sections(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut sections = vec![(String::new(), Vec::new())];
    let mut block: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => sections.last_mut().expect("one").1.push(block.take().expect("a block")),
            (Some((_, text)), None) => text.extend([line, "\n"]),
            (None, None) => {
                if let Some(title) = line.strip_prefix("## ") {
                    sections.push((title.to_owned(), Vec::new()));
                }
            }
        }
    }
    assert!(block.is_none(), "a block without an end");
    sections
}

/// Runs the blocks of a language of one section as one script, in a place of their own; gives what they print.
fn run_example(title: &str, language: &str, script: &str) -> String {
    // Not a plain name: what takes a bundle for ASCII, or JSON for a pattern, shows.
    let place = start("Größe \"XL\" \\ 7", "readonly");
    let program_folder = Path::new(BINARY).parent().expect("a folder").display();
    let path = format!("{program_folder}:{}", std::env::var("PATH").expect("PATH"));
    let file = match language {
        "sh" => "example.sh",
        "python" => "example.py",
        "javascript" => "example.mjs",
        other => panic!("{title}: {other} is no language that can be run"),
    };
    std::fs::write(place.desk.path(file), script).expect("writes");
    let mut command = match language {
        "sh" => {
            let mut shell = tools::without_proxies(Command::new("sh"));
            shell.arg("-eu");
            shell
        }
        "python" => tools::python(),
        _ => tools::node(place.desk.dir()),
    };
    let output = command
        .arg(file)
        .current_dir(place.desk.dir())
        .env("PATH", path)
        .env("KEYGATE_CONFIG", place.desk.path("keygate.toml"))
        .env("KEYGATE_URL", format!("http://{}", place.desk.node.address()))
        .env("KEYGATE_KEY", &place.key.encoded)
        .env("KEYGATE_BUNDLE", &place.bundle)
        .output()
        .expect("the example runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{title}, {language}:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn every_example_of_the_page_does_what_it_says() {
    let page = page();
    let mut run = Vec::new();
    for (title, blocks) in sections(&page) {
        let mut scripts: Vec<(&str, String, String)> = Vec::new();
        let mut last = None;
        for (language, text) in &blocks {
            // What the block before it prints; what is only shown says that it is JSON or TOML.
            if language == "text" {
                let at = last.unwrap_or_else(|| panic!("{title}: nothing prints {text:?}"));
                let script: &mut (&str, String, String) = &mut scripts[at];
                script.2 += text;
            } else if !["json", "toml"].contains(&language.as_str()) {
                let at = scripts.iter().position(|(l, _, _)| l == language).unwrap_or_else(|| {
                    scripts.push((language, String::new(), String::new()));
                    scripts.len() - 1
                });
                scripts[at].1 += text;
                last = Some(at);
            }
        }
        for (language, script, expected) in scripts {
            assert_eq!(run_example(&title, language, &script), expected, "{title}, {language}");
            run.push(language.to_owned());
        }
    }
    for language in ["sh", "python", "javascript"] {
        assert!(run.iter().filter(|l| *l == language).count() >= 2, "{run:?}");
    }
}

/// A text in which numbers do not matter.
fn without_numbers(text: &str) -> String {
    Regex::new("[0-9]+").expect("an expression").replace_all(text, "N").into_owned()
}

#[test]
fn every_refusal_of_a_right_body_is_on_the_page_in_its_own_words() {
    let mut desk = Desk::start();
    let page = without_numbers(&page().split_whitespace().collect::<Vec<_>>().join(" "));
    let mut told = Vec::new();
    let mut tell = |desk: &Desk, jwt: &Jwt| {
        let response = desk.present(&jwt.text());
        assert_ne!(response.status, 200, "{}", jwt.claims);
        told.push(exchange::message(&response));
    };
    let right = |desk: &Desk| desk.jwt(&desk.reader);
    let used = right(&desk);
    assert_eq!(desk.present(&used.text()).status, 200);
    tell(&desk, &used);
    tell(&desk, &right(&desk).with("appkey", "kga_nonsense"));
    tell(&desk, &right(&desk).with("iat", now() - 1000));
    tell(&desk, &right(&desk).with("iat", now() + 1000));
    tell(&desk, &right(&desk).with("shortname", "other"));
    tell(&desk, &right(&desk).with("appname", "other"));
    tell(&desk, &right(&desk).with("aud", "x"));
    let elsewhere = desk.key_add_with("elsewhere", "readonly", &["--network", "192.0.2.0/24"]);
    tell(&desk, &desk.jwt(&elsewhere));
    let short = desk.key_add_with("short", "readonly", &["--expires", "1s"]);
    crate::support::wait_for("the key expires", || desk.present(&desk.jwt(&short).text()).status == 401);
    tell(&desk, &desk.jwt(&short));
    desk.json(&["key", "disable", &desk.admin.id, "--yes"]);
    tell(&desk, &desk.jwt(&desk.admin));
    let token = desk.token(&desk.reader);
    let old = right(&desk);
    let rolled = desk.key_add("rolled", "readonly");
    let revoked = desk.token(&rolled);
    desk.json(&["key", "roll", &rolled.id, "--yes"]);
    let ended = desk.send(&refresh(&revoked.refresh));
    desk.regenerate(&[]);
    tell(&desk, &old);
    told.push(exchange::message(&ended));
    assert_eq!(exchange::message(&desk.send(&refresh(&token.refresh))), exchange::NOT_VALID);
    let slowed = exchange::fresh_address();
    crate::support::wait_for("it is slowed", || {
        let response = desk.send_from(slowed, &exchange("nonsense"));
        told.push(exchange::message(&response));
        response.status == 429
    });
    for message in told {
        let message = without_numbers(&message);
        assert!(page.contains(&message), "not in docs/integrations.md: {message}");
    }
}
