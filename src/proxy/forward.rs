//! The head that goes on: the client's, without what must not go, with what keygate says about it.
//!
//! Every lane sends these bytes, so what was decided on is what is forwarded. The general lane's are read once more on
//! the way, by pingora, which wants to be told of the client's connection; a server is told nothing of that.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::keyring::Found;
use crate::proxy::head::{Head, connection_options};
use crate::proxy::headers::{self, BASIC_MAX, Field, Presented, write_field};

/// What the fields say of who sent the request.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The credentials of ours.
    pub presented: Presented<'a>,
    /// The `Authorization` field is ours, and goes no further.
    pub authorization_is_ours: bool,
}

/// Finds the credentials in a head. `basic` is the place for a decoded HTTP Basic value.
#[must_use]
pub fn claims<'a>(head: &Head<'_, 'a>, basic: &'a mut [u8; BASIC_MAX]) -> Claims<'a> {
    let in_authorization = match head.authorization {
        Some(value) => headers::in_authorization(value, basic),
        None => Presented::Absent,
    };
    let authorization_is_ours = in_authorization != Presented::Absent;
    Claims { presented: head.in_api_key.and(in_authorization), authorization_is_ours }
}

/// The address of the client: the connection's, unless that is a trusted proxy; then the rightmost address in
/// `X-Forwarded-For` that is not one. An entry that is no address ends the search: who wrote it is not known.
#[must_use]
pub fn client_address(head: &Head<'_, '_>, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if trusted.is_empty() || !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    for entry in head.values(Field::ForwardedFor).rev().flat_map(|value| value.rsplit(|b| *b == b',')) {
        let Some(address) = parse_address(entry.trim_ascii()) else { return client };
        client = address;
        if !is_trusted(address) {
            return client;
        }
    }
    client
}

/// An address, an IPv6 literal in brackets, either with a port.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr =
        plain.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

/// What is said of a request to the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The key that was admitted.
    pub key: Option<&'a Found<'a>>,
    /// `X-Request-Id`.
    pub request_id: &'a str,
    /// The other end of the connection, as text.
    pub peer: &'a str,
    /// The other end is a trusted proxy: what it says in `X-Forwarded-*` goes on.
    pub peer_is_trusted: bool,
    /// The `Authorization` field is ours.
    pub authorization_is_ours: bool,
}

/// Who reads the head that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A server, from the express lane: HTTP/1.1, and nothing about the client's connection, since this is another one
    /// (RFC 9110, section 7.6.1).
    Server,
    /// pingora-proxy, in the general lane: the client's version, `Connection`, `Upgrade` and `Expect`.
    Pingora,
}

