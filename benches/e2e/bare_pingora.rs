//! The yardstick of `make bench`: the least that pingora-proxy can do, with keygate's allocator and profile.
//!
//! Forwards every request to one upstream as it is: no key check, no header rules, no log, no metrics. With
//! `refuse` in place of the upstream it answers every request itself with a small 401 and keeps the connection,
//! which is what a refusal costs on pingora at least. Nothing of keygate's own code may come in here.
//!
//! Started by `run.py` and `instructions.py`: `bare_pingora LISTEN (UPSTREAM|refuse) [THREADS]`, the first two
//! `address:port`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Unused upstream connections that are kept: more than the load has requests in flight.
const POOL_SIZE: usize = 256;

const REFUSAL: &[u8] = br#"{"type":"about:blank","title":"Unauthorized","status":401}"#;

/// `None`: refuse.
struct Bare(Option<HttpPeer>);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora_error::Result<bool> {
        if self.0.is_some() {
            return Ok(false);
        }
        let mut head = ResponseHeader::build(401, Some(3))?;
        head.insert_header("content-type", "application/problem+json")?;
        head.insert_header("content-length", REFUSAL.len())?;
        head.insert_header("www-authenticate", "Bearer")?;
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(Bytes::from_static(REFUSAL)), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora_error::Result<Box<HttpPeer>> {
        self.0.clone().map(Box::new).ok_or_else(|| Error::new(ErrorType::InternalError))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: bare_pingora LISTEN (UPSTREAM|refuse) [THREADS]";
    let mut arguments = std::env::args().skip(1);
    let (listen, upstream) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let threads = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let peer = match upstream.as_str() {
        "refuse" => None,
        address => {
            let mut peer = HttpPeer::new(address.parse::<std::net::SocketAddr>()?, false, String::new());
            peer.options.connection_timeout = Some(Duration::from_secs(5));
            Some(peer)
        }
    };
    let conf = ServerConf {
        threads,
        work_stealing: false,
        upstream_keepalive_pool_size: POOL_SIZE,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare(peer));
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
