//! What others do to the file, what cancelled callers leave behind, and a full disk.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use sqlx::{ConnectOptions as _, SqliteConnection};

use super::super::connection::{Purpose, options};
use super::{Fixture, new_key};
use crate::store::{KeyFilter, Store as _, StoreError};

async fn other_process(fixture: &Fixture) -> SqliteConnection {
    options(&fixture.path(), Purpose::Write).connect().await.unwrap()
}

async fn run(conn: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(conn).await.unwrap();
}

#[tokio::test]
async fn readers_do_not_wait_for_a_writer() {
    let fixture = Fixture::with_secret().await;
    let before = fixture.store.head().await.unwrap();
    fixture.insert(&new_key("a")).await.unwrap();
    let mut other = other_process(&fixture).await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    run(&mut other, "UPDATE counter SET revision = 99").await;
    // Were any of these to wait, it would fail after the busy timeout.
    assert_eq!(fixture.store.head().await.unwrap().revision, 2);
    assert_eq!(fixture.store.renew("nobody").await.unwrap().head.revision, 2);
    assert_eq!(fixture.store.secrets().await.unwrap().head.revision, 2);
    assert_eq!(fixture.store.load(&mut |_| {}).await.unwrap().head.revision, 2);
    fixture.store.changes_since(&before).await.unwrap();
    assert_eq!(fixture.store.keys(&KeyFilter::default()).await.unwrap().len(), 1);
    // A process that starts now reads too.
    assert_eq!(fixture.open_again().await.head().await.unwrap().revision, 2);
}

#[tokio::test]
async fn a_writer_waits_its_turn() {
    let fixture = Fixture::with_secret().await;
    let mut other = other_process(&fixture).await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    let key = new_key("a");
    let mut insert = pin!(fixture.insert(&key));
    assert!(insert.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    run(&mut other, "UPDATE counter SET revision = 9, change_id = 'x'").await;
    run(&mut other, "INSERT INTO changes (revision, change_id, kind) VALUES (9, 'x', 'secrets')").await;
    run(&mut other, "COMMIT").await;
    assert_eq!(insert.await.unwrap().revision, 10);
}

#[tokio::test]
async fn a_cancelled_change_leaves_no_transaction_open() {
    let fixture = Fixture::with_secret().await;
    // Cancelled at every point where it can be: after its first poll, its second, and so on.
    let mut polls = 1;
    loop {
        let key = new_key(&format!("key {polls}"));
        let mut insert = Box::pin(fixture.insert(&key));
        let mut left = polls;
        let done = std::future::poll_fn(|cx| {
            if left == 0 {
                return std::task::Poll::Ready(false);
            }
            left -= 1;
            insert.as_mut().poll(cx).map(|outcome| outcome.is_ok())
        })
        .await;
        drop(insert);
        let head = fixture.store.head().await.unwrap();
        let found = fixture.store.key(key.id).await.unwrap();
        // Another process can write at once, so the lock is free.
        let mut other = other_process(&fixture).await;
        run(&mut other, "BEGIN IMMEDIATE").await;
        run(&mut other, "ROLLBACK").await;
        if done {
            assert_eq!(found.unwrap().0.revision, head.revision);
            break;
        }
        polls += 1;
    }
    assert!(polls > 5, "it was cancelled in the middle: {polls}");
    fixture.insert(&new_key("last")).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_load_gives_its_place_back() {
    let fixture = Fixture::with_secret().await;
    for n in 0..50 {
        fixture.insert(&new_key(&format!("key {n}"))).await.unwrap();
    }
    for polls in 0..40 {
        let mut nothing = |_| {};
        let mut load = Box::pin(fixture.store.load(&mut nothing));
        let mut left = polls;
        std::future::poll_fn(|cx| {
            if left == 0 || load.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            left -= 1;
            std::task::Poll::Pending
        })
        .await;
    }
    let mut count = 0;
    fixture.store.load(&mut |_| count += 1).await.unwrap();
    assert_eq!(count, 50);
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let fixture = Fixture::with_secret().await;
    let key = new_key("a");
    let mut tx = fixture.store.change().await.unwrap();
    // SQLite then answers as it does when the disk is full, on this connection.
    run(&mut tx.conn, "PRAGMA max_page_count = 1").await;
    tx.settle(Ok(())).await.unwrap();
    let mut big = new_key("big");
    big.description = "x".repeat(100_000);
    let refused = fixture.insert(&big).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Database(_, e) if e.to_string().contains("full")), "{refused}");
    assert_eq!(fixture.store.renew("nobody").await.unwrap().head.revision, 1);
    // The connection that met the error was replaced, and with it the limit went.
    assert_eq!(fixture.insert(&key).await.unwrap().revision, 2);
    assert_eq!(fixture.insert(&big).await.unwrap().revision, 3);
}
