//! The API is what its OpenAPI document says: a linter reads the document, and schemathesis asks a live server for all
//! that is in it, and for what is not.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::admin::Plane;
use crate::support::{Config, Upstream, count, tools};

/// The served document, in a file.
fn document(plane: &Plane) -> PathBuf {
    let response = plane.api().get("/v1/openapi.json");
    assert_eq!(response.status, 200, "{}", response.text());
    let path = plane.path("openapi.json");
    std::fs::write(&path, &response.body).expect("writes");
    path
}

#[track_caller]
fn assert_success(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_document_is_openapi_3_1_and_a_linter_finds_nothing() {
    let plane = Plane::start();
    let document = document(&plane);
    let text = std::fs::read_to_string(&document).expect("it is there");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(json["openapi"].as_str().is_some_and(|v| v.starts_with("3.1.")), "{}", json["openapi"]);
    assert_success(&tools::openapi_linter().arg(document).output().expect("node runs"));
}

/// Schemathesis with all checks against a server of its own, as an operator of its own. All but one: a deleted key is
/// still there to be read, as a record that says `deleted`.
fn schemathesis(plane: &Plane) -> Command {
    let operator = plane.operator("schemathesis", "admin");
    let mut command = tools::schemathesis();
    command
        .args([
            "run",
            "--checks",
            "all",
            "--exclude-checks",
            "use_after_free",
            "--continue-on-failure",
            "--no-color",
            "--warnings",
            "off",
        ])
        .args(["--suppress-health-check", "all", "--request-timeout", "30"])
        .args(["--max-examples", count("12", "300"), "--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--url", &plane.anonymous().origin()])
        .args(["--header", &format!("Authorization: Bearer {}", operator.token)])
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("KEYGATE_TEST_OPERATOR", operator.id)
        // It leaves files where it runs.
        .current_dir(plane.dir());
    command.args(count(&["--generation-deterministic"][..], &["--generation-database", "none"]));
    command
}

#[test]
fn schemathesis_finds_no_difference_between_document_and_server() {
    // With bundles in answers.
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).token_exchange("");
    let plane = Plane::of(upstream, &config);
    // Logins are tried apart: those that fail make their address wait, and so everything else that comes from there.
    let output = schemathesis(&plane).args(["--exclude-operation-id", "logIn"]).arg(document(&plane)).output();
    assert_success(&output.expect("schemathesis runs"));
}

#[test]
fn schemathesis_finds_nothing_about_logins_either() {
    let plane = Plane::start();
    let output = schemathesis(&plane).args(["--include-operation-id", "logIn"]).arg(document(&plane)).output();
    assert_success(&output.expect("schemathesis runs"));
}
