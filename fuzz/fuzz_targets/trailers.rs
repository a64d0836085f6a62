//! Trailer sections through the express lane, of a request or of an answer: none says what only keygate may say, none
//! is taken for another message, and it does not matter how they were cut.
//!
//! The first byte says whose they are.

#![no_main]

#[path = "gateway/mod.rs"]
mod gateway;

use keygate::proxy::headers::is_acted_on;
use libfuzzer_sys::fuzz_target;

use gateway::messages::answers;
use gateway::plan::{Answer, Deed, Part, Plan};
use gateway::sockets::Most;
use gateway::world::World;

fuzz_target!(|input: &[u8]| {
    let Some((kind, section)) = input.split_first() else { return };
    let chunks = [b"3\r\nabc\r\n0\r\n", section].concat();
    let is_clients = kind & 1 == 0;
    let request = b"POST /open HTTP/1.1\r\nHost: h\r\n".to_vec();
    let (client, answers_told) = match is_clients {
        true => ([&request[..], b"Transfer-Encoding: chunked\r\n\r\n", &chunks].concat(), Vec::new()),
        false => {
            let answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunks[..]].concat();
            ([&request[..], b"\r\n"].concat(), vec![Answer { is_early: false, parts: vec![Part::Bytes(answer)] }])
        }
    };
    let plan = Plan { client: vec![Deed::Sends(client)], answers: answers_told, ..Plan::default() };
    let most = Most { gives: 1 + usize::from(kind >> 1), room: 1 + usize::from(kind >> 2), ..Most::default() };
    let in_pieces = Plan { most, ..plan.clone() };
    let [whole, pieces] = [plan, in_pieces].map(|plan| {
        let seen = World::with(|world| world.express.run(&plan));
        let answers = answers(&seen, &vec![b"POST".to_vec(); 64]).unwrap_or_else(|why| panic!("{why}\n{plan}"));
        let first =
            if is_clients { seen.asked.first() } else { answers.first().filter(|answer| answer.status() == 200) };
        let fields = first.filter(|message| message.is_whole).map(|message| message.trailers.clone());
        for (name, _) in fields.iter().flatten() {
            assert!(!is_acted_on(name), "{}\n{plan}", name.escape_ascii());
        }
        // A section that is whole comes through whole; and one that is none does not, but for what is taken of servers
        // alone: folds, and white space behind names.
        let is_section = reads_as_section(section, is_clients);
        assert!(if is_section { fields.is_some() } else { fields.is_none() || !is_clients }, "{plan}{seen}");
        fields
    });
    assert_eq!(whole, pieces);
});

/// The grammar (RFC 9112, section 7.1.2), and the limits of the program, in the simplest way.
fn reads_as_section(mut bytes: &[u8], is_judged: bool) -> bool {
    let begin = bytes.len();
    for fields in 0.. {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return false };
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        if begin - bytes.len() > 8 * 1024 {
            return false;
        }
        if line.is_empty() {
            return true;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let (name, value) = line.split_at(colon);
        let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        let is_text = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
        if fields == 32 || name.is_empty() || !name.iter().all(is_token) || !value.iter().all(is_text) {
            return false;
        }
        if is_judged && is_acted_on(name) {
            return false;
        }
    }
    false
}
