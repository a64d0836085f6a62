//! The command line's side of the admin plane: operators, lists, counts, audit records, what `check` looks at.

use serde_json::json;

use crate::support::{Config, Site, Upstream};

fn site() -> (Upstream, Site) {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    (upstream, site)
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    list["api_keys"].as_array().expect("api_keys").iter().filter_map(|key| key["name"].as_str()).collect()
}

#[test]
fn operators_are_made_listed_rotated_and_removed_and_the_last_admin_stays() {
    let (_upstream, site) = site();
    let made = site.json(&["operator", "add", "ada", "--role", "viewer"]);
    let token = made["token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("kgo_") && made["role"] == "viewer", "{made}");
    let told = site.cli(&["operator", "list"]).expect(0).stdout;
    assert!(told.contains("ada") && !told.contains("kgo_"), "{told}");
    let again = site.cli(&["operator", "add", "ada", "--role", "admin"]).expect(1);
    assert!(again.stderr.contains("ada"), "{}", again.stderr);

    let unasked = site.cli(&["operator", "rotate", "ada"]).expect(2);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let rotated = site.json(&["operator", "rotate", "ada", "--yes"]);
    assert!(rotated["token"].as_str().is_some_and(|new| new != token && new.starts_with("kgo_")));
    site.cli(&["operator", "remove", "ada", "--yes"]).expect(0);
    let list = site.json(&["operator", "list"]);
    let [only] = list["operators"].as_array().expect("operators").as_slice() else { panic!("{list}") };
    let refused = site.cli(&["operator", "remove", only["name"].as_str().expect("a name"), "--yes"]).expect(1);
    assert!(refused.stderr.contains("last"), "{}", refused.stderr);
}

#[test]
fn lists_are_sorted_searched_narrowed_and_paged() {
    let (_upstream, site) = site();
    for (name, role) in [("orders", "readonly"), ("Reports", "admin"), ("reporting", "readonly")] {
        site.key_add(name, role);
    }
    let list = |options: &[&str]| site.json(&[&["key", "list"], options].concat());
    assert_eq!(names(&list(&[])), ["orders", "reporting", "Reports"]);
    assert_eq!(names(&list(&["--sort=-name"])), ["Reports", "reporting", "orders"]);
    assert_eq!(names(&list(&["--sort", "role"])), ["Reports", "orders", "reporting"]);
    assert_eq!(names(&list(&["--search", "PORT"])), ["reporting", "Reports"]);
    assert_eq!(names(&list(&["--role", "readonly", "--search", "rep"])), ["reporting"]);
    assert_eq!(names(&list(&["--unused-for", "0s"])).len(), 3, "none was ever used");
    assert_eq!(names(&list(&["--unused-for", "1d"])).len(), 0, "none is a day old");
    let first = list(&["--limit", "2"]);
    assert_eq!(names(&first), ["orders", "reporting"]);
    let rest = list(&["--cursor", first["next_cursor"].as_str().expect("a cursor")]);
    assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["Reports"], &json!(null)));
    let foreign = first["next_cursor"].as_str().expect("a cursor");
    site.cli(&["key", "list", "--sort=-name", "--cursor", foreign]).expect(1);
}

#[test]
fn the_impact_of_a_regeneration_is_told_without_the_secret() {
    let (_upstream, site) = site();
    let gateway = site.serve();
    let used = site.key_add("used", "readonly");
    site.key_add("idle", "readonly");
    assert_eq!(gateway.get("/", &used).status, 200);
    crate::support::wait_for("the login is written", || site.json(&["secret", "impact"])["keys"]["used_24h"] == 1);
    let impact = site.json(&["secret", "impact"]);
    assert_eq!(impact["version"], 1);
    assert_eq!(impact["keys"], json!({"active": 2, "disabled": 0, "used_24h": 1, "never_used": 1, "stale": 0}));
    assert!(!impact.to_string().contains("kgs_"));
}

#[test]
fn audit_records_are_found_by_action_subject_and_number() {
    let (_upstream, site) = site();
    let key = site.key_add("reports", "readonly");
    site.cli(&["key", "disable", "reports", "--yes"]).expect(0);
    site.cli(&["secret", "show"]).expect(0);
    let actions = |options: &[&str]| -> Vec<String> {
        let found = site.json(&[&["audit"], options].concat());
        let records = found["audit"].as_array().expect("audit").clone();
        records.iter().filter_map(|record| Some(record["action"].as_str()?.to_owned())).collect()
    };
    assert_eq!(actions(&["--action", "shared_secret.view"]), ["shared_secret.view"]);
    assert_eq!(actions(&["--subject", &key.id]), ["api_key.disable", "api_key.create"]);
    assert_eq!(actions(&["--action", "api_key", "--limit", "1"]), ["api_key.disable"]);
    assert!(actions(&["--who", "nobody of this name"]).is_empty());
    assert!(actions(&["--until", "1970-01-02"]).is_empty() && actions(&["--since", "1h"]).len() > 3);
}

#[test]
fn the_command_line_takes_what_the_api_takes_and_no_more() {
    let (_upstream, site) = site();
    let add = |description: &str| {
        site.cli(&["key", "add", "reports", "--role", "readonly", "--description", description]).expect(2).stderr
    };
    assert!(add(&"x".repeat(2_001)).contains("2000 characters"));
    assert!(add("\u{1b}[2J").contains("control characters"));
    let networks: Vec<String> = (0..65).map(|n| format!("--network=10.{n}.0.0/16")).collect();
    let mut many = vec!["key", "add", "reports", "--role", "readonly"];
    many.extend(networks.iter().map(String::as_str));
    assert!(site.cli(&many).expect(2).stderr.contains("64 times"));
}

#[test]
fn check_reads_the_certificate_of_the_admin_listener() {
    let upstream = Upstream::echo();
    let site = Site::new(&Config::in_front_of(&upstream));
    let tls = "[admin.tls]\ncertificate = \"admin.pem\"\nkey = \"admin.key\"";
    site.write_config(&Config::in_front_of(&upstream).admin(tls));
    let refused = site.cli(&["check"]).expect(1);
    assert!(refused.stderr.contains("admin.pem"), "{}", refused.stderr);
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(site.path("admin.pem"), pair.cert.pem()).expect("writes");
    std::fs::write(site.path("admin.key"), pair.signing_key.serialize_pem()).expect("writes");
    site.cli(&["check"]).expect(0);
}
