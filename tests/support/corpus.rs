//! The corpus of refusals (tests/corpus): its notation, and what a case states. tests/corpus/README.md says what the
//! notation means; nothing here asks anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the corpus is.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// One request, or several, or something that is none; and what is right.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique.
    pub name: String,
    /// RFC and section, several with commas.
    pub rfc: String,
    /// One sentence.
    pub why: String,
    /// What is sent, in the notation.
    pub send: String,
    answer: String,
    /// What the client does then, beside waiting.
    pub end: Option<End>,
    /// Sent byte by byte as well.
    #[serde(default = "yes")]
    pub pieces: bool,
    /// The answers have no body: HEAD.
    #[serde(default)]
    pub bodiless: bool,
    /// What goes on, in order.
    #[serde(default)]
    pub forwarded: Vec<Forwarded>,
    /// Real servers that may refuse by themselves what keygate admits.
    #[serde(default)]
    pub refused_by: Vec<String>,
    /// The file's.
    #[serde(skip)]
    pub category: String,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Ends its sending side.
    Shutdown,
}

/// A request as the upstream must see it. Texts are in the notation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    /// Method and target.
    pub request: String,
    #[serde(default = "the_host")]
    pub host: String,
    /// The role that keygate says, or `none`.
    #[serde(default = "admin")]
    pub identity: String,
    /// Decoded.
    #[serde(default)]
    pub body: String,
    /// Field lines: all that there are of these names, in order.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Names that must not be there.
    #[serde(default)]
    pub without: Vec<String>,
    /// False: the upstream may have seen its beginning, never its end.
    #[serde(default = "yes")]
    pub complete: bool,
}

fn the_host() -> String {
    "{HOST}".to_owned()
}

fn admin() -> String {
    "ADMIN".to_owned()
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Of keygate's refusals; an upstream's answer has none.
    pub reason: Option<String>,
}

/// What becomes of the connection after the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Open,
    Closed,
}

impl Case {
    /// `400 path + 200; open; upstream 1`, taken apart.
    pub fn stated(&self) -> (Vec<Answer>, Then, usize) {
        self.try_stated().unwrap_or_else(|| panic!("{}: {:?}", self.name, self.answer))
    }

    /// Is it a deadline that ends it?
    pub fn waits(&self) -> bool {
        self.stated().0.iter().any(|answer| answer.status == 408)
    }

    fn try_stated(&self) -> Option<(Vec<Answer>, Then, usize)> {
        let mut parts = self.answer.split("; ");
        let (answers, then, upstream) = (parts.next()?, parts.next()?, parts.next()?);
        let answers = match answers {
            "nothing" => Vec::new(),
            list => list.split(" + ").map(answer).collect::<Option<_>>()?,
        };
        let then = match then {
            "open" => Then::Open,
            "closed" => Then::Closed,
            _ => return None,
        };
        let most = upstream.strip_prefix("upstream ")?.parse().ok()?;
        parts.next().is_none().then_some((answers, then, most))
    }
}

fn answer(text: &str) -> Option<Answer> {
    let (status, reason) = text.split_once(' ').map_or((text, None), |(s, r)| (s, Some(r.to_owned())));
    Some(Answer { status: status.parse().ok()?, reason })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    category: String,
    case: Vec<Case>,
}

/// All cases, in the order of files and lines.
pub fn load() -> Vec<Case> {
    let entries = std::fs::read_dir(folder()).expect("the corpus").map(|entry| entry.expect("an entry").path());
    let files: BTreeSet<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    let mut cases = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a file of the corpus");
        let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        cases.extend(file.case.into_iter().map(|case| Case { category: file.category.clone(), ..case }));
    }
    cases
}

/// What the placeholders stand for.
#[derive(Clone, Debug, Default)]
pub struct Words(BTreeMap<&'static str, Vec<u8>>);

/// Longer pieces that stand for themselves, in the notation.
const MACROS: [(&str, &str); 5] = [
    ("FIELDS", r"Host: {HOST}\r\nX-API-Key: {KEY}\r\n"),
    ("READER", r"Host: {HOST}\r\nX-API-Key: {READONLY}\r\n"),
    ("SMUGGLED", r"GET /smuggled HTTP/1.1\r\n{FIELDS}\r\n"),
    ("SECOND", r"GET /second HTTP/1.1\r\n{FIELDS}\r\n"),
    ("BARE", r"GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
];

impl Words {
    pub fn set(&mut self, name: &'static str, value: impl Into<Vec<u8>>) {
        self.0.insert(name, value.into());
    }

    pub fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no placeholder {name}"))
    }

    /// Text in the notation, as bytes. Line breaks of the file mean nothing.
    pub fn expand(&self, text: &str) -> Vec<u8> {
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.iter().all(|line| line.trim_matches(' ') == *line),
            "a line begins or ends with a space: {text:?}"
        );
        let mut out = Vec::new();
        self.append(&mut out, &lines.concat());
        out
    }

    fn append(&self, out: &mut Vec<u8>, mut text: &str) {
        while let Some(first) = text.chars().next() {
            assert!(first.is_ascii_graphic() || first == ' ', "{first:?} is to be written as an escape");
            text = match first {
                '\\' => escape(out, &text[1..]),
                '{' => self.placeholder(out, &text[1..]),
                _ => {
                    out.push(first as u8);
                    &text[1..]
                }
            };
        }
    }

    fn placeholder<'t>(&self, out: &mut Vec<u8>, text: &'t str) -> &'t str {
        let (inside, rest) = text.split_once('}').unwrap_or_else(|| panic!("no closing brace: {text:?}"));
        if let Some((piece, times)) = inside.rsplit_once('*')
            && let Ok(times) = times.parse()
        {
            let mut once = Vec::new();
            self.append(&mut once, piece);
            out.extend_from_slice(&once.repeat(times));
        } else if let Some((_, long)) = MACROS.iter().find(|(name, _)| *name == inside) {
            self.append(out, long);
        } else {
            out.extend_from_slice(self.get(inside));
        }
        rest
    }
}

/// What stands behind a backslash.
fn escape<'t>(out: &mut Vec<u8>, text: &'t str) -> &'t str {
    let (byte, length) = match text.as_bytes() {
        [b'r', ..] => (b'\r', 1),
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b'\\', ..] => (b'\\', 1),
        [b'x', ..] => (u8::from_str_radix(&text[1..3], 16).expect("two hexadecimal digits"), 3),
        _ => panic!("no escape: {text:?}"),
    };
    out.push(byte);
    &text[length..]
}

#[test]
fn the_notation_says_what_it_looks_like() {
    let mut words = Words::default();
    words.set("HOST", "h.test");
    words.set("KEY", "k");
    for (text, bytes) in [
        (r"a\r\n\t\\\x00\xff", &b"a\r\n\t\\\0\xff"[..]),
        ("GET /\nx", b"GET /x"),
        ("{a*3}b{\\r\\n*2}{X: *2}", b"aaab\r\n\r\nX: X: "),
        ("{BARE}", b"GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n"),
        ("{SECOND}", b"GET /second HTTP/1.1\r\nHost: h.test\r\nX-API-Key: k\r\n\r\n"),
    ] {
        assert_eq!(words.expand(text), bytes, "{text:?}");
    }
}
