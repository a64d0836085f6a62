//! The bundle: all that an integration which exchanges tokens needs, in one text that is pasted once.
//!
//! Standard base64 with padding of the compact JSON object `{"url","shortname","appname","sharedsecret","appkey"}`. It
//! holds the shared secret and an app key, so it is worth as much as both, and it goes stale when the shared secret is
//! regenerated: then its `sharedsecret` is replaced. Whether the two hold together is for the gateway to say. No I/O.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{AppKey, CredentialError, KeyName, SharedSecret, is_ours};

/// What each bundle begins with: base64 of `{"url":`.
pub const BUNDLE_START: &str = "eyJ1cmwiO";

const LONGEST_SHORTNAME: usize = 64;
/// Longer addresses reach no server.
const LONGEST_URL: usize = 2_048;

/// The names of the members, in their order.
const MEMBERS: [&str; 5] = ["url", "shortname", "appname", "sharedsecret", "appkey"];

/// A bundle taken apart, or to be made.
pub struct Bundle {
    /// Where the integration reaches the gateway.
    pub url: String,
    /// The gateway's account name ([`is_shortname`]).
    pub shortname: String,
    /// The name of the API key.
    pub appname: KeyName,
    /// The shared secret.
    pub shared_secret: SharedSecret,
    /// The API key's own secret.
    pub app_key: AppKey,
}

/// The members as they are written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Members<T> {
    url: T,
    shortname: T,
    appname: T,
    sharedsecret: T,
    appkey: T,
}

impl Bundle {
    /// The text that is pasted. Every caller is a place where both secrets leave.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<String> {
        let members = Members {
            url: self.url.as_str(),
            shortname: &self.shortname,
            appname: self.appname.as_str(),
            sharedsecret: self.shared_secret.expose(),
            appkey: self.app_key.expose(),
        };
        // As large as they can get, so that nothing of a secret stays behind in a buffer that was outgrown: a character
        // has at most six in JSON, a quotation mark and its like two.
        let room = 128 + 6 * (self.url.len() + self.shortname.len() + self.appname.as_str().len() + 256);
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        // Writing text to memory cannot fail.
        let _ = serde_json::to_writer(&mut *json, &members);
        let mut text = Zeroizing::new(String::with_capacity(json.len().div_ceil(3) * 4));
        STANDARD.encode_string(&*json, &mut text);
        text
    }

    /// Reads a bundle: base64 of an object with exactly the five members, each as it must be.
    ///
    /// # Errors
    /// Which member is wrong, or what the text is not; never any of the text.
    pub fn decode(text: &str) -> Result<Self, CredentialError> {
        const NOT_BASE64: &str = "a bundle is one line of standard base64 with padding; was it cut or wrapped?";
        const NO_OBJECT: &str = "this is base64, but not of a JSON object as in a bundle";
        let mut json = Zeroizing::new(Vec::with_capacity(text.len()));
        STANDARD.decode_vec(text, &mut json).map_err(|_| CredentialError::Malformed(NOT_BASE64))?;
        let is_object = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if !is_object {
            return Err(CredentialError::Malformed(NO_OBJECT));
        }
        let mut reader = serde_json::Deserializer::from_slice(&json);
        let members: Members<Zeroizing<String>> =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| fault(&error, NO_OBJECT))?;
        reader.end().map_err(|_| CredentialError::Malformed(NO_OBJECT))?;
        members.read()
    }
}

/// What is wrong with an object that has not the five members, each as text. The library's message names members that
/// are missing or there twice, which are ours; whatever else it repeats may be a secret.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>, otherwise: &'static str) -> CredentialError {
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    let about = |start: &str| {
        let name = message.strip_prefix(start)?.split('`').nth(1)?;
        MEMBERS.into_iter().find(|member| *member == name)
    };
    if let Some(member) = about("missing field") {
        return CredentialError::Member { member, wrong: "is missing" };
    }
    if let Some(member) = about("duplicate field") {
        return CredentialError::Member { member, wrong: "is there twice" };
    }
    if message.starts_with("unknown field") {
        let only = "a bundle has no members but url, shortname, appname, sharedsecret and appkey";
        return CredentialError::Malformed(only);
    }
    match MEMBERS.into_iter().find(|member| *member == path) {
        Some(member) if error.inner().is_data() => CredentialError::Member { member, wrong: "is not text" },
        _ => CredentialError::Malformed(otherwise),
    }
}

