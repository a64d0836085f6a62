//! Lists on the page: ten thousand rows, page by page; the line above them that agrees with them; searches that are too
//! short; and the audit, as people read it.

use std::collections::BTreeSet;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::admin::Plane;
use crate::support::browser::hook;
use crate::support::{Page, wait_for};

const KEYS: usize = 10_000;
const A_PAGE: usize = 200;

/// Puts keys into the store, faster than anybody could make them.
fn fill(plane: &Plane) {
    const ROWS: &str = "INSERT INTO api_keys \
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
        SELECT 1000 + i, printf('application %05d', i), 'row ' || i, iif(i % 10, 'READONLY', 'ADMIN'), 'active', \
            NULL, NULL, randomblob(32), 1, 1700000000000, 1700000000000, 1 FROM n";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = SqliteConnectOptions::new().filename(plane.path("keygate.db")).disable_statement_logging();
        let mut store = store.connect().await.expect("the store");
        let keys = i64::try_from(KEYS).expect("a number");
        sqlx::query(ROWS).bind(keys).execute(&mut store).await.expect("rows");
    });
}

/// A number as the page writes it.
fn written(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

#[test]
fn ten_thousand_rows_are_gone_through_to_the_end_and_back() {
    let plane = Plane::start();
    fill(&plane);
    let page = Page::of(plane);
    page.see_text(&hook("summary"), "10,000 active keys");
    page.see_text(&hook("page-info"), "1–50");
    page.eval("window.scrollTo(0, document.body.scrollHeight)");
    page.look("keys-many");
    page.choose(&hook("page-size"), &A_PAGE.to_string());
    let names = || {
        let names = page.eval("return [...document.querySelectorAll('[data-test=row-name]')].map(e => e.textContent)");
        names.as_array().expect("names").iter().map(|n| n.as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let arrive = |at: usize| {
        let range = format!("{}–{}", written(at * A_PAGE + 1), written((at + 1) * A_PAGE));
        wait_for(&range, || page.text(&hook("page-info")) == range);
        let names = names();
        assert_eq!((names.len(), &names[0]), (A_PAGE, &format!("application {:05}", at * A_PAGE + 1)));
        names
    };
    let last = KEYS / A_PAGE - 1;
    let mut met = BTreeSet::from_iter(arrive(0));
    assert!(!page.is_enabled(&hook("previous")) && !page.is_enabled(&hook("first")));
    for at in 1..=last {
        page.click(&hook("next"));
        met.extend(arrive(at));
    }
    assert_eq!(met.len(), KEYS, "each is met once");
    assert!(!page.is_enabled(&hook("next")));
    wait_for("a button that leads on has the focus", || page.has_focus(&hook("previous")));
    for at in (0..last).rev() {
        page.click(&hook("previous"));
        arrive(at);
    }
    assert!(!page.is_enabled(&hook("previous")));
    for at in 1..=2 {
        page.click(&hook("next"));
        arrive(at);
    }
    page.click(&hook("first"));
    arrive(0);
    page.fill(&hook("search"), "ATION 09999");
    wait_for("it is found among all", || names() == ["application 09999"]);
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_line_above_the_list_agrees_with_it() {
    let page = Page::start();
    page.see_text(&hook("summary"), "0 active keys");
    // Somebody else makes keys: they appear, and the line tells of them.
    page.plane.api().add_key("theirs", "ADMIN");
    page.see_text(&hook("row"), "theirs");
    page.see_text(&hook("summary"), "1 active key ");
    page.plane.cli(&["key", "disable", "theirs", "--yes"]).expect(0);
    page.see_text(&hook("row"), "Disabled");
    page.see_text(&hook("summary"), "0 active keys · 1 disabled");
    page.plane.cli(&["key", "delete", "theirs", "--yes"]).expect(0);
    page.see(&hook("empty"));
    wait_for("no key is told", || !page.text(&hook("summary")).contains("disabled"));
}

#[test]
fn a_short_search_says_what_it_looks_at() {
    let page = Page::start();
    for name in ["orders", "border", "or"] {
        page.plane.api().add_key(name, "ADMIN");
    }
    page.reload();
    let expect = |names: &[&str]| wait_for(&format!("{names:?}"), || page.texts(&hook("row-name")) == names);
    page.fill(&hook("search"), "or");
    expect(&["or", "orders"]);
    page.see_text(&hook("short-search"), "Names that begin with “or”");
    page.look("short-search");
    page.fill(&hook("search"), "ord");
    expect(&["border", "orders"]);
    wait_for("the hint is gone", || page.texts(&hook("short-search")).concat().is_empty());
    page.fill(&hook("search"), "zz");
    page.see_text(&hook("no-match"), "Names that begin with “zz”");
}

#[test]
fn the_audit_is_for_people() {
    let page = Page::start();
    let id = page.has_key("reports");
    let address = page.plane.api();
    let changes =
        serde_json::json!({ "role": "READONLY", "allowed_networks": ["10.0.0.0/8"], "description": "at night" });
    assert_eq!(address.patch(&format!("/v1/api-keys/{id}"), &changes).status, 200);
    page.plane.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    page.go("audit");
    let of = |action: &str| format!("{}[data-action=\"{action}\"]", hook("audit-row"));
    let update = page.text(&of("api_key.update"));
    for told in
        ["API key updated", "role ADMIN → READONLY", "networks all → 10.0.0.0/8", "description none → at night", "ada"]
    {
        assert!(update.contains(told), "{told} in {update}");
    }
    assert!(!update.contains("routes") && !update.contains("expires"), "only what differs: {update}");
    let made = page.text(&of("api_key.create"));
    assert!(made.contains("role ADMIN") && !made.contains("networks"), "only what is set: {made}");
    let regenerated = page.text(&of("shared_secret.regenerate"));
    assert!(regenerated.contains("version 1 → 2") && regenerated.contains("UTC"), "{regenerated}");
    let all = page.texts(&hook("audit-row")).concat();
    assert!(!all.contains(['{', '"']) && !all.contains("null"), "{all}");
    page.look("audit-changes");
    for width in [1280, 900, 390] {
        page.resize(width, 900);
        let broken = "return [...document.querySelectorAll('[data-test=audit-row] code')] \
            .filter(e => e.getClientRects().length > 1).map(e => e.textContent)";
        assert_eq!(page.eval(broken), serde_json::json!([]), "ids are on one line at {width}");
        page.assert_fits("audit");
    }
    // From a record to its key, also when it is deleted.
    page.click(&format!("{} {}", of("api_key.update"), hook("audit-key")));
    page.see_text(&hook("details-dialog"), &id);
    page.click(&hook("close"));
    page.see_gone("dialog");
    page.plane.cli(&["key", "delete", "reports", "--yes"]).expect(0);
    page.click(&hook("refresh"));
    page.see_text(&of("api_key.delete"), "state was active");
    page.click(&format!("{} {}", of("api_key.delete"), hook("audit-key")));
    page.see_text(&hook("details-dialog"), "Deleted");
    assert_eq!(page.complaints(), [""; 0]);
}
