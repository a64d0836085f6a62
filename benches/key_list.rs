//! Pages of keys from a SQLite store of a million: every order, filter and search, and what the indexes cost a writer.
//!
//! The promise is 50 ms a page. `KEYGATE_BENCH_KEYS` says how many keys. Names are of three kinds: words with numbers,
//! a long run of equal beginnings, and a tenant whose keys are all at the end of the alphabet.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a bench asks for the time and the environment"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use keygate::clock::WallTime;
use keygate::credential::{KeyId, KeyState, Policy, Role, SecretDigest};
use keygate::entropy::{Entropy as _, SystemEntropy};
use keygate::store::sqlite::SqliteStore;
use keygate::store::{Actor, Audit, KeyCursor, KeyFilter, KeyQuery, KeySort, NewKey, Store as _, Usage, UsageDelta};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The promise.
const A_PAGE: Duration = Duration::from_millis(50);

const DAY: u64 = 24 * 3_600_000;
const NOW: u64 = 1_800_000_000_000;

fn main() {
    let keys: u32 = std::env::var("KEYGATE_BENCH_KEYS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000_000);
    // More than the promise speaks of would take half an hour to fill.
    let keys = keys.min(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(keys));
}

async fn run(keys: u32) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keygate.db");
    let store = SqliteStore::create(&path, &SystemEntropy.hex128()).await.expect("a store");
    let start = Instant::now();
    fill(&path, keys).await;
    let took = start.elapsed();
    println!("{keys} keys in {:.1} s, {:.0} µs each", took.as_secs_f64(), took.as_secs_f64() * 1e6 / f64::from(keys));
    println!("\n| list | 50 keys, ms | 200 keys, ms | deep page, ms |\n|---|---|---|---|");
    let mut worst = Duration::ZERO;
    for (name, filter) in filters() {
        for (sort, descending) in orders() {
            let query = KeyQuery { filter: filter.clone(), sort, descending, after: None, limit: 50 };
            let mut times = Vec::new();
            for (limit, deep) in [(50, false), (200, false), (50, true)] {
                let after = if deep { far(&store, &query).await } else { None };
                let query = KeyQuery { limit, after, ..query.clone() };
                times.push(time(&store, &query).await);
            }
            worst = worst.max(times.iter().copied().max().unwrap_or_default());
            let shown = times.iter().map(|t| format!("{:.1}", t.as_secs_f64() * 1e3)).collect::<Vec<_>>().join(" | ");
            println!("| {name}, {}{sort} | {shown} |", if descending { "-" } else { "" });
        }
    }
    let start = Instant::now();
    let counts = store.key_counts(WallTime::from_millis(NOW - DAY)).await.expect("counts");
    println!("\ncounts {counts:?}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    write(&store).await;
    let verdict = if worst <= A_PAGE { "kept" } else { "NOT kept" };
    println!("slowest page {:.1} ms: the promise of {A_PAGE:?} is {verdict}", worst.as_secs_f64() * 1e3);
}

fn orders() -> impl Iterator<Item = (KeySort, bool)> {
    let sorts = [KeySort::Name, KeySort::Role, KeySort::LastLogin, KeySort::CreatedAt];
    sorts.into_iter().flat_map(|sort| [(sort, false), (sort, true)])
}

fn filters() -> Vec<(&'static str, KeyFilter)> {
    let all = KeyFilter::default();
    let text = |text: &str| KeyFilter { text: Some(text.to_owned()), ..KeyFilter::default() };
    let unused = |days: u64| KeyFilter { unused_since: Some(WallTime::from_millis(NOW - days * DAY)), ..all.clone() };
    vec![
        ("all", all.clone()),
        ("ADMIN", KeyFilter { role: Some(Role::Admin), ..all.clone() }),
        ("disabled", KeyFilter { state: Some(KeyState::Disabled), ..all.clone() }),
        ("deleted", KeyFilter { state: Some(KeyState::Deleted), ..all.clone() }),
        ("stale", KeyFilter { stale: true, ..all.clone() }),
        ("unused for 30 days", unused(30)),
        ("unused for 360 days", unused(360)),
        (
            "unused for 30 days, ADMIN, disabled",
            KeyFilter { role: Some(Role::Admin), state: Some(KeyState::Disabled), ..unused(30) },
        ),
        ("\"a\"", text("a")),
        ("\"zz\"", text("zz")),
        ("\"billing\"", text("billing")),
        ("\"application-00\"", text("application-00")),
        ("\"application-00123\"", text("application-00123")),
        ("\"tenant-zz\"", text("tenant-zz")),
        ("\"for the finance\"", text("for the finance")),
        ("\"0012345\"", text("0012345")),
        ("\"is not there\"", text("is not there")),
        ("\"billing\", stale", KeyFilter { stale: true, ..text("billing") }),
        ("\"billing\", unused for 360 days", KeyFilter { text: Some("billing".to_owned()), ..unused(360) }),
    ]
}

/// The best of three: the first one may read from the disk.
async fn time(store: &SqliteStore, query: &KeyQuery) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        store.key_page(query).await.expect("a page");
        best = best.min(start.elapsed());
    }
    best
}

