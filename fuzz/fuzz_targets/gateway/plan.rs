//! What an input means. It is text with marks, so that chance and dictionaries get far: `0xff` begins a step, and the
//! byte behind it says which; `0xfe` in what a client sends stands for a field with a valid key.

use std::fmt;

use super::sockets::Most;

/// Steps of an input that count.
const STEPS_MOST: usize = 48;

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Sends; everybody comes to rest before its next deed.
    Sends(Vec<u8>),
    /// Sends, and goes on at once.
    SendsAnd(Vec<u8>),
    /// Sends no more.
    Ends,
    /// Breaks the connection.
    Breaks,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes, in one piece.
    Bytes(Vec<u8>),
    /// Nothing more before the client's next deed.
    Waits,
    /// The server sends no more.
    Ends,
    /// It breaks the connection.
    Breaks,
}

/// What a server does with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// It begins when the request's head is there; otherwise, when all of it is.
    pub is_early: bool,
    pub parts: Vec<Part>,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub client: Vec<Deed>,
    pub answers: Vec<Answer>,
    /// How sockets deal bytes out.
    pub most: Most,
    /// What decides where pingora leaves something to chance: a finding can be repeated.
    pub seed: Vec<u8>,
}

impl Answer {
    /// When the plan has no more.
    pub fn usual() -> Self {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        Self { is_early: false, parts: vec![Part::Bytes(text)] }
    }

    /// All that the server says.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.parts.iter().map(|part| if let Part::Bytes(bytes) = part { &bytes[..] } else { b"" });
        bytes.collect::<Vec<_>>().concat()
    }

    /// The server closes its connection, and says nothing.
    pub fn is_none(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Ends | Part::Breaks))
    }
}

impl Plan {
    pub fn read(input: &[u8]) -> Self {
        let mut plan = Self { seed: input.to_vec(), ..Self::default() };
        for step in input.split(|byte| *byte == 0xff).take(STEPS_MOST) {
            let Some((kind, rest)) = step.split_first() else { continue };
            match kind {
                b'C' => plan.client.push(Deed::SendsAnd(with_keys(rest))),
                b'e' => plan.client.push(Deed::Ends),
                b'r' => plan.client.push(Deed::Breaks),
                b'A' | b'H' => {
                    let parts = if rest.is_empty() { Vec::new() } else { vec![Part::Bytes(rest.to_vec())] };
                    plan.answers.push(Answer { is_early: *kind == b'H', parts });
                }
                b'a' if !rest.is_empty() => plan.answered(Part::Bytes(rest.to_vec())),
                b'p' => plan.answered(Part::Waits),
                b'x' => plan.answered(Part::Ends),
                b'z' => plan.answered(Part::Breaks),
                b't' => plan.most.takes = most(rest),
                b'g' => plan.most.gives = most(rest),
                b's' => plan.most.room = most(rest),
                b'c' => plan.client.push(Deed::Sends(with_keys(rest))),
                _ => {}
            }
        }
        plan
    }

    fn answered(&mut self, part: Part) {
        if self.answers.is_empty() {
            self.answers.push(Answer { is_early: false, parts: Vec::new() });
        }
        if let Some(answer) = self.answers.last_mut() {
            answer.parts.push(part);
        }
    }

    /// All that the client sends.
    pub fn sent(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for deed in &self.client {
            match deed {
                Deed::Sends(bytes) | Deed::SendsAnd(bytes) => all.extend_from_slice(bytes),
                Deed::Ends | Deed::Breaks => break,
            }
        }
        all
    }
}

fn most(bytes: &[u8]) -> usize {
    bytes.first().map_or(usize::MAX, |byte| usize::from(*byte) + 1)
}

/// With a field for each mark.
pub fn with_keys(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() + 128);
    for byte in bytes {
        match byte {
            0xfe => all.extend_from_slice(format!("X-API-Key: {}\r\n", *super::world::KEY).as_bytes()),
            _ => all.push(*byte),
        }
    }
    all
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: {:?}", self.most)?;
        for deed in &self.client {
            match deed {
                Deed::Sends(bytes) => writeln!(f, "  client sends \"{}\"", bytes.escape_ascii())?,
                Deed::SendsAnd(bytes) => writeln!(f, "  client sends \"{}\", and", bytes.escape_ascii())?,
                other => writeln!(f, "  client {other:?}")?,
            }
        }
        for answer in &self.answers {
            writeln!(f, "  answer{}", if answer.is_early { ", to the head" } else { "" })?;
            for part in &answer.parts {
                match part {
                    Part::Bytes(bytes) => writeln!(f, "    \"{}\"", bytes.escape_ascii())?,
                    other => writeln!(f, "    {other:?}")?,
                }
            }
        }
        Ok(())
    }
}
