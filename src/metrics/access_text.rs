//! Texts of the access log: the inside of JSON strings, made of bytes that a client chose. [HOT: with the log on, it
//! runs once a request; nearly every text is plain ASCII and is looked at once and copied.]
//!
//! Never here: what is logged (`access_entry`) and where (`access_log`). Called by `access_entry` alone.

/// Of a text that a client chose, at most this many bytes are logged; what was cut ends with `…`.
pub(super) const MAX_TEXT: usize = 4096;

/// What stands in the place of a credential.
pub(super) const REDACTED: &str = "[redacted]";

/// Must be escaped, or is not ASCII.
const ESCAPE: u8 = 1;
/// Every prefix of a credential of ours has a `_`, and every way to hide one a `%`.
const CREDENTIAL: u8 = 2;
/// Ends a path.
const QUERY: u8 = 4;

/// What each byte means here.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte {
            0..0x20 | 0x22 | 0x5C | 0x7F.. => ESCAPE,
            // '%', '_', and the 'J' of base64 that begins as JSON does.
            0x25 | 0x4A | 0x5F => CREDENTIAL,
            0x23 | 0x3F => QUERY,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Is a byte of one of these classes in the text? Nearly always not, so eight bytes are looked at in one go.
fn has(text: &[u8], classes: u8) -> bool {
    // An index of eight bits is always within 256 classes.
    let all = |bytes: &[u8]| bytes.iter().fold(0, |all, &byte| all | CLASSES[usize::from(byte)]);
    let (eights, rest) = text.as_chunks::<8>();
    eights.iter().any(|eight| all(eight) & classes != 0) || all(rest) & classes != 0
}

/// A text of our own or of the configuration: only escaped.
pub(super) fn own_text(out: &mut Vec<u8>, text: &str) {
    if has(text.as_bytes(), ESCAPE) {
        escaped_str(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// A target without its query.
pub(super) fn path_text(out: &mut Vec<u8>, target: &[u8]) {
    let path = if has(target, QUERY) {
        memchr::memchr2(b'?', b'#', target).and_then(|end| target.get(..end)).unwrap_or_default()
    } else {
        target
    };
    client_text(out, path);
}

/// Bytes that a client chose, cut, without credentials, escaped.
pub(super) fn client_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= MAX_TEXT && !has(text, ESCAPE | CREDENTIAL) {
        out.extend_from_slice(text);
    } else {
        odd_client_text(out, text);
    }
}

#[cold]
fn odd_client_text(out: &mut Vec<u8>, text: &[u8]) {
    let (text, cut) = clipped(text);
    if holds_credential(text) {
        for (at, segment) in text.split(|&byte| byte == b'/').enumerate() {
            if at > 0 {
                out.push(b'/');
            }
            if holds_credential(segment) {
                out.extend_from_slice(REDACTED.as_bytes());
            } else {
                escaped(out, segment);
            }
        }
    } else {
        escaped(out, text);
    }
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
}

/// At most [`MAX_TEXT`] bytes, without half a character at the end, and whether anything was cut.
fn clipped(text: &[u8]) -> (&[u8], bool) {
    if text.len() <= MAX_TEXT {
        return (text, false);
    }
    // A UTF-8 character has at most three continuation bytes.
    let is_start = |at: usize| text.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
    let end = (MAX_TEXT - 3..=MAX_TEXT).rev().find(|&at| is_start(at)).unwrap_or(MAX_TEXT);
    (text.get(..end).unwrap_or(text), true)
}

/// Does it hold a text of base64 that begins as JSON does (`{"`): a JWT, which may have an app key in it, or a bundle?
fn holds_encoded_object(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, b"eyJ").any(|at| {
        let word = text.get(at..).unwrap_or_default().iter().take(ENCODED_OBJECT);
        word.filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+')).count() == ENCODED_OBJECT
    })
}

/// Characters of it that are no chance.
const ENCODED_OBJECT: usize = 16;

/// Does it hold a credential of ours, or what may carry one?
fn holds_credential(text: &[u8]) -> bool {
    holds_prefix(text) || holds_encoded_object(text)
}

/// Does it hold `kg_`, `kga_`, `kgs_`, `kgt_`, `kgr_` or `kgo_`, percent-encoded or not, where a word begins?
/// A harmless word that happens to look so is the price.
fn holds_prefix(text: &[u8]) -> bool {
    #[derive(Clone, Copy)]
    enum Seen {
        WordStart,
        K,
        Kg,
        KgAndKind,
        Word,
    }
    let mut seen = Seen::WordStart;
    let mut rest = text;
    while let Some((byte, after)) = first_decoded(rest) {
        rest = after;
        seen = match (seen, byte) {
            (Seen::WordStart, b'k') => Seen::K,
            (Seen::K, b'g') => Seen::Kg,
            (Seen::Kg, b'a' | b's' | b't' | b'r' | b'o') => Seen::KgAndKind,
            (Seen::Kg | Seen::KgAndKind, b'_') => return true,
            (_, byte) if byte.is_ascii_alphanumeric() => Seen::Word,
            _ => Seen::WordStart,
        };
    }
    false
}

/// The first byte, percent-decoded, and what comes after it.
fn first_decoded(text: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'%', high, low, rest @ ..] = text
        && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
    {
        return u8::try_from(high << 4 | low).ok().map(|byte| (byte, rest));
    }
    text.split_first().map(|(&byte, rest)| (byte, rest))
}

