//! The API that `keygate demo` puts behind its gateway: it says what reached it. Loopback only, on a free port.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::any;
use serde_json::{Map, Value, json};

/// Starts it on a thread of its own, for as long as the process lives, and says where it listens.
pub(super) fn start() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-upstream".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => axum::serve(listener, router()).await,
                Err(e) => Err(e),
            };
            if let Err(e) = served {
                eprintln!("keygate: the demonstration's API has stopped: {e}");
            }
        });
    })?;
    Ok(address)
}

fn router() -> Router {
    Router::new()
        .route("/hello", any(echo))
        .route("/items", any(echo))
        .route("/items/{id}", any(echo))
        .route("/search", any(echo))
        .route("/public/hello", any(echo))
}

/// Method, path and what keygate says of the caller. The body is read, and its length told.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: axum::body::Bytes) -> impl IntoResponse {
    let identity: Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-keygate-") || name.as_str() == "x-request-id")
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let status = if method == Method::POST && uri.path() == "/items" { StatusCode::CREATED } else { StatusCode::OK };
    let answer = json!({
        "method": method.as_str(),
        "path": uri.path_and_query().map(ToString::to_string),
        "from_keygate": identity,
        "credential_reached_me": headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key"),
        "body_bytes": body.len(),
    });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{answer:#}\n"))
}
