//! Reading HTTP/1.1 off a stream, byte for byte: heads, bodies, chunks. Used by the client and by the upstreams.

use std::io::{self, Read};

/// A stream with what was read too far.
pub struct Wire<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

/// A head as received.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// All bytes, the empty line included.
    pub raw: Vec<u8>,
    /// The request or status line.
    pub line: String,
    /// Names and values as sent, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The first value of this field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of this field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { raw, line, fields }
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A response, whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub framing: Framing,
    pub body: Vec<u8>,
    /// Bytes of the body, also of one that was not kept.
    pub body_len: u64,
    pub trailers: Vec<(String, String)>,
    /// Statuses of the 1xx responses before it.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}

/// Body bytes that are kept; of longer ones only the count goes on.
pub const KEPT: usize = 4 << 20;

/// A body as received.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub kept: Vec<u8>,
    pub len: u64,
    pub trailers: Vec<(String, String)>,
}

impl Body {
    fn take(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        let room = KEPT - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn truncated(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed in the middle of {what}"))
}

impl<S: Read> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Bytes that were read but not used.
    pub fn left_over(&self) -> &[u8] {
        &self.buffer
    }

    fn fill(&mut self) -> io::Result<usize> {
        let before = self.buffer.len();
        self.buffer.resize(before + (64 << 10), 0);
        let read = self.stream.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    /// `Ok(None)`: the stream ended before a first byte.
    pub fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                return Ok(Some(Head::parse(std::mem::replace(&mut self.buffer, rest))));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(truncated("a head")) };
            }
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let rest = self.buffer.split_off(end + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(truncated("a line"));
            }
        }
    }

    fn read_exactly(&mut self, mut wanted: u64, body: &mut Body) -> io::Result<()> {
        while wanted > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(truncated("a body"));
            }
            let n = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.buffer.len());
            body.take(&self.buffer[..n]);
            self.buffer.drain(..n);
            wanted -= n as u64;
        }
        Ok(())
    }

    pub fn read_body(&mut self, framing: Framing) -> io::Result<Body> {
        let mut body = Body::default();
        match framing {
            Framing::None => {}
            Framing::Length(n) => self.read_exactly(n, &mut body)?,
            Framing::UntilClose => loop {
                body.take(&std::mem::take(&mut self.buffer));
                if self.fill()? == 0 {
                    break;
                }
            },
            Framing::Chunked => self.read_chunks(&mut body)?,
        }
        Ok(body)
    }

    fn read_chunks(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}: {e}")))?;
            if size == 0 {
                break;
            }
            self.read_exactly(size, body)?;
            if !self.read_line()?.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no line end after a chunk"));
            }
        }
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(()) };
            body.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads one response and the 1xx responses before it.
    pub fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let none = || io::Error::new(io::ErrorKind::ConnectionAborted, "closed before an answer");
            let head = self.read_head()?.ok_or_else(none)?;
            let status = head.line.split(' ').nth(1).and_then(|s| s.parse::<u16>().ok());
            let status = status
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("status line {:?}", head.line)))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let framing = response_framing(&head, method, status);
            let body = self.read_body(framing)?;
            let (body, body_len, trailers) = (body.kept, body.len, body.trailers);
            return Ok(Response { status, head, framing, body, body_len, trailers, interim });
        }
    }
}

/// RFC 9112, section 6.3.
fn response_framing(head: &Head, method: &str, status: u16) -> Framing {
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return Framing::None;
    }
    match (head.get("transfer-encoding"), head.get("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(n)) => Framing::Length(n.parse().expect("a Content-Length")),
        (None, None) => Framing::UntilClose,
    }
}

/// The framing of a request's body.
pub fn request_framing(head: &Head) -> Framing {
    match (head.get("transfer-encoding"), head.get("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(n)) => Framing::Length(n.parse().expect("a Content-Length")),
        (None, None) => Framing::None,
    }
}
