//! Which names a request may call us by. A name that somebody else made point at us (DNS rebinding) is not one of
//! them, so a page of theirs never speaks with us as one of ours. Pure; ports do not matter here, since a forwarded
//! one may differ. Called for each request of the admin plane, before anything else looks at it.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

use super::state::Connection;

/// Is the request meant for us? `hosts` are the configured names.
#[must_use]
pub fn is_ours(uri: &Uri, headers: &HeaderMap, connection: Connection, hosts: &[String]) -> bool {
    let mut values = headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(authority) = value.to_str().unwrap_or_default().parse::<Authority>() else { return false };
    // What stands behind the name is looked at too: the authority's own parser takes any text for a port.
    let behind = authority.as_str().strip_prefix(authority.host()).unwrap_or("@");
    let is_plain = matches!(behind, "" | ":") || (behind.starts_with(':') && authority.port_u16().is_some());
    let agrees = uri.authority().is_none_or(|named| named.as_str().eq_ignore_ascii_case(authority.as_str()));
    is_plain && agrees && is_name(authority.host(), connection.local, hosts)
}

/// Our own address, `localhost` where that is a loopback one, or a configured name.
fn is_name(host: &str, local: IpAddr, hosts: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    let address = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    address == Some(local)
        || (host == "localhost" && local.is_loopback())
        || hosts.iter().any(|name| *name == bare || (address.is_some() && name.parse().ok() == address))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(local: &str, uri: &str, values: &[&str]) -> bool {
        let local = format!("{local}:8081").parse().unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HOST, HeaderValue::from_str(value).unwrap());
        }
        let hosts = ["keys.example.org".to_owned(), "192.0.2.200".to_owned()];
        is_ours(&uri.parse().unwrap(), &headers, Connection::new(local, local, false), &hosts)
    }

    #[test]
    fn own_addresses_and_configured_names_are_ours() {
        for host in
            ["127.0.0.1:8081", "127.0.0.1", "localhost:9", "LOCALHOST", "keys.example.org", "KEYS.example.org:1"]
        {
            assert!(asked("127.0.0.1", "/", &[host]), "{host}");
        }
        assert!(asked("[::1]", "/", &["[::1]:8081"]) && asked("[::1]", "/", &["localhost"]));
        assert!(asked("192.0.2.7", "/", &["192.0.2.7:8081"]) && asked("192.0.2.7", "/", &["192.0.2.200"]));
        assert!(asked("[::ffff:127.0.0.1]", "/", &["127.0.0.1"]));
        assert!(asked("127.0.0.1", "http://127.0.0.1:8081/v1", &["127.0.0.1:8081"]));
    }

    #[test]
    fn everything_else_is_not() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "a.keys.example.org",
            "127.0.0.2",
            "x@127.0.0.1",
            "x@127.0.0.1:8081",
            "127.0.0.1:8081.evil.example",
            "127.0.0.1:99999",
            "0x7f.1",
            "2130706433",
            "",
            "a b",
        ] {
            assert!(!asked("127.0.0.1", "/", &[host]), "{host}");
        }
        assert!(!asked("192.0.2.7", "/", &["localhost"]), "localhost is not reached at this address");
        assert!(!asked("127.0.0.1", "/", &[]), "a request without Host");
        assert!(!asked("127.0.0.1", "/", &["localhost", "localhost"]), "a request with two");
        assert!(!asked("127.0.0.1", "http://evil.example/v1", &["localhost"]), "two that differ");
    }
}
