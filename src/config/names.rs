//! The names of a file before its values: unknown keys, keys of later versions, tables of the wrong shape.
//!
//! What is wrong is noted and then taken out or put right in the parsed tree, so that the rest of the file is still
//! checked and one run tells everything. Never here: what a value means. Called by [`super::parse`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::error::{Report, may_hold_secret, shown};

/// How alike two names must be for one to be suggested for the other (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// What may stand in a table.
pub(super) struct Names {
    /// What this version reads.
    pub(super) fields: &'static [&'static str],
    /// What a later version will read, and what it is.
    pub(super) later: &'static [(&'static str, &'static str)],
    /// Those of `fields` that are tables themselves.
    pub(super) inner: &'static [(&'static str, Shape, &'static Names)],
}

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[name]`.
    Table,
    /// `[[name]]`.
    Tables,
    /// A list of strings and tables.
    TextsOrTables,
}

impl Names {
    fn later(&self, name: &str) -> Option<&'static str> {
        let exact = self.later.iter().find(|(known, _)| *known == name).map(|(_, what)| *what);
        exact.or_else(|| (name.starts_with("http2") || name == "h2" || name == "h2c").then_some("HTTP/2"))
    }
}

/// The one of `known` that `written` was probably meant to be.
pub(super) fn alike<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = written.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Notes every name in `table`, which is called `path`, that is not one of `names`, and mends the table.
pub(super) fn check(table: &mut DeTable<'_>, names: &'static Names, path: &str, report: &mut Report<'_>) {
    let written: Vec<(String, Range<usize>)> =
        table.keys().map(|key| (key.get_ref().to_string(), key.span())).collect();
    for (name, span) in written {
        if names.fields.contains(&name.as_str()) {
            continue;
        }
        let key = join(path, &name);
        if let Some(what) = names.later(&name) {
            report.not_yet(&span, &key, what, "expected it to be left out");
            table.remove(name.as_str());
            continue;
        }
        let value = table.remove(name.as_str());
        let meant = alike(&name, names.fields.iter().copied());
        report.refuse(&span, &key, "unknown key", suggestion(meant, &name, names));
        if let (Some(meant), Some(value)) = (meant, value)
            && !table.contains_key(meant)
        {
            table.insert(Spanned::new(span, DeString::Borrowed(meant)), value);
        }
    }
    for (name, shape, inner) in names.inner {
        check_inner(table, (name, *shape, inner), path, report);
    }
}

/// Checks the table or tables `name` in `table`.
fn check_inner(
    table: &mut DeTable<'_>,
    (name, shape, names): (&'static str, Shape, &'static Names),
    path: &str,
    report: &mut Report<'_>,
) {
    let Some(span) = table.get_key_value(name).map(|(key, _)| key.span()) else { return };
    let key = join(path, name);
    let Some(value) = table.get_mut(name).map(Spanned::get_mut) else { return };
    if shape != Shape::Table && value.is_table() {
        report.refuse(&span, &key, "is one table", format!("expected a list: {}", spelt(&key, shape)));
        let mut list = DeArray::new();
        list.push(Spanned::new(span.clone(), std::mem::replace(value, DeValue::Boolean(false))));
        *value = DeValue::Array(list);
    }
    let wrong = match (shape, value) {
        (Shape::Table, DeValue::Table(inner)) => {
            check(inner, names, &key, report);
            false
        }
        (Shape::Tables | Shape::TextsOrTables, DeValue::Array(list)) => check_entries(list, shape, names, &key, report),
        (_, value) => {
            *value =
                if shape == Shape::Table { DeValue::Table(DeTable::new()) } else { DeValue::Array(DeArray::new()) };
            true
        }
    };
    if wrong {
        report.refuse(&span, &key, "has the wrong form", format!("expected {}", spelt(&key, shape)));
    }
}

/// Checks the tables in `list` and takes out what has no place there; true if there was such.
fn check_entries(
    list: &mut DeArray<'_>,
    shape: Shape,
    names: &'static Names,
    key: &str,
    report: &mut Report<'_>,
) -> bool {
    let mut odd = false;
    for mut entry in std::mem::replace(list, DeArray::new()) {
        match entry.get_mut() {
            DeValue::Table(inner) => check(inner, names, key, report),
            DeValue::String(_) if shape == Shape::TextsOrTables => {}
            _ => {
                odd = true;
                continue;
            }
        }
        list.push(entry);
    }
    odd
}

fn spelt(key: &str, shape: Shape) -> String {
    match shape {
        Shape::Table if key == "upstream.health" => "{ path = \"/healthz\" }".to_owned(),
        Shape::Table => format!("a table: [{key}]"),
        Shape::Tables => format!("[[{key}]], with two brackets"),
        Shape::TextsOrTables => "[\"127.0.0.1:9000\"] or [{ address = \"127.0.0.1:9000\", weight = 2 }]".to_owned(),
    }
}

fn suggestion(meant: Option<&str>, written: &str, names: &Names) -> String {
    if let Some(meant) = meant {
        return format!("did you mean `{meant}`?");
    }
    match elsewhere(written, &super::file::ROOT, "").as_slice() {
        [only] => format!("expected it as `{only}`"),
        _ => format!("expected one of: {}", names.fields.join(", ")),
    }
}

/// Where `name` would be known.
fn elsewhere(name: &str, names: &Names, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if names.fields.contains(&name) {
        found.push(join(path, name));
    }
    for (inner, _, below) in names.inner {
        found.extend(elsewhere(name, below, &join(path, inner)));
    }
    found
}

fn join(path: &str, name: &str) -> String {
    let name = if may_hold_secret(name) {
        "(not shown: it may be a secret)".to_owned()
    } else if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        name.to_owned()
    } else {
        shown(name)
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The whole name of the innermost value that `at` lies in.
pub(super) fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    search(table, "", at)
}

fn search(table: &DeTable<'_>, path: &str, at: usize) -> Option<String> {
    for (name, value) in table {
        let key = join(path, name.get_ref());
        let deeper = match value.get_ref() {
            DeValue::Table(inner) => search(inner, &key, at),
            DeValue::Array(list) => list.iter().find_map(|entry| match entry.get_ref() {
                DeValue::Table(inner) => search(inner, &key, at),
                _ => None,
            }),
            _ => None,
        };
        if deeper.is_some() {
            return deeper;
        }
        if value.span().contains(&at) || name.span().contains(&at) {
            return Some(key);
        }
    }
    None
}
