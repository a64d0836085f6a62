//! What may differ between the lanes, each with its reason. The rest must not. What is a matter of single messages
//! stands at `Asked::is_alike`. Nothing is repeated in the general lane here: its kept connections are found unfit for
//! the lack of a socket.

use keygate::proxy::body::{Chunk, Framing, Sender};

use super::messages::{Asked, answers, find, told};
use super::plan::{Deed, Plan};
use super::world::Seen;

/// Bytes of early requests that the express lane reads.
const AHEAD: usize = 8 * 1024;

/// Are the two the same, but for what is allowed?
pub fn compare(plan: &Plan, express: &Seen, general: &Seen) -> Result<(), String> {
    let methods: Vec<_> = told(&plan.sent()).into_iter().map(|told| told.method).collect();
    let one =
        answers(express, &methods).map_err(|why| format!("the express lane answers with what is no answer: {why}"))?;
    let other =
        answers(general, &methods).map_err(|why| format!("the general lane answers with what is no answer: {why}"))?;
    for at in 0..one.len().max(other.len()) {
        // What else an answer's head in pieces is, the express lane looks at when its end has come, or never comes, unless
        // the request's body turns out to be none meanwhile; and it has passed on interim answers that came with what is
        // none.
        let is_none = |answer: &Asked| answer.status() == 502 || answer.status() < 200 || answer.is_refusal_of_a_body();
        if other.get(at).is_some_and(Asked::is_malformed) && one.get(at..).is_none_or(|rest| rest.iter().all(is_none)) {
            return Ok(());
        }
        let (Some(one), Some(other)) = (one.get(at), other.get(at)) else { break };
        // A body that is none from its first chunk on: the express lane says so, where that came with the head.
        if one.is_malformed() && !other.is_whole {
            return Ok(());
        }
        let is_cut = one.is_malformed() || (!one.is_whole && express.is_closed && one.begins_alike(other));
        if is_cut && other.all("transfer-encoding").next().is_some() && has_chunks_for_pingora_alone(plan) {
            return Ok(());
        }
        if !one.is_alike(other) {
            return Err(format!("answer {at} differs:\n  express {one}\n  general {other}"));
        }
    }
    let has_left = plan.client.iter().any(|deed| matches!(deed, Deed::Ends | Deed::Breaks));
    if has_read_further(express, &one, general, &other, has_left)
        || has_read_further(general, &other, express, &one, has_left)
    {
        return Ok(());
    }
    if one.len() != other.len() {
        return Err(format!("{} answers in the express lane, {} in the general", one.len(), other.len()));
    }
    // Whoever leaves at once when it has sent a request's end does not want it: the express lane has passed it on whole,
    // pingora may give it up before.
    let is_left = |asked: &Asked, answers: &[Asked]| {
        has_left && !answers.iter().any(|answer| answer.status() >= 200 && answer.id() == asked.id())
    };
    let (one_asked, other_asked) = (&express.asked, &general.asked);
    for (at, (asked, again)) in one_asked.iter().zip(other_asked).enumerate() {
        let is_left = is_left(asked, &one) && is_left(again, &other);
        if !(asked.is_alike(again) || is_left && asked.begins_alike(again)) {
            return Err(format!("request {at} differs:\n  express {asked}\n  general {again}"));
        }
    }
    // Where a request's body is none, its head may have been sent before that was known, or not.
    let whole = |asked: &[Asked], answers: &[Asked]| {
        asked.iter().filter(|asked| asked.is_whole && !is_left(asked, answers)).count()
    };
    if whole(one_asked, &one) != whole(other_asked, &other) {
        return Err("another number of requests".to_owned());
    }
    // pingora does not always look whether the client is still there; and with plenty of early requests, neither does
    // the express lane.
    let may_differ = has_left && (express.is_closed || plan.sent().len() > AHEAD);
    // Nor does it give up a request that is not all there when the answer's body turns out to be none.
    let may_differ = may_differ || (express.is_closed && one.last().is_some_and(|last| !last.is_whole));
    // That the server takes no more of a request which it has answered, pingora sees when the client sends more of it.
    let is_early = |seen: &Seen, answers: &[Asked]| {
        let ends = |answer: &Asked| answer.is_whole && answer.all("connection").any(|value| value == b"close");
        seen.asked.last().is_some_and(|asked| !asked.is_whole) && answers.last().is_some_and(ends)
    };
    let may_differ = may_differ || (express.is_closed && is_early(express, &one) && is_early(general, &other));
    if express.is_closed != general.is_closed && !may_differ {
        return Err("closed in one lane only".to_owned());
    }
    Ok(())
}

/// Does a server send chunks that are none (RFC 9112, section 7.1), and are to pingora? A size without a digit is the last
/// one's, anything stands in an extension, and trailers are not looked at.
fn has_chunks_for_pingora_alone(plan: &Plan) -> bool {
    let is_one = |mut bytes: &[u8]| {
        let mut framing = Framing::chunked(Sender::Server);
        while let Some((byte, rest)) = bytes.split_first() {
            let Framing::Chunked(before, _) = framing else { return false };
            if framing.feed(&[*byte]).is_err() {
                return match before {
                    Chunk::Size { digits: 0, .. } => b"\r; \t".contains(byte),
                    Chunk::Extension { .. } => true,
                    Chunk::TrailerStart(_)
                    | Chunk::TrailerName(..)
                    | Chunk::TrailerColon(_)
                    | Chunk::TrailerValue(_)
                    | Chunk::TrailerLf(_)
                    | Chunk::EndLf(_) => true,
                    _ => false,
                };
            }
            bytes = rest;
        }
        false
    };
    plan.answers.iter().any(|answer| {
        let bytes = answer.bytes();
        let ends_head = |at: usize| bytes[..at].ends_with(b"\n\r\n") || bytes[..at].ends_with(b"\n\n");
        (0..=bytes.len()).any(|at| ends_head(at) && is_one(&bytes[at..]))
    })
}

/// How far one reads ahead while an answer is under way is no matter of the other: what is then no head is refused at
/// once, or when its end has come; or never, when the client leaves first.
fn has_read_further(further: &Seen, more: &[Asked], other: &Seen, less: &[Asked], has_left: bool) -> bool {
    let is_refusal = |last: &Asked| last.status() == 400 && find(&last.body, b"problem:malformed-request").is_some();
    more.len() == less.len() + 1
        && more.last().is_some_and(is_refusal)
        && (has_left || !other.is_closed)
        && further.asked.len() == other.asked.len()
}
