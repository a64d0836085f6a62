//! Connections, on real sockets: limits, TLS and its reload, the end.

use std::fs;
use std::path::Path;

use axum::routing::get;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::admin::tls::{TlsError, read};
use crate::config::resolved::AdminTls;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
    /// How many requests keep their connection.
    kept: watch::Receiver<usize>,
}

async fn here(connection: axum::Extension<Connection>) -> String {
    format!("{} {}", connection.scheme(), connection.peer)
}

fn start(certificates: Option<Arc<Certificates>>) -> Running {
    let slow = || async {
        sleep(Duration::from_millis(300)).await;
        "slow"
    };
    let (known, seen) = watch::channel(0_usize);
    let kept = move |hold: axum::Extension<Hold>| async move {
        hold.keep();
        known.send_modify(|count| *count += 1);
        sleep(Duration::from_secs(2)).await;
    };
    let router = Router::new().route("/", get(here)).route("/slow", get(slow)).route("/kept", get(kept));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = Serving { router, certificates, head_timeout: Duration::from_secs(2) };
    let task = tokio::spawn(serve(listener, serving, async move {
        let _ = stopped.await;
    }));
    Running { address, stop, task, kept: seen }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, ends_with: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(ends_with.as_bytes()) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_and_known() {
    let running = start(None);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..3 {
        assert!(ask(&mut stream, "/", "http 127.0.0.1").await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let running = start(None);
    for beginning in ["", "GET / HTTP/1.1\r\nHost: "] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let running = start(None);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(4 * MAX_HEAD));
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
}

/// Opens as many connections as there may be, each with an answer behind it.
async fn all_places(address: SocketAddr) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, "/", "http 127.0.0.1").await;
        open.push(stream);
    }
    open
}

#[tokio::test]
async fn connections_have_a_limit_and_the_one_that_rested_longest_gives_way() {
    let running = start(None);
    let mut open = all_places(running.address).await;
    ask(&mut open[0], "/", "http 127.0.0.1").await;
    let mut next = TcpStream::connect(running.address).await.unwrap();
    ask(&mut next, "/", "http 127.0.0.1").await;
    let mut rest = Vec::new();
    assert_eq!(open[1].read_to_end(&mut rest).await.unwrap(), 0, "it was the first to rest");
    for stays in [0, 2, MAX_CONNECTIONS - 1] {
        ask(&mut open[stays], "/", "http 127.0.0.1").await;
    }
}

#[tokio::test]
async fn nobody_gives_way_while_an_operator_is_answered() {
    let mut running = start(None);
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        open.push(stream);
    }
    running.kept.wait_for(|count| *count == MAX_CONNECTIONS).await.unwrap();
    let mut next = TcpStream::connect(running.address).await.unwrap();
    ask(&mut next, "/", "http 127.0.0.1").await;
    for mut stream in open {
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn the_end_lets_a_request_be_answered_and_cuts_idle_connections() {
    let running = start(None);
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    ask(&mut idle, "/", "http 127.0.0.1").await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Its request has arrived when one that was sent later is answered.
    ask(&mut idle, "/", "http 127.0.0.1").await;
    running.stop.send(()).unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("slow"), "{answer}");
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0);
    running.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// Writes a new certificate for `name` and gives its files.
fn certificate(directory: &Path, name: &str) -> AdminTls {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let files = AdminTls { certificate: directory.join("admin.pem"), key: directory.join("admin.key") };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// Connects as a client that trusts what stands in the file.
async fn trusting(files: &AdminTls, address: SocketAddr, name: &str) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(ask(&mut stream, "/", "127.0.0.1").await)
}

#[tokio::test]
async fn certificates_are_read_again_and_a_bad_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let files = certificate(directory.path(), "one.example");
    let certificates = Arc::new(Certificates::load(&files).unwrap());
    let running = start(Some(Arc::clone(&certificates)));
    assert!(trusting(&files, running.address, "one.example").await.unwrap().ends_with("https 127.0.0.1"));

    let files = certificate(directory.path(), "two.example");
    assert!(trusting(&files, running.address, "two.example").await.is_err(), "not yet");
    certificates.replace(read(&files).unwrap());
    trusting(&files, running.address, "two.example").await.unwrap();

    let key = fs::read_to_string(&files.key).unwrap();
    certificate(directory.path(), "three.example");
    fs::write(&files.key, &key).unwrap();
    assert!(matches!(read(&files), Err(TlsError::Pair { .. })), "the key of another");
    fs::write(&files.certificate, "nothing").unwrap();
    assert!(matches!(read(&files), Err(TlsError::Empty(_))));
    fs::remove_file(&files.certificate).unwrap();
    let error = read(&files).unwrap_err();
    assert!(matches!(error, TlsError::File { .. }) && error.to_string().contains("admin.pem"), "{error}");
    assert!(!error.to_string().contains(&key));
}

#[tokio::test]
async fn plain_http_on_a_tls_listener_ends() {
    let directory = tempfile::tempdir().unwrap();
    let files = certificate(directory.path(), "one.example");
    let running = start(Some(Arc::new(Certificates::load(&files).unwrap())));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
}
