//! What an upstream answers, by the first segment of the request's path. Whatever is not listed here is answered
//! 200 with the request's body.

use std::io::{self, Read as _, Write};
use std::net::TcpStream;

use super::upstream::{Seen, Shared};

/// Deals with `Expect: 100-continue`. False: the body is not wanted.
pub fn before_body(seen: &Seen, out: &mut impl Write) -> io::Result<bool> {
    if seen.target() == "/refuse-early" {
        return Ok(false);
    }
    if seen.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    Ok(true)
}

/// Is it an upgrade that is granted?
pub fn upgrades(seen: &Seen) -> bool {
    seen.target().starts_with("/ws") && seen.header("upgrade").is_some_and(|u| u.eq_ignore_ascii_case("websocket"))
}

/// Grants an upgrade. `/ws`: sends back whatever comes. `/ws-reset`: breaks the connection when something comes.
/// The accept value is the one of RFC 6455, section 1.3.
pub fn tunnel(seen: &Seen, stream: &mut TcpStream, out: &mut impl Write) -> io::Result<()> {
    out.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )?;
    if seen.target() == "/ws-reset" {
        // What is closed with bytes in it that nobody read is reset, not ended.
        return stream.peek(&mut [0]).map(drop);
    }
    let mut block = [0; 16 << 10];
    loop {
        let n = stream.read(&mut block)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&block[..n])?;
    }
}

/// Answers. False: the connection must be closed.
pub fn answer(seen: &Seen, shared: &Shared, out: &mut impl Write) -> io::Result<bool> {
    let path = seen.target().split('?').next().unwrap_or_default();
    let mut segments = path.split('/').skip(1);
    let (kind, argument) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let bodiless = seen.method() == "HEAD";
    match kind {
        "status" => status(argument.parse().expect("a status"), bodiless, out)?,
        "headers" => {
            out.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: a\r\nX-One: b\r\nKeep-Alive: timeout=9\r\n\
                  Connection: X-Hop, keep-alive\r\nX-Hop: secret\r\nX-Request-Id: upstreams-own\r\nServer: theirs\r\n\r\nok",
            )?;
        }
        "bytes" => bytes(argument.parse().expect("a length"), bodiless, out)?,
        "chunked" => chunked(out, "")?,
        "trailers" => chunked(out, "X-Sum: 42\r\n")?,
        "early-hints" => {
            out.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n")?;
            text(200, "hinted", false, "", out)?;
        }
        "close-without-length" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")?;
            return Ok(false);
        }
        "abort-mid-body" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")?;
            return Ok(false);
        }
        "abort-mid-chunk" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n10\r\nsec")?;
            return Ok(false);
        }
        "abort-before-head" => return Ok(false),
        "refuse-early" => {
            text(413, "too much for me", false, "Connection: close\r\n", out)?;
            return Ok(false);
        }
        "unsolicited-101" => {
            out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nraw")?;
            return Ok(shared.wait_at_gate());
        }
        "not-http" => {
            out.write_all(b"220 mail.example ESMTP\r\n\r\n")?;
            return Ok(false);
        }
        "wait" => return Ok(shared.wait_at_gate() && text(200, "waited", bodiless, "", out).is_ok()),
        "stream" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
            if !shared.wait_at_gate() {
                return Ok(false);
            }
            out.write_all(b"4\r\nlast\r\n0\r\n\r\n")?;
        }
        "sink" => text(200, &seen.body.len.to_string(), false, "", out)?,
        _ => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Upstream: {}\r\nX-Target: {}\r\n\r\n",
                seen.body.kept.len(),
                shared.name,
                seen.target(),
            );
            out.write_all(head.as_bytes())?;
            if !bodiless {
                out.write_all(&seen.body.kept)?;
            }
        }
    }
    Ok(true)
}

fn text(status: u16, body: &str, bodiless: bool, fields: &str, out: &mut impl Write) -> io::Result<()> {
    let body_now = if bodiless { "" } else { body };
    let length = body.len();
    write!(out, "HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n{fields}\r\n{body_now}")
}

fn status(status: u16, bodiless: bool, out: &mut impl Write) -> io::Result<()> {
    match status {
        204 | 304 => write!(out, "HTTP/1.1 {status} Told\r\nETag: \"e\"\r\n\r\n"),
        _ => text(status, &format!("status {status}"), bodiless, "", out),
    }
}

/// `length` zero bytes.
fn bytes(length: u64, bodiless: bool, out: &mut impl Write) -> io::Result<()> {
    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
    let block = vec![0; 64 << 10];
    let mut left = if bodiless { 0 } else { length };
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        out.write_all(&block[..n])?;
        left -= n as u64;
    }
    Ok(())
}

/// Three chunks, each in a write of its own.
fn chunked(out: &mut impl Write, trailers: &str) -> io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for part in ["one", " two", " three"] {
        write!(out, "{:x}\r\n{part}\r\n", part.len())?;
        out.flush()?;
    }
    write!(out, "0\r\n{trailers}\r\n")
}
