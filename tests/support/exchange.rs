//! The token exchange as an integration sees it: JWTs put together from text, so that they can be wrong in any way,
//! and a gateway to send them to. Every request comes from an address of its own, so that no failure slows the next
//! one down.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::{Sha256, Sha384, Sha512};

use super::leaks::Secrets;
use super::request::{post, request};
use super::site::text_at;
use super::{Client, Config, Gateway, Key, Request, Response, Upstream};

pub const EXCHANGE: &str = "/api/v1/auth/token";
pub const REFRESH: &str = "/api/auth/bearer/refresh";
pub const SHORTNAME: &str = "acme";

/// What everybody is told who has proven nothing.
pub const NOT_VALID: &str = "The credentials are not valid.";

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn hs256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

pub fn hs384(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha384>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

pub fn hs512(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// A JWT before it is signed. See [`jwt`].
#[derive(Clone, Debug)]
pub struct Jwt {
    pub header: String,
    /// The JSON text.
    pub claims: String,
    pub secret: String,
}

/// A right one: made now, with a `jti` of its own.
pub fn jwt(key: &Key, shared_secret: &str) -> Jwt {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let claims = json!({
        "iat": now(), "jti": jti, "appname": key.name, "appkey": key.app_key, "shortname": SHORTNAME,
    });
    let header = r#"{"alg":"HS256","typ":"JWT"}"#.to_owned();
    Jwt { header, claims: claims.to_string(), secret: shared_secret.to_owned() }
}

impl Jwt {
    #[must_use]
    pub fn header(mut self, json: impl Into<String>) -> Self {
        self.header = json.into();
        self
    }

    /// With this JSON text as claims.
    #[must_use]
    pub fn raw_claims(mut self, json: impl Into<String>) -> Self {
        self.claims = json.into();
        self
    }

    /// With this claim, added or replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut claims = self.map();
        claims.insert(name.to_owned(), value.into());
        self.claims = Value::Object(claims).to_string();
        self
    }

    /// With this claim as JSON text, which must be there already.
    #[must_use]
    pub fn with_raw(mut self, name: &str, json: &str) -> Self {
        const MARK: &str = "\"the place of it\"";
        self = self.with(name, "the place of it");
        self.claims = self.claims.replacen(MARK, json, 1);
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        let mut claims = self.map();
        claims.remove(name);
        self.claims = Value::Object(claims).to_string();
        self
    }

    fn map(&self) -> Map<String, Value> {
        serde_json::from_str(&self.claims).expect("claims in JSON")
    }

    /// Header and claims, as they are signed.
    pub fn signing_input(&self) -> String {
        format!("{}.{}", base64url(self.header.as_bytes()), base64url(self.claims.as_bytes()))
    }

    pub fn signature(&self) -> Vec<u8> {
        hs256(self.secret.as_bytes(), self.signing_input().as_bytes())
    }

    /// The compact JWS with another signature.
    pub fn with_signature(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.signing_input(), base64url(signature))
    }

    /// The compact JWS.
    pub fn text(&self) -> String {
        self.with_signature(&self.signature())
    }
}

/// `POST` of a JWT, to be exchanged.
pub fn exchange(jwt: &str) -> Request {
    post(EXCHANGE, json!({ "jwt": jwt }).to_string().as_bytes()).field("Content-Type", "application/json")
}

/// `POST` of a refresh token as a form.
pub fn refresh(token: &str) -> Request {
    post(REFRESH, format!("refresh_token={token}").as_bytes())
        .field("Content-Type", "application/x-www-form-urlencoded")
}

/// What an exchange or a refresh gave.
#[derive(Clone, Debug)]
pub struct Issued {
    pub access: String,
    pub refresh: String,
    pub session: String,
    pub answer: Value,
}

impl AsRef<str> for Issued {
    fn as_ref(&self) -> &str {
        &self.access
    }
}

/// An address that no other request of this process came from.
pub fn fresh_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number))
}

/// A gateway with `[token_exchange]`, an upstream, a READONLY and an ADMIN key.
pub struct Desk {
    // First, so that it ends first.
    pub gateway: Gateway,
    pub upstream: Upstream,
    pub config: Config,
    pub reader: Key,
    pub admin: Key,
    pub secret: String,
}

impl Desk {
    pub fn start() -> Self {
        Self::with("", |config| config)
    }

