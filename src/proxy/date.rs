//! `Date` of the answers that keygate makes itself, which are an origin server's (RFC 9110, section 6.6.1).
//!
//! The text is pingora's, which keeps one a thread and makes it anew each second: all answers of the data plane carry
//! the same.

use http::HeaderValue;
use pingora_core::protocols::http::date::get_cached_date;

/// The time of now, as `Date` has it (RFC 9110, section 5.6.7).
#[derive(Clone, Debug)]
pub struct Date(HeaderValue);

/// What `Date` is now.
#[must_use]
pub fn now() -> Date {
    Date(get_cached_date())
}

impl Date {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The same, as it is written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_of_the_preferred_form() {
        let form = regex::Regex::new(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$");
        let now = super::now();
        assert!(form.unwrap().is_match(now.as_str()), "{}", now.as_str());
        assert_eq!(now.as_str().as_bytes(), now.as_bytes());
    }
}
