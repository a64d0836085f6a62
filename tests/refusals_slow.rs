//! Attacks by waiting: heads, bodies and readers that never come to their end, and connections on which nothing
//! happens.

use std::time::Duration;

use crate::support::config::is_general;
use crate::support::count;
use crate::support::request::{get, request};
use crate::support::siege::{Attack, Rig, age, attackers, deadline, dripping, idle};
use crate::support::swarm::Script;

#[test]
fn slow_heads_are_cut_in_time() {
    let rig = Rig::start();
    let start = b"GET /x HTTP/1.1\r\nHost: gateway.test\r\nX-A: ".to_vec();
    let long = [&start[..], &vec![b'a'; 31_000]].concat();
    let served = rig.get("/status/204");
    let slow = |name, attackers, script| Attack { name, attackers, script, cut_after: Some(deadline()), told: &[408] };
    let pace = count(200, 1000);
    let attacks = vec![
        slow("bytes of a head", count(200, 2500), dripping(start.clone(), b"a", pace)),
        slow("a head without its end", count(100, 1000), dripping(long, b"a", pace)),
        slow("a second head", count(100, 750), Script { before: served, ..dripping(start, b"a", pace) }),
        slow("empty lines", count(100, 750), dripping(b"\r\n".to_vec(), b"\r\n", pace / 2)),
    ];
    let all = attacks.iter().map(|attack| attack.attackers).sum();
    rig.withstands(&attacks);
    rig.assert_refused("head_timeout", all);
}

#[test]
fn slow_bodies_are_cut_in_time_and_never_look_whole() {
    let rig = Rig::start();
    let script = |bytes: &[u8]| Script { first: [bytes, b"0123456789"].concat(), ..Script::default() };
    let silent =
        |name, attackers, script| Attack { name, attackers, script, cut_after: Some(deadline()), told: &[408] };
    let without_key = request("POST", "/sink/attack").field("Content-Length", "1000000").bytes();
    let attacks = vec![
        silent("a body that stops", count(100, 2000), script(&rig.upload(""))),
        silent("chunks that stop", count(50, 1500), script(&rig.chunks("20\r\n"))),
        silent(
            "nothing after 100-continue",
            count(50, 500),
            Script { first: rig.upload("100-continue"), ..Script::default() },
        ),
        Attack {
            name: "a body without a key",
            attackers: count(100, 1000),
            script: dripping(without_key, b"a", count(300, 1000)),
            // Answered at once, and with the answer comes the end.
            cut_after: None,
            told: &[401],
        },
    ];
    let admitted: usize = attacks.iter().take(3).map(|attack| attack.attackers).sum();
    let others = attacks[3].attackers;
    rig.withstands(&attacks);
    rig.assert_refused("body_timeout", admitted);
    rig.assert_refused("missing_credential", others);
    rig.lets_the_upstream_go();
    let asked = rig.upstream.asked("/sink/attack");
    assert_eq!((asked.begun, asked.whole), (admitted, 0), "an upstream took one for whole");
}

#[test]
fn idle_connections_are_ended_in_time() {
    let rig = Rig::start();
    let attack = |name, attackers, before, cut_after| Attack {
        name,
        attackers,
        script: Script { before, ..Script::default() },
        cut_after: Some(cut_after),
        told: &[],
    };
    let large = get("/status/204").bearer(&rig.key).field("X-Large", &"a".repeat(30_000)).bytes();
    rig.withstands(&[
        // Who has asked for nothing yet is late as who is slow with a head.
        attack("nothing", count(300, 6000), Vec::new(), deadline()),
        attack("nothing after a request", count(200, 2000), rig.get("/status/204"), idle()),
        attack("nothing after a large head", count(100, 500), large, idle()),
    ]);
}

#[test]
fn silent_tunnels_are_ended_by_their_age() {
    let rig = Rig::start();
    let upgrade = get("/ws")
        .field("Upgrade", "websocket")
        .field("Connection", "Upgrade")
        .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .field("Sec-WebSocket-Version", "13");
    let first = upgrade.bearer(&rig.key).bytes();
    let script = Script { first, ..Script::default() };
    // Interim answers are not counted as told.
    rig.withstands(&[Attack { name: "silence", attackers: count(50, 500), script, cut_after: Some(age()), told: &[] }]);
    rig.lets_the_upstream_go();
}

#[test]
fn bodies_that_never_stall_are_ended_by_their_age() {
    let rig = Rig::start();
    let (length, chunks) = (rig.upload(""), rig.chunks(""));
    let chunk = format!("1;a={}\r\nb\r\n", "c".repeat(200)).into_bytes();
    let attack = |name, first, bytes: &[u8]| Attack {
        name,
        attackers: count(50, 300),
        script: dripping(first, bytes, count(300, 1000)),
        cut_after: Some(age()),
        told: &[408, 504],
    };
    rig.withstands(&[attack("a byte now and then", length, b"a"), attack("a chunk now and then", chunks, &chunk)]);
    rig.lets_the_upstream_go();
    assert_eq!(rig.upstream.asked("/sink/attack").whole, 0, "an upstream took one for whole");
}

