//! A refusal as the client reads it: a problem document (RFC 9457). **HOT: but for date and request id, the answer to most
//! kinds is made once.**

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::{Kind, Rejection};
use crate::clock::WallTime;
use crate::proxy::date;
use crate::proxy::headers::write_decimal;

/// Who is refused, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// `X-Request-Id`.
    pub request_id: &'a str,
    /// For `Date`.
    pub now: WallTime,
    /// The method is HEAD, which has no document (RFC 9110, section 9.3.2).
    pub head_only: bool,
    /// The connection ends with this answer.
    pub close: bool,
}

impl Rejection {
    /// Lends the answer but for date and request id: made at the first refusal of its kind, and kept.
    fn with_text<T>(&self, lend: impl FnOnce(&Text) -> T) -> T {
        static TEXTS: [OnceLock<Text>; Rejection::REASONS.len()] = [const { OnceLock::new() }; _];
        // Which versions is told: after a regeneration nearly all who are refused send the same.
        static STALE: ArcSwapOption<(Rejection, Text)> = ArcSwapOption::const_empty();
        match self {
            Self::MalformedHead(_) | Self::Framing(_) | Self::Path(_) => lend(&Text::of(self)),
            Self::StaleSecret { .. } => match &*STALE.load() {
                Some(kept) if kept.0 == *self => lend(&kept.1),
                _ => {
                    let made = Arc::new((self.clone(), Text::of(self)));
                    STALE.store(Some(Arc::clone(&made)));
                    lend(&made.1)
                }
            },
            _ => match TEXTS.get(self.index()) {
                Some(text) => lend(text.get_or_init(|| Text::of(self))),
                None => lend(&Text::of(self)),
            },
        }
    }

    /// Appends the whole answer as an HTTP/1.1 message; answers how much of it is document. **HOT**
    pub fn write_http1(&self, out: &mut Vec<u8>, to: &Asker<'_>) -> usize {
        self.with_text(|text| text.write_http1(out, to))
    }

    /// The same in parts, for the general lane.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        let body = self.with_text(|text| [&*text.document, request_id, DOCUMENT_END].concat());
        Problem { status: self.status(), fields: self.fields().collect(), body }
    }
}

/// What a document ends with, behind the request's id. (Ids hold nothing that needs escaping: see `request_id`.)
const DOCUMENT_END: &str = "\"}\n";

/// What does not change from one refusal to the next of its kind.
#[derive(Clone, Debug)]
struct Text {
    /// The status line and the fields that do not change, as far as the value of `Date`.
    head: String,
    /// As far as the request's id.
    document: String,
}

impl Text {
    fn write_http1(&self, out: &mut Vec<u8>, to: &Asker<'_>) -> usize {
        let Asker { request_id, now, head_only, close } = *to;
        let length = self.document.len() + request_id.len() + DOCUMENT_END.len();
        out.reserve(self.head.len() + length + 192);
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(date::at(now).as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        write_decimal(out, length as u64);
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        out.extend_from_slice(request_id.as_bytes());
        out.extend_from_slice(if close { b"\r\nConnection: close\r\n\r\n" } else { b"\r\n\r\n" });
        if head_only {
            return 0;
        }
        out.extend_from_slice(self.document.as_bytes());
        out.extend_from_slice(request_id.as_bytes());
        out.extend_from_slice(DOCUMENT_END.as_bytes());
        length
    }

    #[cold]
    fn of(rejection: &Rejection) -> Self {
        let Kind { status, problem, title, .. } = rejection.kind();
        let phrase = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
        // Writing to a string does not fail.
        let mut head = format!("HTTP/1.1 {status} {phrase}\r\n");
        for (name, value) in rejection.fields() {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("Content-Type: application/problem+json\r\nCache-Control: no-store\r\nDate: ");
        let mut document =
            format!("{{\"type\":\"urn:keygate:problem:{problem}\",\"title\":\"{title}\",\"status\":{status}");
        // Details are our own words and numbers: nothing in them needs escaping.
        if let Some(detail) = rejection.detail() {
            let _ = write!(document, ",\"detail\":\"{detail}\"");
        }
        if let Rejection::StaleSecret { sent, current } = rejection {
            let _ = write!(
                document,
                ",\"detail\":\"The API key is encoded with shared secret version {sent}; the current version is \
                 {current}. Encode its app key with the current shared secret.\",\"sent_version\":{sent},\
                 \"current_version\":{current}"
            );
        }
        document.push_str(",\"request_id\":\"");
        Self { head, document }
    }
}

/// A refusal for whoever writes heads in another way.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The status code.
    pub status: u16,
    /// Fields beside `Content-Type`, `Content-Length`, `Cache-Control` and `X-Request-Id`.
    pub fields: Vec<(&'static str, &'static str)>,
    /// `application/problem+json`.
    pub body: String,
}
