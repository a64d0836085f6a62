//! Path rules: which request paths are clear enough to decide on, and how rules and routes see them.
//!
//! What is decided on is what is forwarded: the raw bytes, never rewritten. Routes and rules compare with the
//! path percent-decoded once, on the fly, without a buffer. A path that two readers could take for two
//! different ones (RFC 3986, sections 2.4, 3.3 and 6.2.2; RFC 9110, section 4.2.4) is refused.

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// A byte that no URI path may hold unencoded (RFC 3986, section 3.3), or no `/` at its beginning.
    Byte,
    /// `%` without two hexadecimal digits.
    PercentEncoding,
    /// What is decoded is itself percent-encoded.
    DoubleEncoding,
    /// `%2F`, `\` or `%5C`: a separator to some readers.
    EncodedSeparator,
    /// `%00` or another control character.
    Control,
    /// `;`, plain or encoded: a parameter to some readers, part of the name to others.
    Semicolon,
    /// `.` or `..` as a segment, plain or encoded.
    DotSegment,
    /// `//`.
    EmptySegment,
    /// Decodes to bytes that are not UTF-8, overlong forms among them (RFC 3629, section 3).
    NotUtf8,
    /// A server that ignores case would take it for one that another route guards.
    Case,
}

impl PathFault {
    /// For the answer's `detail`.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Byte => "The path holds a byte that must be percent-encoded.",
            Self::PercentEncoding => "The path holds a % that two hexadecimal digits do not follow.",
            Self::DoubleEncoding => "The path is percent-encoded twice.",
            Self::EncodedSeparator => "The path holds an encoded slash or a backslash.",
            Self::Control => "The path holds an encoded control character.",
            Self::Semicolon => "A segment of the path holds a semicolon.",
            Self::DotSegment => "A segment of the path is . or ..",
            Self::EmptySegment => "The path holds an empty segment (//).",
            Self::NotUtf8 => "The path does not decode to UTF-8.",
            Self::Case => "But for the case of its letters, the path belongs to another route.",
        }
    }
}

/// Bytes of `pchar` and `/` (RFC 3986, section 3.3); `%` and `;` are looked at by the callers.
const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
                | b'%'
                | b';'
        )
}

/// What a byte is in a path.
#[derive(Clone, Copy)]
enum Class {
    /// It must not stand there unencoded.
    Never,
    /// It means nothing but itself.
    Usual,
    /// `/`, `.`, `%` and `;`: what stands around it counts.
    Sign,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Never; 256];
    let mut byte = 0u8;
    loop {
        if plain(byte) {
            let is_sign = matches!(byte, b'/' | b'.' | b'%' | b';');
            table[byte as usize] = if is_sign { Class::Sign } else { Class::Usual };
        }
        if byte == 255 {
            break;
        }
        byte += 1;
    }
    table
};

/// Bytes that a query may hold when it is forwarded as it is: visible ASCII but `"`, `#`, `<` and `>`.
/// (RFC 3986 forbids a few more, which clients send all the same and no reader takes for something else.)
#[must_use]
pub fn query_is_clear(query: &[u8]) -> bool {
    query.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'<' | b'>'))
}

/// Checks what holds even where a route has `lenient_paths`: a leading slash, and no byte that the next parser
/// could take for the end of the path.
///
/// # Errors
/// [`PathFault::Byte`].
pub fn check_bytes(path: &[u8]) -> Result<(), PathFault> {
    let fine = path.first() == Some(&b'/')
        && path.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'<' | b'>' | b'?' | b'^' | b'`'));
    fine.then_some(()).ok_or(PathFault::Byte)
}

/// Checks every rule. **HOT**
///
/// # Errors
/// The first fault found.
pub fn check(path: &[u8]) -> Result<(), PathFault> {
    if is_usual(path) { Ok(()) } else { check_odd(path) }
}

/// Is it what nearly every path is: segments of usual bytes, with a slash in front of each? Of these, none is odd.
fn is_usual(path: &[u8]) -> bool {
    let Some((b'/', rest)) = path.split_first() else { return false };
    let mut before = b'/';
    rest.iter().all(|byte| {
        let behind_slash = std::mem::replace(&mut before, *byte) == b'/';
        match CLASSES[usize::from(*byte)] {
            Class::Usual => true,
            Class::Sign => !behind_slash && matches!(byte, b'/' | b'.'),
            Class::Never => false,
        }
    })
}