    /// With these lines in `[token_exchange]`, and more in the configuration.
    pub fn with(lines: &str, more: impl FnOnce(Config) -> Config) -> Self {
        let upstream = Upstream::echo();
        let config = more(Config::in_front_of(&upstream).token_exchange(lines));
        let gateway = Gateway::start(&config);
        let (reader, admin) = (gateway.key_add("reader", "readonly"), gateway.key_add("admin", "admin"));
        let secret = gateway.shared_secret();
        Self { gateway, upstream, config, reader, admin, secret }
    }

    /// A right JWT of this key.
    pub fn jwt(&self, key: &Key) -> Jwt {
        jwt(key, &self.secret)
    }

    /// One request on a connection of its own, from an address of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.send_from(fresh_address(), request)
    }

    #[track_caller]
    pub fn send_from(&self, from: IpAddr, request: &Request) -> Response {
        let response = Client::connect_from(self.node.address(), from).exchange(request);
        self.secrets.learn(&response.text());
        response
    }

    /// Sends a JWT.
    #[track_caller]
    pub fn present(&self, jwt: &str) -> Response {
        learn_jwt(&self.secrets, jwt);
        self.send(&exchange(jwt))
    }

    /// Exchanges a right JWT of this key.
    #[track_caller]
    pub fn token(&self, key: &Key) -> Issued {
        self.issued(&self.present(&self.jwt(key).text()))
    }

    #[track_caller]
    pub fn refresh(&self, token: &str) -> Issued {
        self.issued(&self.send(&refresh(token)))
    }

    /// What a 200 gave.
    #[track_caller]
    pub fn issued(&self, response: &Response) -> Issued {
        assert_eq!(response.status, 200, "{}", response.text());
        issued(&self.secrets, response)
    }

    /// The status of `GET /x` with a credential.
    #[track_caller]
    pub fn admits(&self, credential: impl AsRef<str>) -> u16 {
        self.node.get("/x", credential).status
    }

    /// Regenerates, and takes the next shared secret from then on.
    #[track_caller]
    pub fn regenerate(&mut self, options: &[&str]) -> Value {
        let mut args = vec!["secret", "regenerate", "--yes"];
        args.extend_from_slice(options);
        let answer = self.json(&args);
        self.secret = self.shared_secret();
        answer
    }
}

impl Deref for Desk {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

/// What an answer gave, noted as secret.
#[track_caller]
pub fn issued(secrets: &Secrets, response: &Response) -> Issued {
    secrets.learn(&response.text());
    let answer = response.json();
    Issued {
        access: text_at(&answer, "access_token"),
        refresh: text_at(&answer, "refresh_token"),
        session: text_at(&answer, "session-state"),
        answer,
    }
}

/// A JWT holds an app key, and can be exchanged: its payload and its signature are searched for.
pub fn learn_jwt(secrets: &Secrets, jwt: &str) {
    jwt.split('.').skip(1).filter(|part| part.len() >= 40).for_each(|part| secrets.learn_exactly(part));
}

/// The refusal's message; it must have the form of one.
#[track_caller]
pub fn message(response: &Response) -> String {
    assert_eq!(response.header("content-type"), Some("application/json"), "{}", response.text());
    assert_eq!(response.header("cache-control"), Some("no-store"), "{}", response.text());
    let body = response.json();
    let members: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["status", "name", "message"], "{body}");
    assert_eq!(body["status"], response.status, "{body}");
    assert_eq!(body["name"], name_of(response.status), "{body}");
    let challenge = response.header("www-authenticate").unwrap_or_default();
    assert_eq!(response.status == 401, challenge.starts_with("Bearer"), "{:?}", response.head);
    let message = text_at(&body, "message");
    assert!(!message.is_empty());
    message
}

/// The reason phrase of a status, without spaces.
pub fn name_of(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        408 => "RequestTimeout",
        413 => "PayloadTooLarge",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => panic!("{status} is no refusal of the exchange"),
    }
}

/// `Retry-After` in seconds.
#[track_caller]
pub fn retry_after(response: &Response) -> u64 {
    let value = response.header("retry-after").expect("Retry-After");
    value.parse().unwrap_or_else(|_| panic!("Retry-After: {value}"))
}

/// `method` on the exchange's path, with a body that is right.
pub fn by_method(method: &str, jwt: &str) -> Request {
    request(method, EXCHANGE).body(json!({ "jwt": jwt }).to_string().as_bytes())
}
