//! Lists of the admin plane: search, filters, orders, and pages that stay right while keys come and go.

use serde_json::{Value, json};

use crate::support::admin::{Api, Plane, key_target as of, named_fields, problem};
use crate::support::site::text_at;
use crate::support::wait_for;

/// All names, page by page, while `between` is done after each page.
fn walk(api: &Api, query: &str, limit: usize, mut between: impl FnMut(usize)) -> Vec<String> {
    let (mut names, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = api.get(&format!("/v1/api-keys?limit={limit}{query}{cursor}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let keys = page["api_keys"].as_array().expect("api_keys");
        assert!(keys.len() <= limit);
        names.extend(keys.iter().map(|k| text_at(k, "name")));
        let Some(next) = page["next_cursor"].as_str() else { return names };
        assert_eq!(keys.len(), limit, "only the last page is short");
        cursor = format!("&cursor={next}");
        between(pages);
        pages += 1;
    }
}

#[test]
fn paging_meets_every_key_once_while_others_come_and_go() {
    let plane = Plane::start();
    let api = plane.api();
    let kept: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    let keys: Vec<Value> = kept.iter().map(|name| api.add_key(name, "READONLY")).collect();
    for sort in ["name", "-name", "role", "-role", "created_at", "-created_at", "last_login", "-last_login"] {
        let names = walk(&api, &format!("&sort={sort}"), 3, |page| {
            // What is made or deleted meanwhile is there or not; the others are met once.
            let name = format!("{}-{page}-{sort}", ["a", "z"][page % 2]);
            let passing = api.add_key(&name, "ADMIN");
            if page > 0 {
                assert_eq!(api.delete(&of(&passing)).status, 200);
            }
            api.patch(&of(&keys[page]), &json!({ "description": format!("{sort} {page}") }));
        });
        let mut met: Vec<String> = names.into_iter().filter(|n| n.starts_with('k')).collect();
        if sort == "name" || sort == "created_at" {
            assert_eq!(met, kept, "{sort}");
        }
        if sort == "-name" || sort == "-created_at" {
            assert!(met.iter().rev().eq(&kept), "{sort}: {met:?}");
        }
        met.sort();
        assert_eq!(met, kept, "{sort}");
    }
}

#[test]
fn the_list_is_searched_filtered_and_sorted() {
    let plane = Plane::start();
    let api = plane.api();
    let encoded = text_at(&api.add_key("Orders", "ADMIN"), "encoded_key");
    api.post("/v1/api-keys", &json!({ "name": "reports", "role": "READONLY", "description": "reads ORDERS at night" }));
    let off = api.add_key("off 100%_x", "READONLY");
    api.act(&format!("{}/disable", of(&off)));
    let names = |query: &str| {
        let page = api.get(&format!("/v1/api-keys?{query}"));
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        let mut names: Vec<String> =
            page.json()["api_keys"].as_array().expect("api_keys").iter().map(|k| text_at(k, "name")).collect();
        if !query.contains("sort") {
            names.sort();
        }
        names.join(",")
    };
    for (query, expected) in [
        ("", "Orders,off 100%_x,reports"),
        ("q=orders", "Orders,reports"),
        ("q=REPORTS", "reports"),
        ("q=100%25_", "off 100%_x"),
        ("q=100%25z", ""),
        ("role=READONLY", "off 100%_x,reports"),
        ("role=ADMIN&q=orders", "Orders"),
        ("state=disabled", "off 100%_x"),
        ("state=active", "Orders,reports"),
        ("stale=true", ""),
        ("unused_for=30d", ""),
        ("sort=-created_at", "off 100%_x,reports,Orders"),
    ] {
        assert_eq!(names(query), expected, "{query}");
    }
    assert_eq!(plane.admits(&encoded), 200);
    wait_for("the use is written", || names("sort=-last_login").starts_with("Orders"));
}

#[test]
fn a_cursor_is_of_the_order_that_it_was_made_in() {
    let plane = Plane::start();
    let api = plane.api();
    for name in ["a", "b"] {
        api.add_key(name, "ADMIN");
    }
    let cursor = text_at(&api.get("/v1/api-keys?limit=1&sort=name").json(), "next_cursor");
    for query in [format!("sort=-name&cursor={cursor}"), format!("sort=role&cursor={cursor}"), "cursor=abc".to_owned()]
    {
        let refused = api.get(&format!("/v1/api-keys?{query}"));
        assert_eq!(problem(&refused), (422, "invalid-request".to_owned()), "{query}");
        assert_eq!(named_fields(&refused), ["cursor"], "{query}");
    }
}

#[test]
fn the_audit_is_filtered_and_paged() {
    let plane = Plane::start();
    let api = plane.api();
    let key = api.add_key("app", "ADMIN");
    for n in 0..5 {
        api.patch(&of(&key), &json!({ "description": n.to_string() }));
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = plane.viewer().get(&format!("/v1/audit?limit=2&action=api_key{cursor}")).json();
        seen.extend(page["audit"].as_array().expect("audit").iter().map(|a| text_at(a, "action")));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [vec!["api_key.update"; 5], vec!["api_key.create"]].concat(), "the newest first");
    let count = |query: &str| api.get(&format!("/v1/audit?{query}")).json()["audit"].as_array().map(Vec::len);
    let id = text_at(&key, "id");
    assert_eq!(count(&format!("subject={id}")), Some(6));
    assert_eq!(count(&format!("subject={id}&action=api_key.create&who={}", plane.admin.id)), Some(1));
    assert_eq!(count("who=nobody"), Some(0));
    assert_eq!(count("until=2020-01-01T00:00:00Z"), Some(0));
    assert_eq!(count(&format!("since=2020-01-01T00:00:00Z&subject={id}")), Some(6));
}