#[cold]
fn check_odd(path: &[u8]) -> Result<(), PathFault> {
    if path.first() != Some(&b'/') {
        return Err(PathFault::Byte);
    }
    if path.contains(&b'\\') {
        return Err(PathFault::EncodedSeparator);
    }
    if path.iter().any(|b| matches!(CLASSES[usize::from(*b)], Class::Never)) {
        return Err(PathFault::Byte);
    }
    if path.contains(&b'%') {
        check_encoded(path)?;
    }
    if path.contains(&b';') {
        return Err(PathFault::Semicolon);
    }
    let mut segments = path[1..].split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathFault::EmptySegment);
        }
        if is_dots(segment) {
            return Err(PathFault::DotSegment);
        }
    }
    Ok(())
}

/// `.` and `..`, with any dot encoded.
fn is_dots(segment: &[u8]) -> bool {
    let mut dots = 0;
    decoded(segment).all(|b| {
        dots += 1;
        b == b'.' && dots <= 2
    }) && dots > 0
}

fn check_encoded(path: &[u8]) -> Result<(), PathFault> {
    let mut at = 0;
    let mut beyond_ascii = false;
    while let Some(found) = memchr::memchr(b'%', path.get(at..).unwrap_or_default()) {
        at += found;
        let byte = decode_at(path, at).ok_or(PathFault::PercentEncoding)?;
        at += 3;
        match byte {
            b'/' | b'\\' => return Err(PathFault::EncodedSeparator),
            b';' => return Err(PathFault::Semicolon),
            0..=0x1f | 0x7f => return Err(PathFault::Control),
            // What follows may itself be encoded: the second reader sees it decoded.
            b'%' if begins_with_hex_pair(path.get(at..).unwrap_or_default()) => return Err(PathFault::DoubleEncoding),
            0x80.. => beyond_ascii = true,
            _ => {}
        }
    }
    if beyond_ascii {
        let bytes: Vec<u8> = decoded(path).collect();
        std::str::from_utf8(&bytes).map_err(|_| PathFault::NotUtf8)?;
    }
    Ok(())
}

fn begins_with_hex_pair(path: &[u8]) -> bool {
    decoded(path).take(2).filter(u8::is_ascii_hexdigit).count() == 2
}

fn decode_at(path: &[u8], at: usize) -> Option<u8> {
    hex_pair(path.get(at + 1..at + 3))
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match pair? {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// The path percent-decoded once. A `%` that decodes to nothing stays as it is.
pub fn decoded(path: &[u8]) -> impl Iterator<Item = u8> + Clone + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *path.get(at)?;
        if byte == b'%'
            && let Some(value) = decode_at(path, at)
        {
            at += 3;
            return Some(value);
        }
        at += 1;
        Some(byte)
    })
}

/// Does it hold a control character once it is decoded? No reader needs one, and some end the path there: what is
/// decided on a path with one need not hold for what is served. So they are refused where other odd paths are not.
#[must_use]
pub fn holds_control(path: &[u8]) -> bool {
    decoded(path).any(|byte| byte.is_ascii_control())
}

