//! Pages of keys, compared with a model that looks at all of them.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{Fixture, change_id, new_key};
use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState, Role};
use crate::entropy::SystemEntropy;
use crate::store::sqlite::key_page::{Plan, read_by};
use crate::store::sqlite::key_text::fold;
use crate::store::{
    ApiKey, KeyCounts, KeyFilter, KeyPage, KeyQuery, KeySort, KeyUpdate, NewKey, Store as _, StoreError, Usage,
    UsageDelta,
};

/// What becomes of one key.
#[derive(Clone, Debug)]
struct Made {
    name: String,
    description: String,
    admin: bool,
    state: KeyState,
    created_at: u64,
    last_login: Option<u64>,
    stale_at: Option<u64>,
    /// Changed afterwards, so that every trigger has its turn.
    description_after: Option<String>,
}

fn made() -> impl Strategy<Value = Made> {
    let state = prop_oneof![6 => Just(KeyState::Active), 2 => Just(KeyState::Disabled), 1 => Just(KeyState::Deleted)];
    let description = "[a-cA-CäÄ \n\"%]{0,8}";
    (
        "[a-cA-CäÄ_ß]{1,5}",
        description,
        any::<bool>(),
        state,
        0..20_u64,
        prop::option::of(0..20_u64),
        prop::option::of(0..20_u64),
        prop::option::of(description),
    )
        .prop_map(|(name, description, admin, state, created_at, last_login, stale_at, description_after)| Made {
            name,
            description,
            admin,
            state,
            created_at,
            last_login,
            stale_at,
            description_after,
        })
}

const STATES: [KeyState; 3] = [KeyState::Active, KeyState::Disabled, KeyState::Deleted];

fn filter() -> impl Strategy<Value = KeyFilter> {
    let role = prop_oneof![2 => Just(None), 1 => Just(Some(Role::Admin)), 1 => Just(Some(Role::ReadOnly))];
    (
        role,
        prop::option::weighted(0.3, prop::sample::select(&STATES[..])),
        prop::option::weighted(0.6, "[a-cA-CäÄ \"]{0,4}"),
        prop::option::weighted(0.4, 0..22_u64),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(role, state, text, unused, stale)| KeyFilter {
            role,
            state,
            text,
            unused_since: unused.map(WallTime::from_millis),
            stale,
        })
}

const SORTS: [KeySort; 4] = [KeySort::Name, KeySort::Role, KeySort::LastLogin, KeySort::CreatedAt];

fn query() -> impl Strategy<Value = KeyQuery> {
    (filter(), prop::sample::select(&SORTS[..]), any::<bool>(), 1..8_u32)
        .prop_map(|(filter, sort, descending, limit)| KeyQuery { filter, sort, descending, after: None, limit })
}

async fn fill(fixture: &Fixture, all: &[Made]) {
    for made in all {
        let mut new = new_key("x");
        let Ok(name) = made.name.parse() else { continue };
        NewKey { name, ..new.clone() }.clone_into(&mut new);
        new.description.clone_from(&made.description);
        new.role = if made.admin { Role::Admin } else { Role::ReadOnly };
        let audit = fixture.audit("api_key.create", made.created_at);
        if fixture.store.insert_key(&new, &change_id(), &audit).await.is_err() {
            // The name is taken.
            continue;
        }
        let usage = Usage {
            last_login: made.last_login.map(WallTime::from_millis),
            stale: made.stale_at.map(|at| (1, WallTime::from_millis(at))),
            ..Usage::default()
        };
        fixture.store.merge_usage(&[UsageDelta { id: new.id, usage }]).await.unwrap();
        let (description, state) = (made.description_after.clone(), Some(made.state));
        fixture.update(new.id, &KeyUpdate { description, state, ..KeyUpdate::default() }).await.unwrap();
    }
}

/// As the documentation of [`KeyFilter`] says.
fn wanted(filter: &KeyFilter, key: &ApiKey, usage: &Usage) -> bool {
    let name = fold(key.name.as_str());
    let text = filter.text.as_deref().map(fold).is_none_or(|text| match text.chars().count() {
        0..=2 => name.starts_with(&text),
        _ => name.contains(&text) || fold(&key.description).contains(&text),
    });
    text && filter.role.is_none_or(|role| key.role == role)
        && filter.state.map_or(key.state != KeyState::Deleted, |state| key.state == state)
        && filter
            .unused_since
            .is_none_or(|since| key.created_at < since && usage.last_login.is_none_or(|at| at < since))
        && (!filter.stale || is_stale(usage))
}

fn is_stale(usage: &Usage) -> bool {
    usage.stale.is_some_and(|(_, at)| at >= usage.last_login.unwrap_or_default())
}

fn compare(sort: KeySort, (a, used_a): &(ApiKey, Usage), (b, used_b): &(ApiKey, Usage)) -> Ordering {
    let name = || fold(a.name.as_str()).cmp(&fold(b.name.as_str()));
    let first = match sort {
        KeySort::Name => name(),
        KeySort::Role => a.role.as_str().cmp(b.role.as_str()).then_with(name),
        KeySort::LastLogin => used_a.last_login.cmp(&used_b.last_login),
        KeySort::CreatedAt => a.created_at.cmp(&b.created_at),
    };
    first.then(a.id.cmp(&b.id))
}

async fn everything(fixture: &Fixture) -> Vec<(ApiKey, Usage)> {
    let mut ids = Vec::new();
    fixture.store.load(&mut |key| ids.push(key.id)).await.unwrap();
    let mut all = Vec::new();
    for id in ids {
        all.push(fixture.store.key(id).await.unwrap().unwrap());
    }
    all
}