impl Members<Zeroizing<String>> {
    fn read(self) -> Result<Bundle, CredentialError> {
        let wrong = |member, wrong| move || CredentialError::Member { member, wrong };
        let url = is_url(&self.url).then(|| self.url.to_string());
        let shortname = is_shortname(&self.shortname).then(|| self.shortname.to_string());
        Ok(Bundle {
            url: url.ok_or_else(wrong("url", "does not begin with http:// or https://, or is no address"))?,
            shortname: shortname
                .ok_or_else(wrong("shortname", "has not the form of one: 1 to 64 of a-z A-Z 0-9 . _ -"))?,
            appname: self.appname.parse().map_err(|_| {
                wrong("appname", "is no name of an API key: 1 to 128 characters, no control characters")()
            })?,
            shared_secret: SharedSecret::parse(&self.sharedsecret).map_err(|_| {
                wrong("sharedsecret", "has not the form of one: kgs_<version>_<43 letters and digits>")()
            })?,
            app_key: AppKey::parse(&self.appkey).map_err(|_| {
                wrong("appkey", "has not the form of one: kga_<12 of 0-9a-z>_<43 letters and digits>")()
            })?,
        })
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address and names: whoever put a secret into one of them should not find it in a log.
        write!(f, "Bundle({:?}, {:?}, …)", self.shared_secret, self.app_key)
    }
}