/// The path as the most obliging server might take it: decoded once, backslashes as slashes, parameters (`;…`) cut off,
/// empty and dot segments resolved. For routes with `lenient_paths`, whose rules must hold for this path too.
#[must_use]
pub fn resolved(path: &[u8]) -> Vec<u8> {
    let decoded: Vec<u8> = decoded(path).collect();
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|b| matches!(b, b'/' | b'\\')) {
        match segment.split(|b| *b == b';').next().unwrap_or_default() {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let mut path = vec![b'/'];
    path.extend_from_slice(&segments.join(&b'/'));
    path
}

/// Is `prefix` all of the path, or all of its first segments? `/` is a prefix of every path.
#[must_use]
pub fn has_prefix(path: &[u8], prefix: &str) -> bool {
    matches_prefix(path, prefix, |a, b| a == b)
}

/// As [`has_prefix`], with ASCII letters equal in any case.
#[must_use]
pub fn has_prefix_ignoring_case(path: &[u8], prefix: &str) -> bool {
    matches_prefix(path, prefix, |a, b| a.eq_ignore_ascii_case(&b))
}

fn matches_prefix(path: &[u8], prefix: &str, same: impl Fn(u8, u8) -> bool) -> bool {
    let mut rest = decoded(path);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    prefix.bytes().all(|b| rest.next().is_some_and(|a| same(a, b))) && rest.next().is_none_or(|next| next == b'/')
}

/// Is the path exactly this one?
#[must_use]
pub fn is_exactly(path: &[u8], other: &str) -> bool {
    decoded(path).eq(other.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_refused_by_name() {
        for (path, fault) in [
            ("/a/../b", PathFault::DotSegment),
            ("/a/.", PathFault::DotSegment),
            ("/%2e%2E/b", PathFault::DotSegment),
            ("/a/.%2e", PathFault::DotSegment),
            ("//a", PathFault::EmptySegment),
            ("/a//b", PathFault::EmptySegment),
            ("/a%2fb", PathFault::EncodedSeparator),
            ("/a\\b", PathFault::EncodedSeparator),
            ("/a%5Cb", PathFault::EncodedSeparator),
            ("/a%00", PathFault::Control),
            ("/a%0d%0ab", PathFault::Control),
            ("/a;b", PathFault::Semicolon),
            ("/a%3bb", PathFault::Semicolon),
            ("/a%", PathFault::PercentEncoding),
            ("/a%zz", PathFault::PercentEncoding),
            ("/a%252e", PathFault::DoubleEncoding),
            ("/a%25%32%65", PathFault::DoubleEncoding),
            ("/a%252%65", PathFault::DoubleEncoding),
            ("/%c0%ae%c0%ae/b", PathFault::NotUtf8),
            ("/a|b", PathFault::Byte),
            ("/a\"b", PathFault::Byte),
            ("a", PathFault::Byte),
            ("", PathFault::Byte),
        ] {
            assert_eq!(check(path.as_bytes()), Err(fault), "{path}");
        }
        for path in ["/", "/a", "/a/", "/a/b.c", "/...", "/.a", "/a%20b", "/a%25b", "/caf%c3%a9", "/a:b@c!$&'()*+,=~"] {
            assert_eq!(check(path.as_bytes()), Ok(()), "{path}");
        }
    }

    #[test]
    fn usual_paths_are_those_that_are_not_odd() {
        let pieces =
            ["", "/", "/a", "/a.b", "/.", "/..", "/.a", "/...", "//", "/%61", ";", "\\", "/~-_", "\"", "/a..", "."];
        for first in pieces {
            for path in pieces.iter().flat_map(|second| pieces.iter().map(move |third| [first, second, third].concat()))
            {
                let is_clear = check_odd(path.as_bytes()).is_ok();
                assert!(is_clear || !is_usual(path.as_bytes()), "{path}");
                assert_eq!(check(path.as_bytes()).is_ok(), is_clear, "{path}");
            }
        }
        assert!(["/", "/a", "/a/b.c", "/a/", "/a..b/c"].iter().all(|path| is_usual(path.as_bytes())));
    }

    #[test]
    fn control_characters_are_found_encoded() {
        for path in ["/a%00", "/%0d%0A", "/%7f", "/a;%1F"] {
            assert!(holds_control(path.as_bytes()), "{path}");
        }
        for path in ["/", "/a%20b", "/caf%c3%a9", "/%80", "/100%", "/a%2500"] {
            assert!(!holds_control(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn odd_paths_resolve_as_the_most_obliging_server_would() {
        for (path, resolved_path) in [
            ("/a/../b", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/..%2fb", "/b"),
            ("/a/..\\b", "/b"),
            ("/a/..;x/b", "/b"),
            ("/../../b", "/b"),
            ("//a//./b/", "/a/b"),
            ("/", "/"),
        ] {
            assert_eq!(resolved(path.as_bytes()), resolved_path.as_bytes(), "{path}");
        }
    }

    #[test]
    fn prefixes_end_at_segments() {
        assert!(has_prefix(b"/api", "/api"));
        assert!(has_prefix(b"/api/x", "/api"));
        assert!(has_prefix(b"/%61pi/x", "/api"));
        assert!(!has_prefix(b"/apix", "/api"));
        assert!(!has_prefix(b"/API", "/api"));
        assert!(has_prefix_ignoring_case(b"/A%50I/x", "/api"));
        assert!(has_prefix(b"/anything", "/"));
        assert!(is_exactly(b"/se%61rch", "/search"));
        assert!(!is_exactly(b"/search/", "/search"));
    }
}
