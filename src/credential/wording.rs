//! What people and programs write about an API key beside its name and role: a description, networks. Each error says
//! what was expected. Used by the command line and the admin plane, so that both accept the same.

use std::net::IpAddr;

use ipnet::IpNet;

/// The most characters of a description.
pub const LONGEST_DESCRIPTION: usize = 2_000;
/// The most networks, and the most routes, of a key.
pub const MOST_LISTED: usize = 64;

/// A description: up to [`LONGEST_DESCRIPTION`] characters, none a control character but tab and line feed.
///
/// # Errors
/// What it must not be.
pub fn description(text: String) -> Result<String, String> {
    let is_fine = |c: char| !c.is_control() || matches!(c, '\t' | '\n');
    match text.chars().count() {
        count if count > LONGEST_DESCRIPTION => {
            Err(format!("has at most {LONGEST_DESCRIPTION} characters; this one has {count}"))
        }
        _ if !text.chars().all(is_fine) => Err("must not hold control characters".to_owned()),
        _ => Ok(text),
    }
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
///
/// # Errors
/// What was expected.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| "expected a network such as 10.0.0.0/8 or 2001:db8::/32, or an address".to_owned())?,
    };
    if network == network.trunc() {
        return Ok(network);
    }
    Err(format!("{network} has bits set behind its prefix; did you mean {}?", network.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_have_limits() {
        assert!(description("two\nlines".to_owned()).is_ok() && description("\x1b[2J".to_owned()).is_err());
        assert!(description("x".repeat(2_000)).is_ok() && description("x".repeat(2_001)).is_err());
    }

    #[test]
    fn networks_are_exact() {
        assert_eq!(network("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(network("localhost").is_err());
    }
}
