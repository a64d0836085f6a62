//! Clients that send one request after the other, until told to stop, and keep what came of each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::{Client, Request, wait_for};

/// What came of one request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Unique among all of the load: the `n` that the request was made for.
    pub number: usize,
    /// The status, or why there was no whole response.
    pub result: Result<u16, String>,
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Outcome>>>,
}

impl Load {
    /// `clients` threads, each with a kept-alive connection; the n-th request of all is `make(n)`. A client whose
    /// connection ends makes a new one; when that is refused it ends.
    pub fn start(address: SocketAddr, clients: usize, make: impl Fn(usize) -> Request + Send + Sync + 'static) -> Self {
        let (stop, next, make) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(make));
        let threads = (0..clients)
            .map(|_| {
                let (stop, next, make) = (Arc::clone(&stop), Arc::clone(&next), Arc::clone(&make));
                std::thread::spawn(move || run(address, &stop, &next, &*make))
            })
            .collect();
        Self { stop, next, threads }
    }

    /// How many requests were begun.
    pub fn begun(&self) -> usize {
        self.next.load(Ordering::SeqCst)
    }

    /// Waits until so many more were begun.
    pub fn wait_for_more(&self, requests: usize) {
        let goal = self.begun() + requests;
        wait_for("the load goes on", || self.begun() >= goal);
    }

    /// Stops it and gives what came of each request.
    pub fn finish(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|t| t.join().expect("a client")).collect()
    }
}

fn run(
    address: SocketAddr,
    stop: &AtomicBool,
    next: &AtomicUsize,
    make: &(impl Fn(usize) -> Request + ?Sized),
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while let (false, Ok(mut client)) = (stop.load(Ordering::SeqCst), Client::try_connect(address)) {
        while !stop.load(Ordering::SeqCst) {
            let number = next.fetch_add(1, Ordering::SeqCst);
            match client.try_exchange(&make(number)) {
                Ok(response) => {
                    let closes = response.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
                    outcomes.push(Outcome { number, result: Ok(response.status) });
                    if closes {
                        break;
                    }
                }
                Err(e) => {
                    outcomes.push(Outcome { number, result: Err(format!("{:?}: {e}", e.kind())) });
                    break;
                }
            }
        }
    }
    outcomes
}
