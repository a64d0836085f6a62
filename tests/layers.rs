//! Who may use whom: the directions of section 10 of the design, held by reading the sources' own paths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// What each module may use, beside itself and what all may use. A name with `::` is one part of a module.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("main", &["*"]),
    ("cli", &["*"]),
    ("app", &["*"]),
    ("proxy", &["credential", "keyring", "usage", "fleet::lease", "metrics", "exchange"]),
    ("exchange", &["credential", "keyring", "usage", "fleet::lease", "metrics", "throttle"]),
    ("admin", &["lifecycle", "fleet", "store", "credential", "metrics", "entropy", "throttle"]),
    ("lifecycle", &["fleet", "store", "credential", "entropy"]),
    ("keyring", &["credential", "entropy", "usage::record", "store"]),
    ("usage", &["credential", "keyring", "store"]),
    ("fleet", &["credential", "keyring", "store", "entropy"]),
    ("store", &["credential", "entropy"]),
    ("credential", &["entropy"]),
    ("metrics", &["credential"]),
    ("config", &["credential"]),
    ("throttle", &[]),
    ("clock", &[]),
    ("entropy", &[]),
];

/// Beside their own lists, all may use these.
const FOR_ALL: [&str; 2] = ["clock", "config::resolved"];

/// Files of a module that may use less than the module.
const NARROWER: [(&str, &[&str]); 8] = [
    ("keyring/mod.rs", &["store"]),
    ("keyring/slot.rs", &["store"]),
    ("keyring/generation.rs", &["store"]),
    ("keyring/verify.rs", &["store"]),
    ("usage/record.rs", &["store", "keyring", "credential"]),
    ("fleet/lease.rs", &["keyring", "credential", "entropy"]),
    ("proxy", &["store", "lifecycle", "cli", "app", "admin"]),
    // It works on the trait; `app` chooses the store.
    ("admin", &["store::sqlite", "keyring", "proxy", "cli", "app"]),
];

static CRATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bcrate::").expect("a regular expression"));

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("src").map(|e| e.expect("an entry").path()) {
            if entry.is_dir() {
                walk(&entry, found);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                found.push(entry);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |path: &Path| path.strip_prefix(&root).expect("under src").to_string_lossy().into_owned();
    found.iter().map(|p| (name(p), product_code(&std::fs::read_to_string(p).expect("a source")))).collect()
}

/// Without comments and unit tests: those may use what they test with.
fn product_code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || Path::new(name).file_stem().is_some_and(|s| s.to_string_lossy().contains("test"))
}

fn module(name: &str) -> &str {
    name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// `use crate::{a, b::{c, d::E}}` gives `a`, `b::c` and `b::d::E`; so does what stands in the middle of code.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for start in CRATE.find_iter(code) {
        tree(&code[start.end()..], "", &mut found);
    }
    found
}

/// Reads one path or `{list of paths}` and gives what follows it.
fn tree<'c>(code: &'c str, before: &str, found: &mut BTreeSet<String>) -> &'c str {
    let code = code.trim_start();
    if let Some(list) = code.strip_prefix('{') {
        let mut rest = list.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = tree(rest, before, found);
            // `as name`, and the comma.
            rest = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
            rest = rest.trim_start_matches(',').trim_start();
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let end = code.find(|c: char| c != '_' && c != '*' && !c.is_ascii_alphanumeric()).unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    let path = match name {
        "self" | "*" | "" => before.to_owned(),
        name if before.is_empty() => name.to_owned(),
        name => format!("{before}::{name}"),
    };
    match rest.strip_prefix("::") {
        // `::<` begins types, not another name.
        Some(more) if !more.starts_with('<') => tree(more, &path, found),
        _ => {
            found.insert(path);
            rest
        }
    }
}

/// Does `rule` (a module, or one part of one) cover `path`?
fn covers(rule: &str, path: &str) -> bool {
    rule == "*" || path == rule || path.strip_prefix(rule).is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn imports_are_found_in_whatever_form() {
    let code = "use crate::{a, b::{c, d::{E, self}, f::*}, g as h};\npub(crate) fn x() { crate::i::j::<K>(); }\n\
                use crate::{\n    l,\n    m::{\n        n,\n    },\n};\nuse crate::o::{P, q};";
    let expected = ["a", "b::c", "b::d", "b::d::E", "b::f", "g", "i::j", "l", "m::n", "o::P", "o::q"];
    assert_eq!(imports(code).iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn modules_use_only_what_the_design_lets_them() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut wrong = Vec::new();
    for (name, code) in sources() {
        let module = module(&name);
        if is_test(&name) || name == "lib.rs" {
            continue;
        }
        let Some(rules) = allowed.get(module) else {
            wrong.push(format!("{name}: the module {module} is not in the design's list"));
            continue;
        };
        for path in imports(&code) {
            let fine = covers(module, &path) || rules.iter().chain(&FOR_ALL).any(|rule| covers(rule, &path));
            if !fine {
                wrong.push(format!("{name} uses crate::{path}"));
            }
        }
        for (file, denied) in NARROWER {
            if name.starts_with(file) {
                let used = imports(&code);
                let bad = used.iter().filter(|path| denied.iter().any(|d| covers(d, path)));
                wrong.extend(bad.map(|path| format!("{name} uses crate::{path}")));
            }
        }
    }
    assert!(wrong.is_empty(), "against section 10 of the design:\n{}", wrong.join("\n"));
}

#[test]
fn every_endpoint_of_the_api_is_in_its_description() {
    // What is registered with `routes!` is described; tests go through the description to prove each closed. Only the page's
    // own files, which are open to everybody, are registered without.
    let mut wrong = Vec::new();
    for (name, code) in sources() {
        if name.starts_with("admin/") && name != "admin/page.rs" && !is_test(&name) {
            let plain = [".route(", ".route_service(", ".nest(", ".nest_service("];
            wrong.extend(plain.iter().filter(|way| code.contains(**way)).map(|way| format!("{name}: {way}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn clocks_randomness_and_the_environment_enter_at_app_and_the_command_line_alone() {
    let direct =
        Regex::new(r"SystemTime::now|std::time::Instant|std::time::\{[^}]*\bInstant|getrandom::|env::var|env::vars|SystemClock\b|SystemEntropy\b")
            .expect("a regular expression");
    let home = ["clock.rs", "entropy.rs", "app.rs", "main.rs"];
    let mut wrong = Vec::new();
    for (name, code) in sources() {
        if is_test(&name) || home.contains(&name.as_str()) || name.starts_with("cli/") || name.starts_with("app/") {
            continue;
        }
        wrong.extend(direct.find_iter(&code).map(|m| format!("{name}: {}", m.as_str())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_says_what_it_is_for_and_is_a_room_of_one_purpose() {
    for (name, _) in sources() {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&name)).expect("a source");
        assert!(text.starts_with("//!"), "{name} has no //! header");
        let file = Path::new(&name).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        assert!(!["util", "utils", "common", "helpers", "manager"].contains(&file), "{name}");
    }
}