#[test]
fn readers_that_stop_are_cut_in_time() {
    let rig = Rig::start();
    let script = reading(rig.get("/bytes/1000000000"), 1, Duration::from_hours(1));
    rig.cuts_readers(attackers(50, 5000, 1000), &script, "keygate_requests_in_flight", deadline());
}

#[test]
fn readers_of_many_answers_are_cut_in_time() {
    let rig = Rig::start();
    let script = reading(rig.get("/bytes/1000000000").repeat(50), 1, Duration::from_hours(1));
    rig.cuts_readers(attackers(20, 1000, 200), &script, "keygate_requests_in_flight", deadline());
}

/// No answer is large: what is not read is many of them.
#[test]
fn readers_of_many_small_answers_are_cut_in_time() {
    let rig = Rig::start();
    let many = rig.get("/bytes/2000").repeat(200);
    let script =
        Script { drip: Some((many.clone(), Duration::from_millis(10))), ..reading(many, 1, Duration::from_hours(1)) };
    rig.cuts_readers(attackers(20, 1000, 1000), &script, "keygate_requests_in_flight", deadline());
}

/// Nothing but heads is written.
#[test]
fn readers_of_many_heads_are_cut_in_time() {
    let rig = Rig::start();
    let many = request("HEAD", "/bytes/2000").bearer(&rig.key).bytes().repeat(200);
    let script =
        Script { drip: Some((many.clone(), Duration::from_millis(10))), ..reading(many, 1, Duration::from_hours(1)) };
    rig.cuts_readers(attackers(20, 200, 20), &script, "keygate_requests_in_flight", deadline());
}

/// An answer is written before the next request is read, so nothing piles up.
#[test]
fn whoever_reads_no_refusals_is_cut_in_time() {
    let rig = Rig::start();
    let many = get("/x").bytes().repeat(400);
    let script =
        Script { drip: Some((many.clone(), Duration::from_millis(10))), ..reading(many, 1, Duration::from_hours(1)) };
    rig.cuts_readers(count(20, 1000), &script, "keygate_connections", deadline());
}

#[test]
fn readers_that_never_stall_are_ended_by_their_age() {
    let rig = Rig::start();
    // The general lane gives up on whoever does not take 64 KiB in time, and the express lane on whoever takes less than 16.
    let slowly = count((4000, Duration::from_millis(100)), (1000, Duration::from_millis(250)));
    let (bytes, every) = if is_general() { (256 << 10, Duration::from_millis(50)) } else { slowly };
    let script = reading(rig.get("/bytes/1000000000"), bytes, every);
    rig.cuts_readers(attackers(10, 500, 20), &script, "keygate_requests_in_flight", age());
}

#[test]
fn readers_that_take_hardly_anything_are_cut_in_time() {
    let rig = Rig::start();
    let script = reading(rig.get("/bytes/1000000000"), count(1000, 100), Duration::from_millis(250));
    rig.cuts_readers(attackers(20, 500, 100), &script, "keygate_requests_in_flight", deadline());
}

/// Reads so many bytes at a time, so far apart.
fn reading(first: Vec<u8>, bytes: usize, every: Duration) -> Script {
    Script { first, sip: Some((bytes, every)), ..Script::default() }
}

#[test]
fn a_pipeline_is_answered_as_far_as_it_came_and_then_cut() {
    let rig = Rig::start();
    let first = [rig.get("/status/204").repeat(20), b"GET /x HTTP/1.1\r\nHost: ga".to_vec()].concat();
    let attackers = count(20, 500);
    let script = Script { first, ..Script::default() };
    rig.withstands(&[Attack { name: "half a request", attackers, script, cut_after: Some(deadline()), told: &[408] }]);
    rig.assert_refused("head_timeout", attackers);
    assert_eq!(rig.upstream.asked("/status/204").whole, 20 * attackers);
}

#[test]
fn tiny_chunks_count_with_all_that_is_around_them() {
    // No deadline comes first, however slowly so many chunks are read.
    let rig = Rig::patient("max_body = \"256KiB\"");
    let first = rig.chunks("");
    let chunks = b"1\r\na\r\n".repeat(4000);
    let attackers = count(4, 8);
    let script = dripping(first, &chunks, 1);
    // Ended as soon as they are too many.
    rig.withstands(&[Attack { name: "tiny chunks", attackers, script, cut_after: None, told: &[413] }]);
    rig.assert_refused("body_too_large", attackers);
}