/// A place ten long pages on.
async fn far(store: &SqliteStore, query: &KeyQuery) -> Option<KeyCursor> {
    let mut query = KeyQuery { limit: KeyQuery::MOST, ..query.clone() };
    for _ in 0..10 {
        query.after = Some(store.key_page(&query).await.expect("a page").next?);
    }
    query.after
}

/// Through the tables' own triggers, as keys are made, in transactions of ten thousand.
async fn fill(path: &Path, keys: u32) {
    const KEY: &str =
        "INSERT INTO api_keys SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, NULL,
        NULL, randomblob(32), 1, value ->> 5, value ->> 5, 1 FROM json_each(?1)";
    let mut conn = SqliteConnectOptions::new()
        .filename(path)
        .pragma("cache_size", "-65536")
        .disable_statement_logging()
        .connect()
        .await
        .expect("a connection");
    let mut rows = Vec::new();
    for n in 0..keys {
        rows.push(row(n));
        if rows.len() == 10_000 || n + 1 == keys {
            let json = serde_json::to_string(&rows).expect("JSON");
            sqlx::query("BEGIN").execute(&mut conn).await.expect("begin");
            sqlx::query(KEY).bind(&json).execute(&mut conn).await.expect("keys");
            sqlx::query(LOGINS).bind(&json).execute(&mut conn).await.expect("logins");
            sqlx::query("COMMIT").execute(&mut conn).await.expect("commit");
            rows.clear();
        }
    }
}

const LOGINS: &str = "INSERT INTO key_usage (key_id, last_login, use_count, stale_version, stale_at)
    SELECT value ->> 0, value ->> 6, 1, value ->> 7 IS NOT NULL, value ->> 7 FROM json_each(?1) WHERE true
    ON CONFLICT (key_id) DO UPDATE SET last_login = excluded.last_login, stale_version = excluded.stale_version,
        stale_at = excluded.stale_at";

type Row = (u64, String, String, &'static str, &'static str, u64, Option<u64>, Option<u64>);

/// Deterministic, but for its id.
fn row(n: u32) -> Row {
    const WORDS: [&str; 12] = [
        "billing", "reports", "nightly", "export", "payments", "import", "sync", "website", "mobile", "partner", "crm",
        "ledger",
    ];
    let mixed = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let word = |shift: u64| WORDS[usize::try_from((mixed >> shift) % 12).unwrap_or(0)];
    let name = match n % 50 {
        0 => format!("tenant-zz-{n:07}"),
        1..=16 => format!("application-{n:08}"),
        _ => format!("{}-{}-{n}", word(3), word(11)),
    };
    let description = match n % 3 {
        0 => String::new(),
        1 => format!("{} for the {} department, row {n}", word(5), word(7)),
        _ => format!("{} job", word(9)),
    };
    let role = if n.is_multiple_of(10) { "ADMIN" } else { "READONLY" };
    let state = match n % 40 {
        0 => "deleted",
        1 => "disabled",
        _ => "active",
    };
    let created_at = NOW - mixed % (400 * DAY);
    let last_login = (mixed % 3 > 0).then(|| created_at + (mixed >> 8) % (NOW - created_at + 1));
    let stale_at = n.is_multiple_of(97).then_some(NOW);
    (KeyId::draw(&SystemEntropy).as_u64(), name, description, role, state, created_at, last_login, stale_at)
}

/// What a key and a batch of last logins cost, with all those keys there.
async fn write(store: &SqliteStore) {
    const KEYS: u32 = 500;
    let actor = Actor { who: "system".to_owned(), from: "local".to_owned() };
    let start = Instant::now();
    for n in 0..KEYS {
        let id = KeyId::draw(&SystemEntropy);
        let key = NewKey {
            id,
            name: format!("written {n}").parse().expect("a name"),
            description: format!("the key of number {n}"),
            role: Role::ReadOnly,
            policy: Policy::default(),
            digest: SecretDigest::of(&n.to_be_bytes()),
        };
        let (at, detail) = (WallTime::from_millis(NOW), serde_json::Value::Null);
        let audit = Audit { actor: &actor, at, action: "api_key.create", subject: id.to_string(), detail };
        store.insert_key(&key, &SystemEntropy.hex128(), &audit).await.expect("a key");
    }
    println!("a key is made in {:.0} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(KEYS));
    let query = KeyQuery { limit: KeyQuery::MOST, sort: KeySort::CreatedAt, ..KeyQuery::default() };
    let keys = store.key_page(&query).await.expect("a page").keys;
    let usage = Usage { last_login: Some(WallTime::from_millis(NOW + 1)), use_count: 1, ..Usage::default() };
    let mut batch: Vec<_> = keys.iter().map(|(key, _)| UsageDelta { id: key.id, usage: usage.clone() }).collect();
    batch.sort_by_key(|delta| delta.id);
    let start = Instant::now();
    store.merge_usage(&batch).await.expect("last logins");
    println!("{} last logins in {:.1} ms", batch.len(), start.elapsed().as_secs_f64() * 1e3);
}
