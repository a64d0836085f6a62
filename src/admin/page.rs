//! The admin page: HTML, CSS and ES modules, embedded in the binary and served as they are.
//!
//! Nothing here needs a credential, because nothing here is secret: the page gets all that it shows from the REST API,
//! with the operator's session. Never here: data, templates, anything made per request. Merged into the admin router.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use super::state::Admin;

/// Everything comes from this origin and nothing is inline. Forms are sent by script alone; text becomes markup
/// nowhere, which the browser holds us to (trusted types).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// The Copy buttons write to the clipboard; the page has no use for anything else.
const PERMISSIONS_POLICY: &str = "clipboard-write=(self), clipboard-read=(), camera=(), display-capture=(), \
     geolocation=(), microphone=(), payment=(), publickey-credentials-get=(), screen-wake-lock=(), usb=()";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const MODULE: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file of the page.
#[derive(Clone, Copy)]
struct Asset {
    /// Where it is served.
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

macro_rules! asset {
    ($content_type:ident, $name:literal) => {
        Asset {
            path: concat!("/assets/", $name),
            content_type: $content_type,
            content: include_str!(concat!("page/", $name)),
        }
    };
}

const ASSETS: &[Asset] = &[
    Asset { path: "/", content_type: HTML, content: include_str!("page/index.html") },
    asset!(CSS, "base.css"),
    asset!(CSS, "controls.css"),
    asset!(CSS, "dialogs.css"),
    asset!(CSS, "narrow.css"),
    asset!(CSS, "parts.css"),
    asset!(CSS, "tokens.css"),
    asset!(CSS, "views.css"),
    asset!(SVG, "chevron.svg"),
    asset!(SVG, "favicon.svg"),
    asset!(MODULE, "api.js"),
    asset!(MODULE, "clipboard.js"),
    asset!(MODULE, "confirm.js"),
    asset!(MODULE, "dialog.js"),
    asset!(MODULE, "dom.js"),
    asset!(MODULE, "draft.js"),
    asset!(MODULE, "form.js"),
    asset!(MODULE, "format.js"),
    asset!(MODULE, "header.js"),
    asset!(MODULE, "icons.js"),
    asset!(MODULE, "main.js"),
    asset!(MODULE, "menu.js"),
    asset!(MODULE, "once.js"),
    asset!(MODULE, "pager.js"),
    asset!(MODULE, "poll.js"),
    asset!(MODULE, "recipe.js"),
    asset!(MODULE, "recipe_texts.js"),
    asset!(MODULE, "revocation.js"),
    asset!(MODULE, "router.js"),
    asset!(MODULE, "session.js"),
    asset!(MODULE, "table.js"),
    asset!(MODULE, "tabs.js"),
    asset!(MODULE, "theme.js"),
    asset!(MODULE, "toast.js"),
    asset!(MODULE, "views/audit.js"),
    asset!(MODULE, "views/audit_detail.js"),
    asset!(MODULE, "views/issued.js"),
    asset!(MODULE, "views/key_actions.js"),
    asset!(MODULE, "views/key_details.js"),
    asset!(MODULE, "views/key_filters.js"),
    asset!(MODULE, "views/key_form.js"),
    asset!(MODULE, "views/key_state.js"),
    asset!(MODULE, "views/key_table.js"),
    asset!(MODULE, "views/keys.js"),
    asset!(MODULE, "views/login.js"),
    asset!(MODULE, "views/nodes.js"),
    asset!(MODULE, "views/operators.js"),
    asset!(MODULE, "views/regenerate.js"),
    asset!(MODULE, "views/secret.js"),
];

/// `GET /` and `GET /assets/<name>`, a route each, so that the router's own answers to unknown paths and methods
/// hold here too.
pub fn routes() -> Router<Arc<Admin>> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let etag = etag(asset.content);
        router.route(asset.path, get(move |headers: HeaderMap| async move { answer(asset, &etag, &headers) }))
    })
}

fn answer(asset: &Asset, etag: &str, headers: &HeaderMap) -> Response {
    let unchanged = headers.get_all(IF_NONE_MATCH).iter().any(|value| names(value, etag));
    let (status, body) = match unchanged {
        true => (StatusCode::NOT_MODIFIED, Body::empty()),
        false => (StatusCode::OK, Body::from(asset.content)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields: [(HeaderName, &'static str); 8] = [
        (CONTENT_TYPE, asset.content_type),
        // Kept, but asked for every time: the page of a new version is seen at once, and costs 304s otherwise.
        (CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("content-security-policy"), CONTENT_SECURITY_POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
    ];
    response.headers_mut().extend(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Does this `If-None-Match` name the tag (RFC 9110, 13.1.2: weak comparison)?
fn names(value: &HeaderValue, etag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// A strong tag, of the content alone: the same in every process of the same version.
fn etag(content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let mut tag = String::from("\"");
    for byte in digest.iter().take(16) {
        let _ = write!(tag, "{byte:02x}"); // a String takes everything
    }
    tag.push('"');
    tag
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn files(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                files(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_served_and_every_import_leads_to_one() {
        let mut found = BTreeSet::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page"), "", &mut found);
        found.remove("index.html");
        let served: BTreeSet<String> =
            ASSETS.iter().filter_map(|asset| asset.path.strip_prefix("/assets/")).map(str::to_owned).collect();
        assert_eq!(found, served);
        let import = regex::Regex::new(r#"from "(\.\.?/[^"]+)""#).unwrap();
        for module in ASSETS.iter().filter(|asset| asset.content_type == MODULE) {
            let here = Path::new(module.path).parent().unwrap();
            for import in import.captures_iter(module.content) {
                let target = import[1]
                    .strip_prefix("../")
                    .map_or_else(|| here.join(&import[1][2..]), |above| here.parent().unwrap().join(above));
                assert!(ASSETS.iter().any(|a| Path::new(a.path) == target), "{}: {}", module.path, &import[1]);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for asset in ASSETS {
            let text = asset.content.replace("http://www.w3.org/2000/svg", "");
            for never in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
            {
                assert!(!text.contains(never), "{} has {never}", asset.path);
            }
        }
        let html = ASSETS[0].content;
        assert!(!html.contains(" style=") && !html.contains("<style") && !html.contains("onclick"));
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
    }

    #[test]
    fn a_known_tag_is_answered_without_content() {
        let tag = etag(ASSETS[0].content);
        let mut headers = HeaderMap::new();
        assert_eq!(answer(&ASSETS[0], &tag, &headers).status(), StatusCode::OK);
        for (value, unchanged) in
            [(format!("\"other\", W/{tag}"), true), ("*".into(), true), ("\"other\"".into(), false)]
        {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(&value).unwrap());
            let response = answer(&ASSETS[0], &tag, &headers);
            assert_eq!(response.status() == StatusCode::NOT_MODIFIED, unchanged, "{value}");
            assert_eq!(response.headers()[ETAG], *tag);
            assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        }
    }
}
