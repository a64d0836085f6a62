//! The listener of `/metrics`, `/healthz` and `/readyz`.
//!
//! It may stand where strangers reach it, so it has limits of its own: 64 connections, one request each, 10 seconds
//! each. It tells nothing that is not in `names`; whether the node is ready it is told by whoever knows. Never here:
//! anything of the data plane or of the admin API. Run by `app` on the runtime that outlives pingora's.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::serve::Listener;
use pingora_prometheus::prometheus::{self, TEXT_FORMAT, TextEncoder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};

use super::{NotReady, Registry};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// For a connection, from accepting it to the end of its response.
const MAX_AGE: Duration = Duration::from_secs(10);

/// For connections that are open when the server is told to stop.
const MAX_DRAIN: Duration = Duration::from_secs(2);

const PROBLEM: &str = "application/problem+json";
const JSON: &str = "application/json";

/// Whether the node should get traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Why it should not; empty: it should.
    pub reasons: Vec<NotReady>,
}

/// What the server asks for. Both are called on a thread that may wait, at each request for them.
#[derive(Clone)]
pub struct Sources {
    /// Is the node ready?
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Called before figures are gathered, to set those gauges that nobody sets as they change.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
    /// Where the figures are.
    pub registry: Registry,
}

/// Serves until `shutdown` is done, then lets connections end for at most two seconds. `listener` is bound already.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    sources: Sources,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener =
        Limited { listener: TcpListener::from_std(listener)?, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
    let router = Router::new().fallback(move |request: Request| answer(sources.clone(), request));
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        drop(stopping);
    });
    tokio::select! {
        served = serving => served,
        () = async {
            let _ = stopped.await;
            sleep(MAX_DRAIN).await;
        } => Ok(()),
    }
}

async fn answer(sources: Sources, request: Request) -> Response {
    let path = request.uri().path();
    let endpoint: fn(&Sources) -> Response = match path {
        "/metrics" => metrics,
        "/healthz" => |_| response(StatusCode::OK, JSON, "{\"alive\":true}\n".to_owned()),
        "/readyz" => ready_or_not,
        _ => return problem(StatusCode::NOT_FOUND, "not-found", "there is only /metrics, /healthz and /readyz"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "use GET or HEAD");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    // Gathering takes milliseconds and a hook may take a lock; a panic in one of them must not end the server.
    match timeout(MAX_AGE, tokio::task::spawn_blocking(move || endpoint(&sources))).await {
        Ok(Ok(response)) => response,
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be made"),
    }
}

fn metrics(sources: &Sources) -> Response {
    (sources.refresh)();
    match encoded(&sources.registry) {
        Ok(text) => response(StatusCode::OK, TEXT_FORMAT, text),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "metrics could not be encoded")
        }
    }
}

/// Every figure of the registry, in the text format.
fn encoded(registry: &Registry) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn ready_or_not(sources: &Sources) -> Response {
    let reasons: Vec<&str> = (sources.readiness)().reasons.iter().map(|reason| reason.as_str()).collect();
    if reasons.is_empty() {
        return response(StatusCode::OK, JSON, "{\"ready\":true}\n".to_owned());
    }
    let body = serde_json::json!({ "ready": false, "reasons": reasons });
    response(StatusCode::SERVICE_UNAVAILABLE, JSON, format!("{body}\n"))
}

fn problem(status: StatusCode, name: &str, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": format!("urn:keygate:problem:{name}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    response(status, PROBLEM, format!("{body}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let fields: [(HeaderName, &str); 4] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (CONNECTION, "close"),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A listener that accepts no more connections than there are permits.
struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Limited {
    type Io = Aging;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Aging, SocketAddr) {
        // The semaphore is never closed; were it, connections would only lose their limit.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        // `Listener` for tokio's own type retries what can be retried.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Aging { stream, old: Box::pin(sleep(MAX_AGE)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when it is old.
struct Aging {
    stream: TcpStream,
    old: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Aging {
    fn young(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.old.as_mut().poll(cx).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Aging {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.young(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Aging {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.young(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::metrics::{Decision, MethodClass, Metrics, StatusClass};

    struct Running {
        address: SocketAddr,
        not_ready: Arc<Mutex<Vec<NotReady>>>,
        refreshed: Arc<AtomicU64>,
        stop: oneshot::Sender<()>,
        task: JoinHandle<io::Result<()>>,
    }

    fn start(registry: Registry) -> Running {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let not_ready = Arc::new(Mutex::new(Vec::new()));
        let refreshed = Arc::new(AtomicU64::new(0));
        let sources = Sources {
            readiness: {
                let reasons = Arc::clone(&not_ready);
                Arc::new(move || Readiness { reasons: reasons.lock().unwrap().clone() })
            },
            refresh: {
                let refreshed = Arc::clone(&refreshed);
                Arc::new(move || {
                    refreshed.fetch_add(1, Ordering::SeqCst);
                })
            },
            registry,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, sources, async move {
            let _ = stopped.await;
        }));
        Running { address, not_ready, refreshed, stop, task }
    }

    async fn ask(to: SocketAddr, method: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn metrics_are_well_formed() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &["no_key"]).unwrap();
        let route = metrics.route("/").unwrap();
        route.record(MethodClass::Get, Decision::Admitted, StatusClass::Success, Duration::from_millis(2));
        let running = start(registry);
        let (head, body) = ask(running.address, "GET", "/metrics").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert_eq!(running.refreshed.load(Ordering::SeqCst), 1);
        let form = r#"^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+="([^"\\]|\\.)*"(,[a-z_]+="([^"\\]|\\.)*")*\})? [0-9.e+-]+)$"#;
        let form = regex::Regex::new(form).unwrap();
        assert!(body.ends_with('\n'));
        for line in body.lines() {
            assert!(form.is_match(line), "{line}");
        }
        assert!(body.contains(r#"keygate_requests_total{decision="admitted",method="GET",route="/",status="2xx"} 1"#));
        let (head, body) = ask(running.address, "HEAD", "/metrics").await;
        assert!(head.starts_with("http/1.1 200 ") && body.is_empty(), "{head}\n{body}");
    }

    #[tokio::test]
    async fn readiness_is_what_it_is_told() {
        let running = start(Registry::new());
        let (head, body) = ask(running.address, "GET", "/healthz").await;
        assert!(head.starts_with("http/1.1 200 "), "{head} {body}");
        let (head, body) = ask(running.address, "GET", "/readyz").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(body, "{\"ready\":true}\n");
        *running.not_ready.lock().unwrap() = vec![NotReady::NoLease, NotReady::Draining];
        let (head, body) = ask(running.address, "GET", "/readyz?x").await;
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, serde_json::json!({"ready": false, "reasons": ["no_lease", "draining"]}));
        assert_eq!(running.refreshed.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let running = start(Registry::new());
        for (method, path, status) in
            [("GET", "/", 404), ("GET", "/metrics/", 404), ("POST", "/metrics", 405), ("DELETE", "/readyz", 405)]
        {
            let (head, body) = ask(running.address, method, path).await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert_eq!(head.contains("allow: get, head"), status == 405);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["status"], status);
        }
    }

    #[tokio::test]
    async fn it_ends_when_told() {
        let running = start(Registry::new());
        ask(running.address, "GET", "/healthz").await;
        running.stop.send(()).unwrap();
        running.task.await.unwrap().unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_cut() {
        let running = start(Registry::new());
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let mut rest = Vec::new();
        // Time is paused: it jumps to the deadline as soon as there is nothing else to do.
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
    }
}
