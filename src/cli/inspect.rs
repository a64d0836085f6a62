//! `keygate inspect`: what a credential is, and whether the gateway would admit it now, without showing secrets.
//! Here is what the text says of itself; what the store says of it is in `look_up`.

mod look_up;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Exit;
use super::context::{Context, block_on};
use super::output;
use super::prompt;
use crate::clock::WallTime;
use crate::credential::{
    AppKey, BUNDLE_START, Bundle, EncodedKey, KeyId, OperatorToken, SharedSecret, Token, TokenKind, is_ours,
};
use crate::store::ApiKey;
use look_up::look_up;

/// Say what a credential is, and whether it would be admitted now. Prints no secrets.
///
/// Reads an encoded key, app key, shared secret, bundle, access or refresh token, or operator token from --file,
/// standard input, or asks for it on a terminal. Exit code 1 when it is none of them.
#[derive(Args)]
pub(super) struct Arguments {
    /// File with the credential; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

const ACCESS_TOKEN: &str = "access token";
const REFRESH_TOKEN: &str = "refresh token";

/// What is said of a credential.
#[derive(Debug, Default)]
struct Finding {
    kind: &'static str,
    well_formed: bool,
    version: Option<u32>,
    id: Option<KeyId>,
    /// When it is over, for tokens.
    ends: Option<WallTime>,
    /// `None`: not a thing that is admitted, or not known.
    admitted: Option<bool>,
    note: Option<String>,
    key: Option<ApiKey>,
}

impl Finding {
    fn is(mut self, admitted: bool, note: impl Into<String>) -> Self {
        self.admitted = Some(admitted);
        self.noting(note)
    }

    fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let text = match &arguments.file {
        Some(path) => prompt::secret_from_file(path)?,
        None if context.environment.stdin_is_terminal => prompt::secret_from_terminal("Credential")?,
        None => prompt::secret_from_stdin()?,
    };
    let form = take_apart(&text);
    let finding = if form.well_formed { block_on(look_up(context, form, &text))? } else { form };
    print(context, &finding)?;
    Ok(if finding.well_formed { Exit::Done } else { Exit::Failed })
}

/// What the text says of itself.
fn take_apart(text: &str) -> Finding {
    let bytes = text.as_bytes();
    if let Some(key) = EncodedKey::parse(bytes) {
        let (version, id) = (Some(key.version().get()), Some(key.id()));
        return Finding { kind: "encoded key", well_formed: true, version, id, ..Finding::default() };
    }
    if let Ok(key) = AppKey::parse(text) {
        return Finding { kind: "app key", well_formed: true, id: Some(key.id()), ..Finding::default() };
    }
    if let Ok(secret) = SharedSecret::parse(text) {
        let version = Some(secret.version().get());
        return Finding { kind: "shared secret", well_formed: true, version, ..Finding::default() };
    }
    if let Ok(token) = OperatorToken::parse(text) {
        return Finding { kind: "operator token", well_formed: true, id: Some(token.id()), ..Finding::default() };
    }
    for (kind, name) in [(TokenKind::Access, ACCESS_TOKEN), (TokenKind::Refresh, REFRESH_TOKEN)] {
        let Some(token) = Token::parse(kind, bytes) else { continue };
        let (version, id) = (Some(token.claims.version.get()), Some(token.claims.id));
        let ends = Some(WallTime::from_millis(u64::from(token.claims.end) * 1000));
        return Finding { kind: name, well_formed: true, version, id, ends, ..Finding::default() };
    }
    match Bundle::decode(text) {
        Ok(bundle) => {
            let (version, id) = (Some(bundle.shared_secret.version().get()), Some(bundle.app_key.id()));
            return Finding { kind: "bundle", well_formed: true, version, id, ..Finding::default() };
        }
        // Not everything that is base64 of an object was meant to be a bundle: a JWT begins alike, and has dots.
        Err(error) if text.starts_with(BUNDLE_START) && !text.contains('.') => {
            return Finding { kind: "bundle", ..Finding::default() }.noting(error.to_string());
        }
        Err(_) => {}
    }
    let kind = match bytes {
        [b'k', b'g', b'_', ..] => "encoded key",
        [b'k', b'g', b'a', b'_', ..] => "app key",
        [b'k', b'g', b's', b'_', ..] => "shared secret",
        [b'k', b'g', b'o', b'_', ..] => "operator token",
        [b'k', b'g', b't', b'_', ..] => ACCESS_TOKEN,
        [b'k', b'g', b'r', b'_', ..] => REFRESH_TOKEN,
        _ if is_ours(bytes) && !text.starts_with(BUNDLE_START) => "token",
        _ => return Finding { kind: "unknown", ..Finding::default() }.noting("this is no credential of keygate"),
    };
    Finding { kind, ..Finding::default() }.noting("it begins like one, but has not its form; was it cut or mistyped?")
}

fn print(context: &Context, finding: &Finding) -> anyhow::Result<()> {
    let key = finding.key.as_ref();
    if context.output.is_json() {
        let mut fields = Map::from_iter([
            ("kind".to_owned(), json!(finding.kind)),
            ("well_formed".to_owned(), json!(finding.well_formed)),
            ("version".to_owned(), json!(finding.version)),
            ("id".to_owned(), json!(finding.id.map(|id| id.to_string()))),
            ("expires_at".to_owned(), json!(finding.ends.map(WallTime::rfc3339))),
            ("admitted".to_owned(), json!(finding.admitted)),
            ("note".to_owned(), json!(finding.note)),
        ]);
        if let Some(key) = key {
            fields.insert("name".to_owned(), json!(key.name));
            fields.insert("role".to_owned(), json!(key.role));
            fields.insert("state".to_owned(), json!(key.state));
        }
        return output::json(&Value::Object(fields));
    }
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    context.output.fields(vec![
        ("Kind", Some(finding.kind.to_owned())),
        ("Well-formed", Some(yes_no(finding.well_formed))),
        ("Shared secret version", finding.version.map(|v| v.to_string())),
        ("ID", finding.id.map(|id| id.to_string())),
        ("Name", key.map(|key| key.name.to_string())),
        ("Role", key.map(|key| key.role.to_string())),
        ("State", key.map(|key| key.state.as_str().to_owned())),
        ("Expires (UTC)", finding.ends.map(WallTime::for_people)),
        ("Admitted now", finding.admitted.map(yes_no)),
        ("Note", finding.note.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{Claims, SigningKey, encode};
    use crate::entropy::SystemEntropy;

    #[test]
    fn every_kind_is_known_by_its_form() {
        let id = KeyId::draw(&SystemEntropy);
        let app_key = AppKey::generate(id, &SystemEntropy);
        let secret = SharedSecret::generate(7.try_into().unwrap(), &SystemEntropy);
        let token = OperatorToken::generate(&SystemEntropy);
        let encoded = encode(&app_key, &secret);
        let claims = Claims { version: secret.version(), id, epoch: 0, end: 1_800_000_000 };
        let signing = SigningKey::generate(&SystemEntropy).mac_key();
        let [access, refresh] = [TokenKind::Access, TokenKind::Refresh].map(|kind| claims.sign(kind, &signing));
        let bundle = Bundle {
            url: "https://a".to_owned(),
            shortname: "acme".to_owned(),
            appname: "a".parse().unwrap(),
            shared_secret: SharedSecret::parse(secret.expose()).unwrap(),
            app_key: AppKey::parse(app_key.expose()).unwrap(),
        };
        let bundle = bundle.encode();
        for (text, kind, version) in [
            (encoded.as_str(), "encoded key", Some(7)),
            (app_key.expose(), "app key", None),
            (secret.expose(), "shared secret", Some(7)),
            (token.expose(), "operator token", None),
            (&*access, "access token", Some(7)),
            (&*refresh, "refresh token", Some(7)),
            (&*bundle, "bundle", Some(7)),
        ] {
            let finding = take_apart(text);
            assert_eq!((finding.kind, finding.well_formed, finding.version), (kind, true, version));
            assert_eq!(
                finding.ends.map(WallTime::for_people),
                ["access token", "refresh token"].contains(&kind).then(|| "2027-01-15 08:00:00".to_owned()),
                "{kind}"
            );
            let cut = take_apart(&text[..text.len() - 1]);
            assert_eq!((cut.kind, cut.well_formed), (kind, false));
            assert!(!format!("{cut:?}").contains(&text[10..]));
        }
        assert_eq!(take_apart("kgt_x").kind, "access token");
        for unknown in ["hunter2", "eyJhbGciOiJIUzI1NiJ9.e30.x", "eyJ1cmwiOiJ4In0.e30.x", "e30="] {
            assert_eq!(take_apart(unknown).kind, "unknown", "{unknown}");
        }
    }
}
