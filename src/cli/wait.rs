//! Options of commands that take authority away, and how their answer is told.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::output::{clean, line};
use super::{Exit, parse};
use crate::fleet::revoke::{Revocation, Wait};
use crate::lifecycle::Waited;

/// How long to wait until no node can act on the old authority.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct WaitOptions {
    /// Do not wait until every node follows (exit code 1, as it is not certain yet).
    #[arg(long, conflicts_with = "wait_at_most")]
    no_wait: bool,
    /// Wait no longer than this, e.g. 5s (exit code 1 if it is not certain by then).
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    wait_at_most: Option<Duration>,
}

impl From<WaitOptions> for Wait {
    fn from(options: WaitOptions) -> Self {
        match options {
            WaitOptions { no_wait: true, .. } => Self::None,
            WaitOptions { wait_at_most: Some(longest), .. } => Self::AtMost(longest),
            _ => Self::Full,
        }
    }
}

/// The revocation's fields and more, as one JSON object.
pub(super) fn with_revocation(waited: &Waited, mut more: Map<String, Value>) -> anyhow::Result<Value> {
    if let Value::Object(fields) = serde_json::to_value(&waited.revocation)? {
        more.extend(fields);
    }
    Ok(Value::Object(more))
}

/// Tells people how the wait ended, if there is something to tell.
pub(super) fn tell(waited: &Waited) -> anyhow::Result<()> {
    if !waited.revokes {
        if !waited.revocation.promise_held {
            line("Some nodes have not confirmed it yet; they will within their lease.")?;
        }
        return Ok(());
    }
    line(&sentence(&waited.revocation))
}

/// Complains where the promise does not hold, and says which exit code that is.
pub(super) fn conclude(waited: &Waited) -> Exit {
    if let Some(failure) = &waited.failure {
        eprintln!("keygate: the change is made, but waiting for the nodes failed: {}", clean(&failure.to_string()));
    }
    if !waited.revokes || waited.revocation.promise_held {
        return Exit::Done;
    }
    let revision = waited.revocation.revision;
    eprintln!(
        "keygate: the change is made, but not every node is certain to follow it yet; \
         to wait for it: keygate revision wait {revision}; for where each node stands, see `keygate nodes`"
    );
    Exit::Failed
}

/// The revocation as a sentence.
pub(super) fn sentence(revocation: &Revocation) -> String {
    let Revocation { revision, confirmed, fenced, promise_held, took_ms } = revocation;
    let list = |ids: &[String]| clean(&ids.join(", "));
    let nodes = match (confirmed.is_empty(), fenced.is_empty()) {
        (true, true) => "no node was running".to_owned(),
        (false, true) => format!("confirmed by {}", list(confirmed)),
        (true, false) => format!("fenced: {}", list(fenced)),
        (false, false) => format!("confirmed by {}; fenced: {}", list(confirmed), list(fenced)),
    };
    if *promise_held {
        return format!("In force everywhere (revision {revision}): {nodes}; took {took_ms} ms.");
    }
    let so_far = if confirmed.is_empty() && fenced.is_empty() { String::new() } else { format!(": {nodes}") };
    format!("Not yet certain to be in force everywhere (revision {revision}){so_far}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(promise_held: bool, revokes: bool) -> Waited {
        let revocation =
            Revocation { revision: 7, confirmed: vec!["a:1".to_owned()], fenced: vec![], promise_held, took_ms: 3 };
        Waited { revocation, failure: None, revokes }
    }

    #[test]
    fn only_a_promise_that_does_not_hold_fails() {
        assert_eq!(conclude(&waited(true, true)), Exit::Done);
        assert_eq!(conclude(&waited(false, true)), Exit::Failed);
        assert_eq!(conclude(&waited(false, false)), Exit::Done);
    }

    #[test]
    fn the_answer_has_the_revocation_at_its_top() {
        let more = Map::from_iter([("version".to_owned(), Value::from(2))]);
        let answer = with_revocation(&waited(true, true), more).unwrap();
        let expected = serde_json::json!({
            "version": 2, "revision": 7, "confirmed": ["a:1"], "fenced": [], "promise_held": true, "took_ms": 3
        });
        assert_eq!(answer, expected);
        assert_eq!(
            sentence(&waited(true, true).revocation),
            "In force everywhere (revision 7): confirmed by a:1; took 3 ms."
        );
    }
}