async fn page(fixture: &Fixture, query: &KeyQuery, plan: Plan) -> KeyPage {
    let mut tx = fixture.store.snapshot().await.unwrap();
    let page = read_by(plan, &mut tx.conn, query).await.unwrap();
    tx.settle(Ok(page)).await.unwrap()
}

fn ids(keys: &[(ApiKey, Usage)]) -> Vec<KeyId> {
    keys.iter().map(|(key, _)| key.id).collect()
}

/// All pages of a list.
async fn list(fixture: &Fixture, mut query: KeyQuery, plan: Plan) -> Vec<KeyId> {
    let mut all = Vec::new();
    loop {
        let page = page(fixture, &query, plan).await;
        assert!(page.keys.len() <= usize::try_from(query.limit).unwrap());
        all.extend(ids(&page.keys));
        let Some(next) = page.next else { return all };
        let next = Some(next.to_string().parse().unwrap());
        assert_ne!(next, query.after, "every page goes on");
        query.after = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_page_is_the_models(all in prop::collection::vec(made(), 0..40), queries in prop::collection::vec(query(), 12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::with_secret().await;
            fill(&fixture, &all).await;
            let stored = everything(&fixture).await;
            for query in queries {
                let mut expected: Vec<_> =
                    stored.iter().filter(|(key, usage)| wanted(&query.filter, key, usage)).cloned().collect();
                expected.sort_by(|a, b| compare(query.sort, a, b));
                if query.descending {
                    expected.reverse();
                }
                // Gathered at once; walks that reach the end, that are as short as can be, and that end somewhere.
                for (few, walk) in [(1_000, 0), (0, 1_000), (0, 0), (0, 12), (8, 12)] {
                    let found = list(&fixture, query.clone(), Plan { few, walk }).await;
                    prop_assert_eq!(found, ids(&expected), "{:?}, {} {}", query, few, walk);
                }
            }
            counts_agree(&fixture, &stored).await;
            Ok(())
        })?;
    }
}

async fn counts_agree(fixture: &Fixture, stored: &[(ApiKey, Usage)]) {
    let since = WallTime::from_millis(10);
    let of = |state| stored.iter().filter(move |(key, _)| key.state == state);
    let active =
        |wanted: &dyn Fn(&Usage) -> bool| of(KeyState::Active).filter(|(_, usage)| wanted(usage)).count() as u64;
    let expected = KeyCounts {
        active: active(&|_| true),
        disabled: of(KeyState::Disabled).count() as u64,
        used: active(&|usage| usage.last_login.is_some_and(|at| at >= since)),
        never_used: active(&|usage| usage.last_login.is_none()),
        stale: active(&is_stale),
    };
    assert_eq!(fixture.store.key_counts(since).await.unwrap(), expected);
}

#[tokio::test]
async fn a_cursor_of_another_order_is_refused() {
    let fixture = Fixture::with_secret().await;
    for name in ["a", "b"] {
        fixture.insert(&new_key(name)).await.unwrap();
    }
    let query = KeyQuery { limit: 1, ..KeyQuery::default() };
    let after = fixture.store.key_page(&query).await.unwrap().next;
    assert!(after.is_some());
    let turned = KeyQuery { descending: true, after: after.clone(), ..query.clone() };
    assert!(matches!(fixture.store.key_page(&turned).await, Err(StoreError::OtherOrder)));
    let other = KeyQuery { sort: KeySort::CreatedAt, after, ..query };
    assert!(matches!(fixture.store.key_page(&other).await, Err(StoreError::OtherOrder)));
}

#[tokio::test]
async fn keys_that_come_and_go_neither_repeat_nor_hide_others() {
    let fixture = Fixture::with_secret().await;
    for name in ["b", "d", "f", "h"] {
        fixture.insert(&new_key(name)).await.unwrap();
    }
    let mut query = KeyQuery { limit: 2, ..KeyQuery::default() };
    let first = fixture.store.key_page(&query).await.unwrap();
    fixture.insert(&new_key("a")).await.unwrap();
    fixture.insert(&new_key("e")).await.unwrap();
    // The key that the cursor stands behind.
    fixture.delete(first.keys[1].0.id).await.unwrap();
    query.after = first.next;
    query.limit = 10;
    let names: Vec<_> =
        fixture.store.key_page(&query).await.unwrap().keys.iter().map(|(k, _)| k.name.to_string()).collect();
    assert_eq!(names, ["e", "f", "h"]);
}

#[tokio::test]
async fn what_is_said_of_an_unknown_id_is_in_no_list() {
    let fixture = Fixture::with_secret().await;
    let usage = Usage { last_login: Some(WallTime::from_millis(5)), ..Usage::default() };
    let id = KeyId::draw(&SystemEntropy);
    fixture.store.merge_usage(&[UsageDelta { id, usage }]).await.unwrap();
    for sort in SORTS {
        let query = KeyQuery { sort, ..KeyQuery::default() };
        assert!(fixture.store.key_page(&query).await.unwrap().keys.is_empty());
    }
    assert_eq!(fixture.store.key_counts(WallTime::EPOCH).await.unwrap(), KeyCounts::default());
    // Its key comes after all.
    let key = NewKey { id, ..new_key("late") };
    fixture.insert(&key).await.unwrap();
    let query = KeyQuery { sort: KeySort::LastLogin, ..KeyQuery::default() };
    let page = fixture.store.key_page(&query).await.unwrap();
    assert_eq!(page.keys[0].1.last_login, Some(WallTime::from_millis(5)));
}