/// May a gateway's account have this name? A credential of ours is one by mistake.
#[must_use]
pub fn is_shortname(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST_SHORTNAME).contains(&name.len()) && name.bytes().all(is_plain) && !is_ours(name.as_bytes())
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_sound = |rest: &str| !rest.is_empty() && rest.chars().all(|c| !c.is_control() && !c.is_whitespace());
    url.len() <= LONGEST_URL && rest.is_some_and(is_sound)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::credential::KeyId;
    use crate::entropy::SystemEntropy;

    const SECRET: &str = "kgs_7_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const APP_KEY: &str = "kga_0123456789ab_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn sample() -> Bundle {
        Bundle {
            url: "http://127.0.0.1:8080".to_owned(),
            shortname: "acme".to_owned(),
            appname: "Orders & Co.".parse().unwrap(),
            shared_secret: SharedSecret::parse(SECRET).unwrap(),
            app_key: AppKey::parse(APP_KEY).unwrap(),
        }
    }

    fn json_of(text: &str) -> String {
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    }

    fn said_of(json: &str) -> String {
        Bundle::decode(&STANDARD.encode(json)).expect_err(json).to_string()
    }

    #[test]
    fn it_is_base64_of_compact_json_in_the_order_of_the_contract() {
        let text = sample().encode();
        assert_eq!(
            json_of(&text),
            format!(
                r#"{{"url":"http://127.0.0.1:8080","shortname":"acme","appname":"Orders & Co.","sharedsecret":"{SECRET}","appkey":"{APP_KEY}"}}"#
            )
        );
        assert!(text.starts_with(BUNDLE_START), "{}", &text[..12]);
        assert_eq!(text.len() % 4, 0, "padded");
        let odd = Bundle { appname: "\"\\ ä 🙂".parse().unwrap(), ..sample() };
        assert_eq!(Bundle::decode(&odd.encode()).unwrap().appname.as_str(), "\"\\ ä 🙂");
    }

    #[test]
    fn space_between_the_members_and_their_order_do_not_matter() {
        let json = format!(
            "{{\n \"appkey\" : \"{APP_KEY}\", \"sharedsecret\":\"{SECRET}\",\"appname\":\"\\u0061\",\n \
             \"shortname\":\"a\", \"url\":\"https://a\" }}\n"
        );
        let bundle = Bundle::decode(&STANDARD.encode(json)).unwrap();
        assert_eq!((bundle.appname.as_str(), bundle.url.as_str()), ("a", "https://a"));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_member_and_never_quoted() {
        let sound = json_of(&sample().encode());
        for (from, to, said) in [
            (r#""url":"http://127.0.0.1:8080","#, "", "the bundle's url is missing"),
            (
                r#","appkey""#,
                r#","appkez""#,
                "a bundle has no members but url, shortname, appname, sharedsecret and appkey",
            ),
            (r#"{"url""#, r#"{"appkey":"x","url""#, "the bundle's appkey is there twice"),
            (r#""acme""#, "7", "the bundle's shortname is not text"),
            (r#""acme""#, "null", "the bundle's shortname is not text"),
            (r#""acme""#, r#"["acme"]"#, "the bundle's shortname is not text"),
            ("acme", "ac me", "the bundle's shortname has not the form of one: 1 to 64 of a-z A-Z 0-9 . _ -"),
            ("acme", "kgs_1_a", "the bundle's shortname has not the form of one: 1 to 64 of a-z A-Z 0-9 . _ -"),
            ("acme", "", "the bundle's shortname has not the form of one: 1 to 64 of a-z A-Z 0-9 . _ -"),
            ("http:", "ftp:", "the bundle's url does not begin with http:// or https://, or is no address"),
            ("127.0.0.1:8080", "", "the bundle's url does not begin with http:// or https://, or is no address"),
            (
                "Orders & Co.",
                "\\n",
                "the bundle's appname is no name of an API key: 1 to 128 characters, no control characters",
            ),
            (
                "kgs_7_",
                "kgs_07_",
                "the bundle's sharedsecret has not the form of one: kgs_<version>_<43 letters and digits>",
            ),
            ("kga_", "kgs_", "the bundle's appkey has not the form of one: kga_<12 of 0-9a-z>_<43 letters and digits>"),
        ] {
            assert!(sound.contains(from), "{from}");
            assert_eq!(said_of(&sound.replacen(from, to, 1)), said);
        }
        for json in
            ["[]", "7", "\"x\"", "", "null", "{", &format!("{sound}x"), &format!("{sound}{sound}"), "{\"url\":}"]
        {
            assert_eq!(said_of(json), "this is base64, but not of a JSON object as in a bundle", "{json}");
        }
        let secrets = format!(r#"{{"{SECRET}":"{APP_KEY}"}}"#);
        assert!(!said_of(&secrets).contains(&SECRET[8..]));
        let values = sound.replacen("\"acme\"", &format!("{{\"{APP_KEY}\":1}}"), 1);
        assert!(!said_of(&values).contains(&APP_KEY[20..]));
    }

    #[test]
    fn the_base64_is_standard_and_whole() {
        let text = sample().encode();
        // One byte more at the end makes another length, and so another padding.
        let padded = Bundle { shortname: "acme1".to_owned(), ..sample() }.encode();
        let odd = if text.ends_with('=') { text.as_str() } else { padded.as_str() };
        for bad in [
            odd.trim_end_matches('=').to_owned(),
            format!("{odd}="),
            format!("{}\n{}", &odd[..76], &odd[76..]),
            format!(" {odd}"),
            odd[..odd.len() - 4].to_owned() + "    ",
            "ä".to_owned(),
            "Pj8-Pz8_".to_owned(),
        ] {
            let said = Bundle::decode(&bad).expect_err(&bad).to_string();
            assert_eq!(said, "a bundle is one line of standard base64 with padding; was it cut or wrapped?");
        }
    }

    #[test]
    fn it_is_not_printed() {
        let printed = format!("{:?}", sample());
        assert_eq!(printed, "Bundle(SharedSecret(version 7, …), AppKey(0123456789ab, …), …)");
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_again(
            host in "[a-z]{1,20}(:[1-9][0-9]{0,3})?",
            shortname in "[a-jl-zA-Z0-9._-][a-zA-Z0-9._-]{0,63}",
            appname in "[^\\p{C}\\s]{1,128}",
            version in 1..=u32::MAX,
        ) {
            let made = Bundle {
                url: format!("https://{host}"),
                shortname,
                appname: appname.parse().unwrap(),
                shared_secret: SharedSecret::generate(NonZeroU32::new(version).unwrap(), &SystemEntropy),
                app_key: AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy),
            };
            let text = made.encode();
            let read = Bundle::decode(&text).unwrap();
            prop_assert_eq!((&read.url, &read.shortname, &read.appname), (&made.url, &made.shortname, &made.appname));
            prop_assert_eq!(read.shared_secret.expose(), made.shared_secret.expose());
            prop_assert_eq!(read.app_key.expose(), made.app_key.expose());
            let again = read.encode();
            prop_assert_eq!(again.as_str(), text.as_str());
        }

        #[test]
        fn no_text_makes_it_panic_or_say_what_it_read(text in "(?s).{0,80}", json in r#"(\{|\}|"|:|,|url|kga_x|7| ){0,20}"#) {
            for text in [&text, &STANDARD.encode(&json)] {
                if let Err(error) = Bundle::decode(text) {
                    prop_assert!(!error.to_string().contains("kga_x"));
                }
            }
        }
    }
}