/// Writes the head that goes on, with its last empty line.
pub fn write_head_to(to: To, out: &mut Vec<u8>, head: &Head<'_, '_>, identity: &Identity<'_>) {
    out.reserve(head.length + 256);
    let version: &[u8] = if head.is_http10 && to == To::Pingora { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
    for part in [head.method, b" ", head.target, version] {
        out.extend_from_slice(part);
    }
    write_line(out, b"Host: ", head.host);
    let mut protocol_is_told = false;
    let mut host_is_told = false;
    for (kind, field) in head.classified() {
        let name = field.name.as_bytes();
        let goes_on = match kind {
            Field::Other | Field::WebSocketVersion => !(head.nominates && is_nominated(head, name)),
            Field::ContentLength | Field::Origin | Field::PreflightMethod => true,
            Field::TransferEncoding => {
                // Its case is the client's, and a server that compares it by letter would see no body.
                write_line(out, b"Transfer-Encoding: ", b"chunked");
                false
            }
            Field::Expect => head.expects_continue && to == To::Pingora,
            Field::ClientAddress => identity.peer_is_trusted,
            Field::Authorization => !identity.authorization_is_ours,
            Field::ApiKey => !headers::is_api_key_ours(field.value),
            Field::Cookie => match headers::cookies_without_session(field.value) {
                None => true,
                Some(others) => {
                    write_cookies(out, name, others);
                    false
                }
            },
            Field::Dropped if identity.peer_is_trusted => {
                let protocol = name.eq_ignore_ascii_case(b"x-forwarded-proto");
                let host = name.eq_ignore_ascii_case(b"x-forwarded-host");
                protocol_is_told |= protocol;
                host_is_told |= host;
                protocol || host
            }
            Field::Host
            | Field::Connection
            | Field::Upgrade
            | Field::ForwardedFor
            | Field::RequestId
            | Field::Dropped => false,
        };
        if goes_on {
            write_field(out, name, field.value);
        }
    }
    if to == To::Pingora {
        write_connection(out, head);
    }
    if let Some(key) = identity.key {
        write_line(out, b"X-Keygate-Key-Id: ", &key.slot.id().text());
        write_line(out, b"X-Keygate-Key-Name: ", key.record.name.as_bytes());
        write_line(out, b"X-Keygate-Role: ", key.record.role.as_str().as_bytes());
    }
    write_line(out, b"X-Request-Id: ", identity.request_id.as_bytes());
    write_forwarded_for(out, head, identity);
    if !protocol_is_told {
        out.extend_from_slice(b"X-Forwarded-Proto: http\r\n");
    }
    if !host_is_told {
        write_line(out, b"X-Forwarded-Host: ", head.host);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a field whose name, colon and space are known.
fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// What the client wants of its connection.
fn write_connection(out: &mut Vec<u8>, head: &Head<'_, '_>) {
    if head.is_websocket {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if head.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if head.is_http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// What is left of a `Cookie` field; nothing, if nothing is.
fn write_cookies<'a>(out: &mut Vec<u8>, name: &[u8], pairs: impl Iterator<Item = &'a [u8]>) {
    let value = pairs.collect::<Vec<_>>().join(&b"; "[..]);
    if !value.is_empty() {
        write_field(out, name, &value);
    }
}

fn is_nominated(head: &Head<'_, '_>, name: &[u8]) -> bool {
    head.values(Field::Connection).flat_map(connection_options).any(|option| option.eq_ignore_ascii_case(name))
}

/// What a trusted proxy said, and then the peer; without one, the peer alone.
fn write_forwarded_for(out: &mut Vec<u8>, head: &Head<'_, '_>, identity: &Identity<'_>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if identity.peer_is_trusted {
        for value in head.values(Field::ForwardedFor) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(identity.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::{self, HeadLimits, Parsed};

    fn forwarded(to: To, text: &str, peer_is_trusted: bool) -> String {
        let (mut space, limits) = (head::Space::<32>::new(), HeadLimits { size: 4096, fields: 31 });
        let Parsed::Head(head) = head::parse(text.as_bytes(), &mut space, limits) else { panic!("{text:?}") };
        let identity = Identity {
            key: None,
            request_id: "id-1",
            peer: "192.0.2.1",
            peer_is_trusted,
            authorization_is_ours: false,
        };
        let mut out = Vec::new();
        write_head_to(to, &mut out, &head, &identity);
        String::from_utf8(out).unwrap()
    }

    /// What every forwarded head of these tests ends with.
    const OURS: &str = "X-Request-Id: id-1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
                        X-Forwarded-Host: a.test\r\n\r\n";

    #[test]
    fn a_server_is_told_nothing_of_the_clients_connection_and_pingora_all() {
        let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        for (line, fields, to_server, to_pingora) in [
            ("GET /a?b HTTP/1.1", "", ("", "HTTP/1.1"), ("", "HTTP/1.1")),
            ("GET /a?b HTTP/1.1", "Connection: close\r\n", ("", "HTTP/1.1"), ("Connection: close\r\n", "HTTP/1.1")),
            ("GET /a?b HTTP/1.0", "", ("", "HTTP/1.1"), ("Connection: close\r\n", "HTTP/1.0")),
            (
                "GET /a?b HTTP/1.0",
                "Connection: keep-alive\r\n",
                ("", "HTTP/1.1"),
                ("Connection: keep-alive\r\n", "HTTP/1.0"),
            ),
            (
                "GET /a?b HTTP/1.1",
                "transfer-encoding: cHunked\r\n",
                ("Transfer-Encoding: chunked\r\n", "HTTP/1.1"),
                ("Transfer-Encoding: chunked\r\n", "HTTP/1.1"),
            ),
            (
                "GET /a?b HTTP/1.1",
                "Expect: 100-continue\r\n",
                ("", "HTTP/1.1"),
                ("Expect: 100-continue\r\n", "HTTP/1.1"),
            ),
            (
                "GET /a?b HTTP/1.1",
                "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n",
                ("Sec-WebSocket-Version: 13\r\n", "HTTP/1.1"),
                (&format!("Sec-WebSocket-Version: 13\r\n{websocket}"), "HTTP/1.1"),
            ),
        ] {
            let text = format!("{line}\r\nHost: a.test\r\n{fields}\r\n");
            for (to, (kept, version)) in [(To::Server, to_server), (To::Pingora, to_pingora)] {
                let expected = format!("GET /a?b {version}\r\nHost: a.test\r\n{kept}{OURS}");
                assert_eq!(forwarded(to, &text, false), expected, "{text:?} {to:?}");
            }
        }
    }

    #[test]
    fn who_is_trusted_may_speak_of_the_client_and_nobody_of_another_request() {
        let told = "X-Real-IP: 198.51.100.1\r\nclient-ip: 198.51.100.1\r\n";
        let text = format!(
            "GET / HTTP/1.1\r\nHost: a.test\r\n{told}X-Original-URI: /b\r\nX-Host: b\r\nProxy: http://b\r\n\
             X-Original-Method: DELETE\r\nX-Mine: 1\r\n\r\n"
        );
        let head = "GET / HTTP/1.1\r\nHost: a.test\r\n";
        assert_eq!(forwarded(To::Server, &text, false), format!("{head}X-Mine: 1\r\n{OURS}"));
        assert_eq!(forwarded(To::Server, &text, true), format!("{head}{told}X-Mine: 1\r\n{OURS}"));
    }
}
