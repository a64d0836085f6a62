//! Credentials of ours in forms that keygate does not read but an upstream, or what stands behind it, might: they
//! are no way in, and they are never forwarded.

use crate::support::{Config, Gateway, Key, Response, Upstream, base64};

struct Fixture {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

fn start() -> Fixture {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("reader", "readonly");
    Fixture { upstream, gateway, key }
}

impl Fixture {
    /// With this field, byte for byte.
    fn send(&self, target: &str, (name, value): &(&str, Vec<u8>)) -> Response {
        let mut bytes = format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n{name}: ").into_bytes();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n\r\n");
        self.gateway.node.send_raw(&bytes)
    }

    /// The fields in which the key is, for readers who try hard.
    fn hidden(&self) -> Vec<(&'static str, Vec<u8>)> {
        let key = self.key.encoded.as_str();
        let basic = base64::encode(format!("{key}:").as_bytes());
        let (head, tail) = basic.split_at(basic.len() / 2);
        let padded = base64::encode(format!(" {key}:").as_bytes());
        let tabbed = base64::encode(format!("\t{key}:").as_bytes());
        let after_space = base64::encode(format!("user: {key}").as_bytes());
        let quoted_inside = base64::encode(format!("user:\"{key}\"").as_bytes());
        let alphabet = base64::encode(format!("{key}:???>>>~~~").as_bytes());
        let url_safe = alphabet.replace('+', "-").replace('/', "_");
        assert_ne!(alphabet, url_safe, "it has a character in which the alphabets differ");
        let unpadded = url_safe.trim_end_matches('=');
        let mut all: Vec<(&str, Vec<u8>)> = [
            format!("Basic\t{basic}"),
            format!("Basic {head} {tail}"),
            format!("Basic {head}\t{tail}"),
            format!("Basic {basic}!"),
            format!("Basic {basic}===="),
            // Some readers pass over padding wherever it is.
            format!("Basic ={basic}"),
            format!("Basic {head}={tail}"),
            format!("Basic YWI6={basic}"),
            format!("Basic YWI=6{basic}"),
            format!("Basic \"{basic}\""),
            format!("Basic '{basic}'"),
            format!("Basic {url_safe}"),
            format!("Basic {unpadded}"),
            format!("Basic {padded}"),
            format!("Basic {tabbed}"),
            format!("Basic {after_space}"),
            format!("Basic {quoted_inside}"),
            format!("Bearer \"{key}\""),
            format!("Bearer '{key}'"),
            format!("Bearer <{key}>"),
            format!("Bearer foo, Bearer {key}"),
            format!("Bearer foo,{key}"),
            format!("Bearer foo {key}"),
            format!("Bearer Bearer {key}"),
            format!("Bearer:{key}"),
            format!("Bearer={key}"),
            format!("Token token={key}"),
            format!("Token token=\"{key}\", email=\"x\""),
            format!("Digest username=\"x\", {key}"),
            format!("Digest username=\"{key}\""),
            format!("\"{key}\""),
            format!(",{key}"),
        ]
        .into_iter()
        .map(|value| ("Authorization", value.into_bytes()))
        .collect();
        all.extend(
            [
                format!("foo, {key}"),
                format!("foo,{key}"),
                format!("{key}, foo"),
                format!("{key}; q=1"),
                format!("Bearer {key}"),
                format!("token={key}"),
                format!("\"{key}\""),
                format!("'{key}'"),
            ]
            .map(|value| ("X-API-Key", value.into_bytes())),
        );
        for before in [b"\xa0".as_slice(), b"\xc2\xa0", b"Bearer \xa0", b"Bearer \xe2\x80\x8b"] {
            all.push(("Authorization", [before, key.as_bytes()].concat()));
            all.push(("X-API-Key", [before, key.as_bytes()].concat()));
        }
        all
    }
}

fn shown((name, value): &(&str, Vec<u8>), key: &Key) -> String {
    format!("{name}: {}", String::from_utf8_lossy(value).replace(&key.encoded, "<k>"))
}

#[test]
fn a_key_that_only_a_lenient_reader_finds_is_never_forwarded() {
    let f = start();
    let mut leaks = Vec::new();
    for field in f.hidden().into_iter().chain([("Authorization", format!("Bearer\t{}", f.key.encoded).into_bytes())]) {
        let before = f.upstream.count();
        let response = f.send("/open/x", &field);
        // Public routes verify nothing; what cannot be read at all may be refused.
        assert!([200, 400, 401].contains(&response.status), "{}: {}", shown(&field, &f.key), response.status);
        for seen in f.upstream.seen().split_off(before) {
            if seen.header(field.0).is_some() {
                leaks.push(shown(&field, &f.key));
            }
        }
    }
    assert!(leaks.is_empty(), "forwarded:\n{}", leaks.join("\n"));
}

#[test]
fn a_key_that_only_a_lenient_reader_finds_is_no_way_in() {
    let f = start();
    let mut wrong = Vec::new();
    for field in f.hidden() {
        let status = f.send("/x", &field).status;
        if status != 401 {
            wrong.push(format!("{status} for {}", shown(&field, &f.key)));
        }
    }
    assert!(wrong.is_empty(), "not 401:\n{}", wrong.join("\n"));
    assert_eq!(f.upstream.count(), 0);
    // A tab is white space to some specifications: it may be read, or refused; see the other test for the rest.
    let tab = ("Authorization", format!("Bearer\t{}", f.key.encoded).into_bytes());
    assert!([200, 401].contains(&f.send("/tab", &tab).status));
    assert!(f.upstream.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[test]
fn what_holds_our_prefix_inside_a_longer_word_is_not_ours() {
    let f = start();
    let word = base64::encode(b"pkg_user:word");
    let values = [
        "Bearer pkg_abc".to_owned(),
        "Bearer backkg_1_x".to_owned(),
        "Bearer akga_b".to_owned(),
        "Token token=pkg_abc".to_owned(),
        "Digest username=\"pkg_abc\", nonce=\"x\"".to_owned(),
        format!("Basic {word}"),
    ];
    for (n, value) in values.iter().enumerate() {
        let target = format!("/open/{n}");
        assert_eq!(f.send(&target, &("Authorization", value.clone().into_bytes())).status, 200, "{value}");
        assert_eq!(f.upstream.only(&target).head.all("authorization"), [value.as_str()]);
    }
    assert_eq!(f.send("/open/key", &("X-API-Key", b"pkg_abc".to_vec())).status, 200);
    assert_eq!(f.upstream.only("/open/key").head.all("x-api-key"), ["pkg_abc"]);
}