/// The inside of a JSON string; what is not UTF-8 becomes U+FFFD, as [`String::from_utf8_lossy`] does it.
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    if !has(text, ESCAPE) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        escaped_str(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// The inside of a JSON string. Besides what RFC 8259 demands, DEL and the C1 control characters (U+0080 to U+009F)
/// are escaped: a terminal that shows the log would obey them.
fn escaped_str(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text.as_bytes();
    // 0xC2 begins U+0080 to U+00BF.
    while let Some(at) =
        rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7F || byte == 0xC2)
    {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let after = match from {
            [0xC2, second, after @ ..] if *second >= 0xA0 => {
                out.extend_from_slice(&[0xC2, *second]);
                after
            }
            [quoted @ (b'"' | b'\\'), after @ ..] => {
                out.extend_from_slice(&[b'\\', *quoted]);
                after
            }
            // The second byte of U+0080 to U+009F is the number of the character.
            [0xC2, control, after @ ..] | [control, after @ ..] => {
                let digit = |n: u8| HEX.get(usize::from(n & 0xF)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(*control)]);
                after
            }
            [] => from,
        };
        rest = after;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logged(write: fn(&mut Vec<u8>, &[u8]), text: &[u8]) -> String {
        let mut out = vec![b'"'];
        write(&mut out, text);
        out.push(b'"');
        assert!(!out.iter().any(|&byte| byte < 0x20 || byte == 0x7F), "{out:?}");
        assert!(!out.windows(2).any(|two| two[0] == 0xC2 && two[1] < 0xA0), "{out:?}");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn credentials_in_a_path_are_redacted() {
        for (path, wanted) in [
            ("/kg_7_abc_def", "/[redacted]"),
            ("/a/kga_x/b", "/a/[redacted]/b"),
            ("/kgs_1/kgt_2/kgr_3/kgo_4", "/[redacted]/[redacted]/[redacted]/[redacted]"),
            ("/x;t=kg_7_abc", "/[redacted]"),
            ("/a%2Fkg_7_abc/b", "/[redacted]/b"),
            ("/%6bg%5F7_abc", "/[redacted]"),
            ("kg_7_abc", "[redacted]"),
            ("/kg/kgx_1/bkg_1/KG_1/k_g", "/kg/kgx_1/bkg_1/KG_1/k_g"),
            ("/100%/a_b/%zz", "/100%/a_b/%zz"),
            ("//", "//"),
            ("/a/token%3Fjwt=eyJhbGciOiJIUzI1NiJ9.eyJhcHBrZXkiOiJr.c2ln/b", "/a/[redacted]/b"),
            ("/eyJ1cmwiOiJodHRwOi8v+x=", "/[redacted]"),
            ("/JSON/eyJ/eyJonathan", "/JSON/eyJ/eyJonathan"),
            ("/a#kg_1", "/a"),
        ] {
            assert_eq!(logged(path_text, path.as_bytes()), wanted);
        }
        assert_eq!(logged(client_text, b"kga_2.example.org"), REDACTED);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = format!("/{}", "ä".repeat(MAX_TEXT));
        let cut = logged(path_text, long.as_bytes());
        assert!(cut.len() <= MAX_TEXT + "…".len());
        assert!(long.starts_with(cut.strip_suffix('…').unwrap()));
        assert_eq!(logged(path_text, &vec![0x80; MAX_TEXT + 9]).chars().last(), Some('…'));
        assert_eq!(logged(path_text, "a".repeat(MAX_TEXT).as_bytes()), "a".repeat(MAX_TEXT));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_far_as_they_are_text(text: Vec<u8>) {
            prop_assume!(!holds_credential(&text));
            prop_assert_eq!(logged(client_text, &text), String::from_utf8_lossy(&text));
        }

        #[test]
        fn valid_text_comes_back_whole(text in "\\PC*|[\\x00-\\xff]*|[\"\\\\/\u{7f}-\u{a0}a-z]*") {
            prop_assume!(!holds_credential(text.as_bytes()));
            prop_assert_eq!(&logged(client_text, text.as_bytes()), &text);
            prop_assert_eq!(&logged(|out, text| own_text(out, std::str::from_utf8(text).unwrap()), text.as_bytes()), &text);
        }

        #[test]
        fn no_credential_is_ever_logged(
            before in "[a-z0-9/._%-]{0,20}[/.;=%:-]",
            kind in "[astro]?",
            secret in "[0-9A-Za-z]{8,43}",
            after in "[a-z/]{0,9}",
        ) {
            let path = format!("{before}kg{kind}_{secret}{after}");
            let logged = logged(path_text, path.as_bytes());
            prop_assert!(!logged.contains(&secret), "{}", logged);
        }
    }
}
