//! The shared secret on the page: it is there only when it was asked for, and regenerating never surprises anybody.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Page;
use crate::support::browser::hook;

/// How often the secret was read, by the audit.
fn reads(page: &Page) -> usize {
    page.plane.audit("shared_secret.view").len()
}

#[test]
fn the_secret_is_fetched_only_to_be_revealed_or_copied() {
    let page = Page::start();
    page.click(&hook("shared-secret"));
    page.see(&hook("secret-value"));
    page.see(&hook("impact"));
    assert!(!page.text(&hook("secret-value")).contains(char::is_uppercase), "masked");
    page.plane.secrets.assert_absent("the page", page.page_source().as_bytes());
    assert_eq!(reads(&page), 0);
    page.click(&hook("reveal-secret"));
    page.see_text(&hook("secret-value"), "kgs_1_");
    page.see_text(&hook("reveal-secret"), "Hide");
    let revealed = page.text(&hook("secret-value"));
    assert_eq!(reads(&page), 1);
    page.click(&hook("reveal-secret"));
    page.see_text(&hook("reveal-secret"), "Reveal");
    assert!(!page.page_source().contains(&revealed), "hidden is gone");
    page.click(&hook("copy-secret"));
    page.see_text(&hook("copy-secret"), "Copied");
    assert_eq!(page.clipboard(), revealed);
    assert_eq!(reads(&page), 2);
    assert!(!page.page_source().contains(&revealed), "copied, not shown");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    // Read last, since reading is counted.
    assert_eq!(revealed, page.plane.shared_secret());
    page.plane.secrets.assert_absent("the page", page.page_source().as_bytes());
}

#[test]
fn with_grace_old_keys_go_on_until_it_is_ended() {
    let page = Page::start();
    let told = page.add_key("app", "ADMIN");
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.choose(&hook("grace-period"), "24h");
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.click(&hook("confirm-regenerate"));
    page.see(&hook("regenerated"));
    page.see(&hook("grace"));
    assert_eq!(page.plane.admits(&told.encoded), 200);
    page.click(&hook("done"));
    page.see_gone("dialog");
    page.see_text(&hook("summary"), "shared secret version 2 · version 1 in grace");
    page.click(&hook("shared-secret"));
    page.see_text(&hook("secret-version"), "2");
    page.see_text(&hook("grace"), "Version 1 is still accepted");
    let until = page.text(&hook("grace"));
    assert!(["(in 1 day)", "(in 23 hours)"].iter().any(|left| until.contains(left)), "{until}");
    page.look("grace");
    page.click(&hook("end-grace"));
    page.click(&format!("{} {}", hook("end-grace-dialog"), hook("confirm")));
    page.see_gone(&hook("end-grace"));
    assert_eq!(page.plane.admits(&told.encoded), 401);
}

#[test]
fn who_regenerates_what_somebody_else_has_just_regenerated_is_told_and_does_not() {
    let page = Page::start();
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.plane.json(&["secret", "regenerate", "--yes"]);
    page.click(&hook("confirm-regenerate"));
    page.see(&hook("version-conflict"));
    assert_eq!(page.plane.json(&["secret", "show"])["version"], json!(2));
    page.see_text(&hook("secret-version"), "2");
}

#[test]
fn while_a_node_is_waited_for_the_page_shows_which() {
    let page = Page::start();
    let other = page.plane.serve_another(&crate::support::Config::in_front_of(&page.plane.upstream));
    crate::fleet::pause_outside_of_transactions(&other, &page.plane);
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.click(&hook("confirm-regenerate"));
    page.see_text(&format!("{}[data-standing=\"pending\"]", hook("node-confirmation")), &format!(":{}", other.pid()));
    other.resume();
    page.see_text(&hook("promise"), "Promise held");
    assert_eq!(page.texts(&hook("node-confirmation")).len(), 2);
}

/// A file of the source.
fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A program's output; it must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

#[test]
fn the_recipes_of_the_page_make_the_published_vectors() {
    let texts = source("src/admin/page/recipe_texts.js") + "console.log(JSON.stringify([SHELL, PYTHON, JAVASCRIPT]));";
    let node = |code: &str| {
        let mut command = Command::new("node");
        command.args(["--input-type=module", "-e", code]);
        command
    };
    let texts: [String; 3] = serde_json::from_str(&output(&mut node(&texts))).expect("three texts");
    let vectors: Value = serde_json::from_str(&source("docs/test-vectors.json")).expect("JSON");
    let vectors = vectors["encoded_keys"].as_array().expect("encoded_keys");
    assert!(vectors.len() >= 5);
    for vector in vectors {
        let member = |name: &str| vector[name].as_str().unwrap_or_else(|| panic!("no {name} in {vector}"));
        // Out of the app key, and out of the key encoded with another version.
        let old = format!("kg_3_{}_{}", &member("app_key")[4..], "0".repeat(40));
        for from in [member("app_key"), &old] {
            let [shell, python, javascript] = &texts;
            let mut sh = Command::new("sh");
            sh.args(["-c", shell]);
            let mut python3 = Command::new("python3");
            python3.args(["-c", python]);
            for mut command in [sh, python3, node(javascript)] {
                command.env("SHARED_SECRET", member("shared_secret")).env("OLD_KEY", from);
                assert_eq!(output(&mut command), member("encoded_key"), "{command:?}");
            }
        }
    }
}
