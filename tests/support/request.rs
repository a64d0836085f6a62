//! A request to be sent exactly as it is written here: nothing is added but Host and, with a body, Content-Length.

use super::base64;

/// See [`request`].
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    host: Option<String>,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// `method target`, for the host `gateway.test`.
pub fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        host: Some("gateway.test".to_owned()),
        fields: Vec::new(),
        body: None,
    }
}

/// `GET target`.
pub fn get(target: &str) -> Request {
    request("GET", target)
}

/// `POST target` with this body.
pub fn post(target: &str, body: &[u8]) -> Request {
    request("POST", target).body(body)
}

impl Request {
    /// The same for another target.
    #[must_use]
    pub fn to(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    #[must_use]
    pub fn without_host(mut self) -> Self {
        self.host = None;
        self
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, credential: impl AsRef<str>) -> Self {
        self.field("Authorization", &format!("Bearer {}", credential.as_ref()))
    }

    /// `Authorization: Basic`.
    #[must_use]
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.field("Authorization", &format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes())))
    }

    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &str| out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        if let Some(host) = &self.host {
            line("Host", host);
        }
        for (name, value) in &self.fields {
            line(name, value);
        }
        if let Some(body) = &self.body {
            line("Content-Length", &body.len().to_string());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        out
    }
}
