//! What a server answers, through the express lane: the client gets what is one answer to every reader, however the
//! server's bytes were cut; and the next request gets its own answer, whatever stood behind the first.
//!
//! The first byte says which method is asked, and whether the server closes its connection.

#![no_main]

#[path = "gateway/mod.rs"]
mod gateway;

use libfuzzer_sys::fuzz_target;

use gateway::messages::{Asked, answers};
use gateway::plan::{Answer, Deed, Part, Plan};
use gateway::sockets::Most;
use gateway::world::World;

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let method = ["GET", "HEAD", "POST", "DELETE"][usize::from(kind & 3)];
    let request = |method: &str| format!("{method} /open HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    let mut parts = vec![Part::Bytes(bytes.to_vec())];
    parts.extend((kind & 4 != 0).then_some(Part::Ends));
    let plan = Plan {
        client: vec![Deed::Sends(request(method)), Deed::Sends(request("GET"))],
        answers: vec![Answer { is_early: false, parts }],
        ..Plan::default()
    };
    let most = Most { gives: 1 + usize::from(kind >> 3), room: 1 + usize::from(kind >> 2), ..Most::default() };
    let in_pieces = Plan { most, ..plan.clone() };
    let [whole, pieces] = [plan, in_pieces].map(|plan| {
        let seen = World::with(|world| world.express.run(&plan));
        let methods = [method, "GET"].map(|method| method.as_bytes().to_vec());
        let answers = answers(&seen, &methods).unwrap_or_else(|why| panic!("{why}\n{plan}"));
        check(&answers, &plan);
        assert!(seen.asked.len() <= 2, "{plan}");
        answers
    });
    for (one, other) in whole.iter().zip(&pieces) {
        // That a head is none is seen at once, or at its end.
        if one.status() == 502 || other.status() == 502 {
            return;
        }
        assert!(one.is_alike(other), "in one piece {one}\nin several {other}");
    }
});

/// Each is one answer, and nobody is given another's.
fn check(answers: &[Asked], plan: &Plan) {
    let (interim, last): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status() < 200);
    assert!(last.len() <= 2, "{plan}");
    for answer in interim {
        let is_ours = |name: &[u8]| matches!(name, b"connection" | b"content-length" | b"transfer-encoding");
        assert!(!answer.fields.iter().any(|(name, _)| is_ours(name)), "{answer}\n{plan}");
    }
    for (number, answer) in last.iter().enumerate() {
        let count = |wanted: &str| answer.all(wanted).count();
        assert_eq!((count("x-request-id"), count("connection")), (1, 1), "{answer}\n{plan}");
        assert!(answer.id().ends_with(format!("-{}", number + 1).as_bytes()), "another's id: {answer}\n{plan}");
        assert!(count("content-length") <= 1, "{answer}\n{plan}");
        assert!(count("content-length") == 0 || count("transfer-encoding") == 0, "{answer}\n{plan}");
        assert!(count("date") > 0, "RFC 9110, section 6.6.1: {answer}\n{plan}");
    }
    for answer in answers {
        let is_hop = |name: &[u8]| matches!(name, b"keep-alive" | b"proxy-connection" | b"upgrade");
        assert!(!answer.fields.iter().any(|(name, _)| is_hop(name)), "{answer}\n{plan}");
    }
    if let [first, second] = last[..] {
        assert!(first.is_whole, "{plan}");
        assert!(second.status() == 200 && second.body == b"ok", "not its own answer: {second}\n{plan}");
    }
}
