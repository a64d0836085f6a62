//! Clients that do nothing wrong, while others do: they must be served all the time.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::request::{get, request};
use super::{Client, Request};

/// What is read, and where bodies go.
pub const HEALTHY: &str = "/healthy";
pub const HEALTHY_UPLOAD: &str = "/sink/healthy";

/// Three of them: one keeps its connection, one makes a new one for each request, one sends bodies.
pub struct Healthy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(Duration, Instant)>>>,
    began: Instant,
}

/// How long they took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub requests: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub most: Duration,
}

impl Healthy {
    pub fn start(address: SocketAddr, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let read = get(HEALTHY).bearer(key);
        let write = request("POST", HEALTHY_UPLOAD).bearer(key).body(&vec![0; 64 << 10]);
        let threads = [
            (read.clone(), true, Duration::from_millis(5)),
            (read, false, Duration::from_millis(50)),
            (write, true, Duration::from_millis(200)),
        ];
        let began = Instant::now();
        let start = |(request, keeps, every)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || ask(address, &request, keeps, every, &stop))
        };
        let threads = threads.into_iter().map(start).collect();
        Self { stop, threads, began }
    }

    /// How long the requests took, from when they were due: a stall counts for all that it delayed.
    pub fn finish(self) -> Took {
        self.stop.store(true, Ordering::SeqCst);
        let threads = self.threads.into_iter();
        let mut all: Vec<_> = threads.flat_map(|t| t.join().expect("a healthy client is served")).collect();
        all.sort_unstable();
        let below = |percent: usize| all[all.len() * percent / 100].0;
        // When the slowest hundredth was answered says what it was slow by.
        let mut seconds = BTreeMap::<u64, usize>::new();
        for (_, at) in &all[all.len() * 99 / 100..] {
            *seconds.entry(at.duration_since(self.began).as_secs()).or_default() += 1;
        }
        println!("the slowest hundredth, by second: {seconds:?}");
        Took { requests: all.len(), p50: below(50), p99: below(99), most: all[all.len() - 1].0 }
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, p50, p99, most } = self;
        write!(f, "{requests} requests, half below {p50:?}, 99 % below {p99:?}, all below {most:?}")
    }
}

fn ask(
    address: SocketAddr,
    request: &Request,
    keeps: bool,
    every: Duration,
    stop: &AtomicBool,
) -> Vec<(Duration, Instant)> {
    let mut took = Vec::new();
    let mut client = Client::connect(address);
    let mut due = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if !keeps {
            client = Client::connect(address);
        }
        let response = client.exchange(request);
        assert_eq!(response.status, 200, "a healthy client: {}", response.text());
        took.push((due.elapsed(), Instant::now()));
        due += every;
    }
    took
}
