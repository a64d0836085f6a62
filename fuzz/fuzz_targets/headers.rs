//! What a client sends, through the express lane to a server: it gets the requests that were admitted and no other,
//! each with the method, target and host that was decided on, nobody's identity but ours, and no credential; however
//! the client's bytes were cut.

#![no_main]

#[path = "gateway/mod.rs"]
mod gateway;

use keygate::proxy::headers::{Field, classify, is_alias};
use libfuzzer_sys::fuzz_target;

use gateway::messages::{Asked, Told, answers, told};
use gateway::plan::{Deed, Plan, with_keys};
use gateway::world::{KEY, World};

fuzz_target!(|input: &[u8]| {
    let sent = with_keys(input);
    let told = told(&sent);
    let once = Plan { client: vec![Deed::Sends(sent.clone())], ..Plan::default() };
    let client = sent.iter().map(|byte| Deed::SendsAnd(vec![*byte])).chain([Deed::Sends(Vec::new())]).collect();
    let bytewise = Plan { client, ..Plan::default() };
    let methods: Vec<_> = told.iter().map(|told| told.method.clone()).collect();
    let [whole, pieces] = [once, bytewise].map(|plan| {
        let seen = World::with(|world| world.express.run(&plan));
        let answers = answers(&seen, &methods).unwrap_or_else(|why| panic!("{why}\n{plan}"));
        assert!(answers.len() <= told.len() + 1, "{plan}{seen}");
        let mut rest = told.iter();
        for asked in &seen.asked {
            assert!(rest.any(|told| is_of(asked, told)), "not what was decided on: {asked}\n{plan}");
            check(asked);
        }
        seen.asked
    });
    for (one, other) in whole.iter().zip(&pieces) {
        assert!(one.is_alike(other), "in one piece {one}\nbyte by byte {other}");
    }
    // Where a body is none, its head may have been sent before that was known, or not.
    let [whole, pieces] = [whole, pieces].map(|all| all.iter().filter(|asked| asked.is_whole).count());
    assert_eq!(whole, pieces, "another number of requests: {}", sent.escape_ascii());
});

/// Is this the request that was told?
fn is_of(asked: &Asked, told: &Told) -> bool {
    let line = [&told.method[..], b" ", &told.target[..], b" HTTP/1.1"].concat();
    asked.line == line && asked.all("host").eq([&told.host[..]])
}

/// Nothing in it that only keygate says, but for what it says.
fn check(asked: &Asked) {
    let count = |name: &str| asked.all(name).count();
    for name in ["host", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
        assert_eq!(count(name), 1, "{name}: {asked}");
    }
    let identity = ["x-keygate-key-id", "x-keygate-key-name", "x-keygate-role"].map(count);
    assert!(identity == [0; 3] || identity == [1; 3], "{asked}");
    assert!(identity == [0; 3] || asked.all("x-keygate-role").eq([&b"ADMIN"[..]]), "{asked}");
    let target = asked.line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    assert!(identity == [1; 3] || target.starts_with(b"/open"), "without a key: {asked}");
    assert_eq!(asked.all("x-forwarded-for").next(), Some(&b"127.0.0.1"[..]), "{asked}");
    let ours = 5 + identity.iter().sum::<usize>();
    let mut others = 0;
    for (name, value) in &asked.fields {
        others += usize::from(matches!(classify(name), Field::Dropped | Field::RequestId | Field::Host));
        assert!(!is_alias(name) && !matches!(classify(name), Field::ClientAddress | Field::Upgrade), "{asked}");
        let is_for_credentials = matches!(classify(name), Field::ApiKey | Field::Authorization);
        let holds_key = || value.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!(is_for_credentials && holds_key()), "a credential: {asked}");
    }
    // X-Forwarded-For is of a kind of its own.
    assert_eq!(others + 1, ours, "{asked}");
}
