//! `[admin]`: where operators reach page and API, for how long their sessions last, and TLS.
//!
//! Never here: a look at the certificate, which `admin::tls` reads. Called by `resolve`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::error::{Report, shown};
use super::file::{self, Given};
use super::resolved::{Admin, AdminTls};
use super::value::{TIMER, duration, listen_address, reaches, text};

const DEFAULT_ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);

/// What listens beside it: the data plane's addresses and that of the metrics, with the places of their settings.
pub(super) struct Taken<'r> {
    pub(super) server: &'r [SocketAddr],
    pub(super) metrics: Option<SocketAddr>,
    pub(super) raw: &'r file::Raw,
}

/// Reads `[admin]`.
pub(super) fn admin(raw: &file::Admin, taken: &Taken<'_>, directory: &Path, report: &mut Report<'_>) -> Admin {
    let mut timer = |name: &str, given: &Given<file::Quantity>, default| {
        duration(report, &format!("admin.{name}"), given.as_ref(), default, &TIMER)
    };
    let session_idle = timer("session_idle", &raw.session_idle, Duration::from_mins(30));
    let session_max = timer("session_max", &raw.session_max, Duration::from_hours(12));
    let request_timeout = timer("request_timeout", &raw.request_timeout, Duration::from_secs(30));
    Admin {
        listen: listen(raw, taken, report),
        hosts: raw.hosts.iter().filter_map(|given| host(given, report)).collect(),
        session_idle,
        session_max,
        request_timeout,
        tls: raw.tls.as_ref().and_then(|given| tls(given, directory, report)),
    }
}

fn listen(raw: &file::Admin, taken: &Taken<'_>, report: &mut Report<'_>) -> Option<SocketAddr> {
    const KEY: &str = "admin.listen";
    let listen = match &raw.listen {
        Some(given) if given.get_ref() == "off" => return None,
        Some(given) => listen_address(report, KEY, given)?,
        None => DEFAULT_ADMIN.into(),
    };
    let meets = |other: SocketAddr| reaches(listen, other) || reaches(other, listen);
    let (whose, theirs) = if taken.server.iter().any(|other| meets(*other)) {
        ("an address of server.listen", taken.raw.server.listen.as_ref().map(Spanned::span))
    } else if taken.metrics.is_some_and(meets) {
        ("the address of metrics.listen", taken.raw.metrics.listen.as_ref().map(Spanned::span))
    } else {
        return Some(listen);
    };
    // By default it stands nowhere: the place is then that of the setting which took it.
    let place = raw.listen.as_ref().map(Spanned::span).or(theirs).unwrap_or_default();
    report.refuse(&place, KEY, format!("{listen} is {whose} too"), "expected an address of its own, or \"off\"");
    Some(listen)
}

/// A host name or an IP address, as the Host of a request has it, without port.
fn host(given: &Spanned<String>, report: &mut Report<'_>) -> Option<String> {
    let written = given.get_ref().to_ascii_lowercase();
    let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&written);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if written.len() <= 253 && written.split('.').all(is_label) {
        return Some(written);
    }
    let what = format!("{} is not the name of a host", shown(given.get_ref()));
    report.refuse(&given.span(), "admin.hosts", what, "expected a name without port, such as \"keys.example.org\"");
    None
}

fn tls(given: &Spanned<file::AdminTls>, directory: &Path, report: &mut Report<'_>) -> Option<AdminTls> {
    let mut file = |key: &str, value: &Given<String>, example: &str| -> Option<PathBuf> {
        let expected = format!("the path of a PEM file, such as \"{example}\"");
        if value.is_none() {
            report.refuse(&given.span(), key, "is missing", format!("expected {expected}"));
        }
        text(report, key, value.as_ref(), &expected).map(|path| directory.join(path.get_ref()))
    };
    let certificate = file("admin.tls.certificate", &given.get_ref().certificate, "admin.pem");
    let key = file("admin.tls.key", &given.get_ref().key, "admin.key");
    Some(AdminTls { certificate: certificate?, key: key? })
}
