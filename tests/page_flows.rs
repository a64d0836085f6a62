//! What administrators do on the page, from a fresh `keygate init` on: every step in a real browser, its effect seen on
//! the data plane.

use std::process::Command;

use serde_json::json;

use crate::support::admin::{Operator, Plane};
use crate::support::browser::hook;
use crate::support::page::row;
use crate::support::{Browser, Config, Gateway, Page, Site, Upstream, wait_for};

/// A gateway just as `keygate init` leaves it, and the token that it printed.
fn fresh() -> Plane {
    let upstream = Upstream::echo();
    let site = Site::empty();
    site.write_config(&Config::in_front_of(&upstream));
    let printed = site.cli(&["init"]).expect(0).stdout;
    let token = regex::Regex::new("kgo_[0-9a-z]{12}_[0-9A-Za-z]{43}").unwrap().find(&printed).expect("a token");
    let admin = Operator { id: token.as_str()[4..16].to_owned(), token: token.as_str().to_owned() };
    let node = site.serve();
    Plane { gateway: Gateway { node, site }, upstream, viewer: admin.clone(), admin }
}

#[test]
fn from_init_to_a_request_that_is_refused_after_regenerate() {
    let plane = fresh();
    let page = Page { browser: Browser::start(), plane };
    page.open(&format!("{}/", page.plane.anonymous().origin()));
    page.log_in(&page.plane.admin);

    // ADD API KEY.
    page.see(&hook("empty"));
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "reports");
    page.fill(&hook("description"), "reads the orders at night");
    page.choose(&hook("role"), "READONLY");
    page.click(&hook("save"));
    let told = page.told();
    page.click(&hook("copy-encoded-key"));
    page.see_text(&hook("copy-encoded-key"), "Copied");
    assert_eq!(page.clipboard(), told.encoded);
    page.click(&hook("copy-app-key"));
    page.see_text(&hook("copy-app-key"), "Copied");
    assert_eq!(page.clipboard(), told.app_key);
    page.click(&hook("done"));
    page.see_gone(&hook("encoded-key"));
    assert!(page.plane.secrets.find(page.page_source().as_bytes()).is_none(), "shown once");
    let shown = page.text(&hook("row"));
    for text in ["reports", "reads the orders at night", "READONLY", "Never"] {
        assert!(shown.contains(text), "{text} in {shown}");
    }

    // The request is admitted, and Last Login appears by itself.
    assert_eq!(page.plane.admits(&told.encoded), 200);
    wait_for("Last Login appears", || page.text(&hook("last-login")) != "Never");
    let time = regex::Regex::new(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$").unwrap();
    assert!(time.is_match(&page.text(&hook("last-login"))), "{}", page.text(&hook("last-login")));

    // API SHARED SECRET, REGENERATE.
    page.click(&hook("shared-secret"));
    assert_eq!(page.text(&hook("secret-version")), "1");
    page.see_text(&hook("impact"), "1 key used in the last 24 hours will stop working");
    page.click(&hook("regenerate"));
    assert!(!page.is_enabled(&hook("confirm-regenerate")));
    page.fill(&hook("confirm-word"), "regenerate");
    assert!(!page.is_enabled(&hook("confirm-regenerate")), "the word as it is written");
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.click(&hook("confirm-regenerate"));
    page.see(&hook("regenerated"));
    page.see_text(&hook("promise"), "Promise held");
    let confirmed = page.text(&hook("node-confirmation"));
    assert!(confirmed.contains(&format!(":{}", page.plane.node.pid())), "{confirmed}");

    // The request is refused and told why.
    let refused = page.plane.node.get("/x", &told.encoded);
    assert_eq!((refused.status, &refused.json()["type"]), (401, &json!("urn:keygate:problem:stale-shared-secret")));

    // Each recipe makes the key that works now.
    let secret = page.plane.shared_secret();
    for (language, program, flag) in [("shell", "sh", "-c"), ("python", "python3", "-c"), ("javascript", "node", "-e")]
    {
        page.click(&hook(&format!("recipe-{language}")));
        let code = page.text(&hook(&format!("recipe-{language}-code")));
        page.click(&hook(&format!("copy-recipe-{language}")));
        page.see_text(&hook(&format!("copy-recipe-{language}")), "Copied");
        assert_eq!(page.clipboard().trim(), code.trim(), "{language}");
        let mut command = Command::new(program);
        if program == "node" {
            command.arg("--input-type=module");
        }
        command.args([flag, &code]).env("SHARED_SECRET", &secret).env("OLD_KEY", &told.encoded);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{language}: {}", String::from_utf8_lossy(&output.stderr));
        let anew = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        page.plane.secrets.learn(&anew);
        assert_eq!(page.plane.admits(&anew), 200, "{language}");
    }
    page.click(&hook("done"));
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn cancel_changes_nothing() {
    let page = Page::start();
    let told = page.add_key("app", "ADMIN");
    let id = told.app_key[4..16].to_owned();
    let before = page.plane.json(&["key", "list"])["api_keys"].clone();
    for steps in [&["add-key"][..], &["shared-secret"], &["shared-secret", "regenerate"]] {
        for step in steps {
            page.click(&hook(step));
        }
        if steps.contains(&"regenerate") {
            page.fill(&hook("confirm-word"), "REGENERATE");
            assert!(page.is_enabled(&hook("confirm-regenerate")));
        } else if steps.contains(&"add-key") {
            page.fill(&hook("name"), "never");
        }
        page.click(&hook("cancel"));
        page.see_gone("dialog");
    }
    for entry in ["menu-edit", "menu-roll", "menu-disable", "menu-delete"] {
        page.choose_in_menu(&id, entry);
        match entry {
            "menu-edit" => page.fill(&hook("name"), "never"),
            "menu-disable" => drop(page.see(&hook("confirm"))),
            _ => page.fill(&hook("confirm-name"), "app"),
        }
        page.click(&hook("cancel"));
        page.see_gone("dialog");
    }
    let key = &page.plane.json(&["key", "list"])["api_keys"];
    for member in ["id", "name", "role", "state", "revision"] {
        assert_eq!(key[0][member], before[0][member], "{member}");
    }
    assert_eq!(
        (page.plane.json(&["secret", "show"])["version"].clone(), page.plane.admits(&told.encoded)),
        (json!(1), 200)
    );
    // What was cancelled does not come back.
    page.click(&hook("add-key"));
    assert_eq!(page.value(&hook("name")), "");
}

#[test]
fn a_key_is_edited_disabled_enabled_rolled_and_deleted() {
    let page = Page::start();
    let told = page.add_key("app", "ADMIN");
    let id = told.app_key[4..16].to_owned();
    let row = row(&id);
    page.choose_in_menu(&id, "menu-edit");
    assert_eq!(page.value(&hook("name")), "app");
    page.fill(&hook("name"), "renamed");
    page.fill(&hook("description"), "for the night");
    page.choose(&hook("role"), "READONLY");
    page.click(&hook("save"));
    page.see_text(&row, "renamed");
    page.see_text(&row, "READONLY");
    let post = crate::support::request::post("/x", b"").bearer(&told.encoded);
    assert_eq!((page.plane.admits(&told.encoded), page.plane.node.send(&post).status), (200, 403));

    page.choose_in_menu(&id, "menu-disable");
    page.click(&hook("confirm"));
    page.see_text(&row, "Disabled");
    assert_eq!(page.plane.admits(&told.encoded), 401);
    page.choose_in_menu(&id, "menu-enable");
    page.see_text(&row, "Active");
    assert_eq!(page.plane.admits(&told.encoded), 200);

    page.choose_in_menu(&id, "menu-roll");
    page.confirm_by("renamed");
    let rolled = page.told();
    assert_eq!((page.plane.admits(&told.encoded), page.plane.admits(&rolled.encoded)), (401, 200));
    page.click(&hook("copy-encoded-key"));
    page.click(&hook("done"));

    page.choose_in_menu(&id, "menu-delete");
    page.fill(&hook("confirm-name"), "something else");
    assert!(!page.is_enabled(&hook("confirm")));
    page.fill(&hook("confirm-name"), "renamed");
    page.click(&hook("confirm"));
    page.see(&hook("empty"));
    assert_eq!(page.plane.admits(&rolled.encoded), 401);
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn what_does_not_hold_is_told_at_its_field_and_what_was_typed_stays() {
    let page = Page::start();
    page.has_key("taken");
    page.click(&hook("add-key"));
    page.click(&hook("save"));
    page.see(&hook("error-name"));
    page.see(&hook("error-role"));
    page.fill(&hook("name"), "taken");
    page.choose(&hook("role"), "ADMIN");
    page.click(&format!("{} summary", hook("limits")));
    page.fill(&hook("networks"), "10.0.0.0/8\nnonsense");
    page.click(&hook("save"));
    page.see(&hook("error-allowed_networks"));
    page.fill(&hook("networks"), "10.0.0.0/8");
    page.click(&hook("save"));
    wait_for("the name is refused", || page.page_text().contains("taken") && page.shows(".field-error, .notice.error"));
    assert_eq!(page.value(&hook("networks")), "10.0.0.0/8");
    page.fill(&hook("name"), "free");
    page.click(&hook("save"));
    page.told();
    let key = &page.plane.api().get("/v1/api-keys?q=free").json()["api_keys"][0];
    assert_eq!((&key["allowed_networks"], &key["role"]), (&json!(["10.0.0.0/8"]), &json!("ADMIN")));
}

#[test]
fn leaving_before_anything_was_copied_asks_first() {
    let page = Page::start();
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "app");
    page.choose(&hook("role"), "ADMIN");
    page.click(&hook("save"));
    page.told();
    // Closing the tab or leaving the page: the browser asks.
    let asks = || {
        page.eval(
            "const leaving = new Event('beforeunload', { cancelable: true }); window.dispatchEvent(leaving); \
             return leaving.defaultPrevented",
        )
    };
    assert_eq!(asks(), true);
    page.click(&hook("done"));
    page.see(&hook("stored-question"));
    page.click(&format!("{} {}", hook("stored-question"), hook("cancel")));
    page.see_gone(&hook("stored-question"));
    page.see(&hook("encoded-key"));
    page.click(&hook("done"));
    page.click(&format!("{} {}", hook("stored-question"), hook("confirm")));
    page.see_gone(&hook("encoded-key"));
    assert_eq!(asks(), false);
    // Once it was copied, nobody asks.
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "copied");
    page.choose(&hook("role"), "ADMIN");
    page.click(&hook("save"));
    page.told();
    page.click(&hook("copy-app-key"));
    page.see_text(&hook("copy-app-key"), "Copied");
    assert_eq!(asks(), false);
    page.click(&hook("done"));
    page.see_gone("dialog");
}

