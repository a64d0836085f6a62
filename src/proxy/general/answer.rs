//! What becomes of an answer's head in the general lane; what counts is the same as in the express lane.

use pingora_http::ResponseHeader;

use crate::proxy::express::head::{self, Field, Lengths};
use crate::proxy::head::connection_options;

/// One way to tell where the body ends, or none at all: what `express::head` refuses, this does. pingora has read the
/// head, and passes on more than it looks at.
pub(super) fn frame(response: &mut ResponseHeader, to_head: bool) -> Result<(), &'static str> {
    let mut lengths = Lengths::default();
    for value in response.headers.get_all(http::header::TRANSFER_ENCODING) {
        lengths.look_at_coding(value.as_bytes())?;
    }
    for value in response.headers.get_all(http::header::CONTENT_LENGTH) {
        lengths.look_at_length(value.as_bytes());
    }
    let status = response.status;
    lengths.check(to_head || status.is_informational() || matches!(status.as_u16(), 204 | 304))?;
    if let Some(length) = lengths.content_length {
        let length = length.to_string();
        let told = response.headers.get_all(http::header::CONTENT_LENGTH).iter().map(http::HeaderValue::as_bytes);
        if !told.eq([length.as_bytes()]) {
            // What was said twice goes on once (RFC 9110, section 8.6).
            response.insert_header(http::header::CONTENT_LENGTH, length).map_err(|_| "a Content-Length")?;
        }
    }
    Ok(())
}

/// What a server says about its own connection ends here (RFC 9110, section 7.6.1); what stands for both lanes is in
/// `express::head`. `Connection` itself and the framing of what has a body are pingora's to write anew.
pub(super) fn end_hop(response: &mut ResponseHeader) {
    // A proxy answers with its own version (RFC 9110, section 6.2); a 1.0 server is not the client's matter.
    response.set_version(http::Version::HTTP_11);
    let is_tunnel = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    let is_interim = response.status.is_informational() && !is_tunnel;
    let is_unframed = is_interim || response.status == http::StatusCode::NO_CONTENT;
    let nominated = response.headers.get_all(http::header::CONNECTION).iter();
    let mut ended: Vec<http::HeaderName> = nominated
        .flat_map(|value| connection_options(value.as_bytes()))
        .filter(|option| head::may_be_nominated(option))
        .filter_map(|option| http::HeaderName::from_bytes(option).ok())
        .collect();
    ended.extend(
        response
            .headers
            .keys()
            .filter(|name| match head::classify(name.as_str().as_bytes()) {
                Field::KeepAlive | Field::Dropped => !(is_tunnel && *name == http::header::UPGRADE),
                Field::Connection => is_interim,
                Field::ContentLength | Field::TransferEncoding => is_unframed,
                Field::Date | Field::Other => false,
            })
            .cloned(),
    );
    for name in &ended {
        response.remove_header(name);
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
