//! Every secret that a test made, and the search for them in what must not hold them: logs, metrics, the program's
//! messages, the database.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};

use regex::Regex;
use regex::bytes::Regex as BytesRegex;

use super::base64;

/// Shared secrets, app keys, encoded keys, operator tokens, access and refresh tokens, bundles.
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        "kgs_[0-9]+_[0-9A-Za-z]{43}",
        "kg[ao]_[0-9a-z]{12}_[0-9A-Za-z]{43}",
        "kg_[0-9]+_[0-9a-z]{12}_[0-9A-Za-z]{43}_[0-9a-f]{40}",
        "kg[tr]_[0-9]+_[0-9a-z]{12}_[0-9]+_[0-9]+_[0-9a-f]{40}",
        "eyJ1cmwiOiJodHRw[0-9A-Za-z+/]{160,}={0,2}",
    ];
    Regex::new(&forms.join("|")).expect("a regular expression")
});

/// Anything that looks like one, also when no test knows it.
static ANY: LazyLock<BytesRegex> = LazyLock::new(|| {
    let forms = [
        "kg[asotr]?_[0-9a-z_]{1,24}_[0-9A-Za-z]{43}",
        "kg[tr]_[0-9]+_[0-9a-z]{12}_[0-9]+_[0-9]+_[0-9a-f]{40}",
        // A bundle, and a JWT.
        "eyJ1cmwiOiJodHRw[0-9A-Za-z+/]{40}",
        r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{40,}\.[0-9A-Za-z_-]{16}",
    ];
    BytesRegex::new(&forms.join("|")).expect("a regular expression")
});

/// The secrets of one site.
#[derive(Default)]
pub struct Secrets {
    fragments: Mutex<BTreeSet<String>>,
}

impl Secrets {
    /// Notes every credential in a text that was meant to show some.
    pub fn learn(&self, text: &str) {
        let mut fragments = self.fragments.lock().unwrap();
        for found in FORM.find_iter(text) {
            let whole = found.as_str();
            let mut parts = whole.split('_').rev();
            let last = parts.next().unwrap_or_default();
            fragments.insert(last.to_owned());
            if whole.starts_with("kg_") {
                fragments.insert(parts.next().unwrap_or_default().to_owned());
            }
            // As the user field of Basic. The last group depends on what follows.
            let mut encoded = base64::encode(whole.as_bytes());
            encoded.truncate(whole.len() / 3 * 4);
            fragments.insert(encoded);
        }
    }

    /// Notes a secret of another kind.
    pub fn learn_exactly(&self, secret: &str) {
        self.fragments.lock().unwrap().insert(secret.to_owned());
    }

    /// Where a secret is in these bytes: the line, with the secret blotted out.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let fragments = self.fragments.lock().unwrap();
        bytes.split(|&b| b == b'\n').find_map(|line| {
            let holds = |fragment: &String| line.windows(fragment.len()).any(|w| w == fragment.as_bytes());
            let held = fragments.iter().find(|f| line.len() >= f.len() && holds(f)).cloned();
            let held = held.or_else(|| ANY.find(line).map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned()))?;
            Some(String::from_utf8_lossy(line).replace(&held, "<SECRET>"))
        })
    }

    /// Fails if there is a secret in these bytes.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        if let Some(line) = self.find(bytes) {
            panic!("a secret is in {place}: {line}");
        }
    }
}

#[test]
fn the_search_finds_what_it_is_for() {
    let body = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let secrets = Secrets::default();
    assert!(secrets.find(format!("x kg_1_abcdefghijkl_{body}_ y").as_bytes()).is_some(), "form alone");
    assert!(secrets.find(body.as_bytes()).is_none(), "not known yet");
    secrets.learn(&format!("app key: kga_abcdefghijkl_{body}\n"));
    assert_eq!(secrets.find(format!("a\nb {body} c\n").as_bytes()).as_deref(), Some("b <SECRET> c"));
    let basic = base64::encode(format!("kga_abcdefghijkl_{body}:").as_bytes());
    assert!(secrets.find(basic.as_bytes()).is_some(), "as Basic");
    assert!(secrets.find(b"key kga_abcdefghijkl is listed").is_none(), "ids are public");
    let mac = "0123456789abcdef0123456789abcdef01234567";
    assert!(secrets.find(format!("kgt_1_abcdefghijkl_0_1800000000_{mac}").as_bytes()).is_some(), "form alone");
    secrets.learn(&format!("{{\"refresh_token\":\"kgr_1_abcdefghijkl_0_1800000000_{mac}\"}}"));
    assert!(secrets.find(mac.as_bytes()).is_some(), "its MAC");
    let jwt = format!("{{\"jwt\":\"eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF{body}.{body}\"}}");
    assert!(secrets.find(jwt.as_bytes()).is_some(), "a JWT");
}