#[test]
fn the_list_is_searched_filtered_and_sorted() {
    let page = Page::start();
    for (name, role) in [("orders", "ADMIN"), ("old orders", "READONLY"), ("billing", "READONLY")] {
        page.plane.api().add_key(name, role);
    }
    page.plane.cli(&["key", "disable", "billing", "--yes"]).expect(0);
    page.reload();
    let names = || page.texts(&hook("row-name"));
    let expect = |what: &str, expected: &[&str]| wait_for(&format!("{what}: {expected:?}"), || names() == expected);
    expect("by name", &["billing", "old orders", "orders"]);
    page.click(&hook("sort-name"));
    expect("the other way round", &["orders", "old orders", "billing"]);
    page.choose(&hook("sort"), "created_at");
    expect("by age", &["orders", "old orders", "billing"]);
    page.fill(&hook("search"), "RDE");
    expect("search", &["orders", "old orders"]);
    page.choose(&hook("filter-role"), "READONLY");
    expect("search and role", &["old orders"]);
    page.reload();
    expect("the address holds it", &["old orders"]);
    page.click(&hook("clear"));
    expect("cleared", &["orders", "old orders", "billing"]);
    page.choose(&hook("filter-state"), "disabled");
    expect("state", &["billing"]);
    page.choose(&hook("filter-state"), "");
    page.fill(&hook("filter-unused"), "30");
    page.see(&hook("no-match"));
    page.click(&hook("clear-filters"));
    expect("cleared", &["orders", "old orders", "billing"]);
    page.click(&hook("filter-stale"));
    page.see(&hook("no-match"));
}
