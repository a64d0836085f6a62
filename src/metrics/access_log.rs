//! The access log: a bounded queue between the threads that serve requests and one thread that writes.
//!
//! A request formats its line into a buffer of its own thread and appends it to the queue under a lock that is held
//! for one copy. It never waits for the output: when the queue is full the line is dropped and counted. The writer
//! takes the whole queue at once by swapping it with an empty buffer, so there are two buffers and memory is at most
//! twice the capacity. It is woken when the queue stops being empty, then lets lines gather for a moment: at any
//! load it wakes a hundred times a second or once per 64 KiB, not once a line.
//!
//! Never here: what is in a line (`access_entry`), and whether there is a log at all (`app`).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::IntCounter;
use super::access_entry::{Entry, Line};
use super::registry::Metrics;

/// Bytes of lines that may wait for the writer: about 10,000 lines.
pub const DEFAULT_CAPACITY: usize = 4 << 20;

/// So many waiting bytes wake the writer at once.
const CHUNK: usize = 64 << 10;

/// How long the writer lets lines gather.
const GATHER: Duration = Duration::from_millis(10);

/// Between two tries when the output would block although it is written by a thread that may wait.
const BUSY_WAIT: Duration = Duration::from_millis(5);

thread_local! {
    static LINE: RefCell<Line> = const { RefCell::new(Line::new()) };
}

/// The log. Dropping it ends its thread without waiting; [`Self::close`] waits.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// The queue is no longer empty, has reached [`CHUNK`], or is closing.
    filled: Condvar,
    /// The writer has ended.
    ended: Condvar,
    capacity: usize,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines, at most `capacity` bytes.
    bytes: Vec<u8>,
    /// Nothing is taken any more.
    closing: bool,
    /// The writer has ended.
    ended: bool,
}

impl AccessLog {
    /// A log on standard output, `capacity` bytes of which may wait.
    ///
    /// # Errors
    /// The descriptor or the thread could not be made.
    pub fn to_stdout(capacity: usize, metrics: &Metrics) -> io::Result<Self> {
        // A descriptor of our own: the library's handle is line-buffered and would hide what was written.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::new(stdout, capacity, metrics.access_log_dropped.clone())
    }

    /// A log on any output. Lines that are not written are counted in `dropped`.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn new(sink: impl Write + Send + 'static, capacity: usize, dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            ended: Condvar::new(),
            capacity,
            dropped,
        });
        let writer = Writer { shared: Arc::clone(&shared), sink, torn: false, failing: false };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Queues the line of a request, or drops and counts it. Never waits for the output. **HOT**
    pub fn log(&self, entry: &Entry<'_>) {
        let queued = LINE.try_with(|line| {
            let mut line = line.borrow_mut();
            self.shared.push(line.write(entry));
            line.shrink();
        });
        if queued.is_err() {
            // The thread is ending and its buffer is gone.
            self.shared.dropped.inc();
        }
    }

    /// Ends the log: takes no more lines, waits for at most `deadline` until all are written, and says whether they
    /// are (or were dropped because the output failed). What still waits at the deadline is dropped and counted.
    pub fn close(&self, deadline: Duration) -> bool {
        self.shared.close();
        let (mut queue, _) = self
            .shared
            .ended
            .wait_timeout_while(self.shared.lock(), deadline, |queue| !queue.ended)
            .unwrap_or_else(PoisonError::into_inner);
        self.shared.dropped.inc_by(lines(&queue.bytes));
        queue.bytes.clear();
        queue.ended
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        let before = queue.bytes.len();
        let after = before + line.len();
        if queue.closing || after > self.capacity {
            drop(queue);
            self.dropped.inc();
            return;
        }
        queue.bytes.extend_from_slice(line);
        drop(queue);
        if before == 0 || (before < CHUNK && after >= CHUNK) {
            self.filled.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
    }

    /// Swaps the waiting lines with the empty `chunk` once there are some. True: these are the last ones.
    fn take(&self, chunk: &mut Vec<u8>) -> bool {
        let queue = self
            .filled
            .wait_while(self.lock(), |queue| queue.bytes.is_empty() && !queue.closing)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut queue, _) = self
            .filled
            .wait_timeout_while(queue, GATHER, |queue| queue.bytes.len() < CHUNK && !queue.closing)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.bytes, chunk);
        queue.closing
    }
}

struct Writer<W> {
    shared: Arc<Shared>,
    sink: W,
    /// The output ends in the middle of a line.
    torn: bool,
    /// The last write failed.
    failing: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut chunk = Vec::new();
        loop {
            let last = self.shared.take(&mut chunk);
            self.write(&chunk);
            chunk.clear();
            if last {
                break;
            }
        }
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
    }

    /// Writes whole lines; those that cannot be written are counted as dropped.
    fn write(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        let mut rest = chunk;
        match self.try_write(&mut rest) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the access log can be written again");
                }
            }
            Err(error) => {
                self.shared.dropped.inc_by(lines(rest));
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the access log cannot be written; its entries are dropped");
                }
            }
        }
    }

    fn try_write(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_some(b"\n")?;
            self.torn = false;
        }
        while !rest.is_empty() {
            let written = self.write_some(rest)?;
            let (done, after) = rest.split_at_checked(written).unwrap_or((*rest, &[]));
            self.torn = done.last() != Some(&b'\n');
            *rest = after;
        }
        self.sink.flush()
    }

    #[allow(clippy::disallowed_methods, reason = "the writer's thread has nothing else to do")]
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.sink.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the terminal or pipe has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY_WAIT),
                Err(error) => return Err(error),
            }
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc;

    use super::*;
    use crate::clock::WallTime;
    use crate::metrics::Decision;

    const LONG: Duration = Duration::from_mins(1);

    fn entry(path: &[u8]) -> Entry<'_> {
        Entry {
            time: WallTime::EPOCH,
            request_id: b"r",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: b"GET",
            host: b"h",
            path,
            status: 200,
            decision: Decision::Public,
            reason: None,
            key: None,
            route: None,
            upstream: None,
            server: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped_total", "Test.").unwrap()
    }

    /// An output that hands over each write, says when it begins, and answers as it is told.
    struct Told {
        began: mpsc::Sender<Vec<u8>>,
        answers: mpsc::Receiver<io::Result<usize>>,
    }

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.send(bytes.to_vec());
            match self.answers.recv() {
                Ok(answer) => answer.map(|most| most.min(bytes.len())),
                Err(_) => Ok(bytes.len()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told() -> (Told, mpsc::Receiver<Vec<u8>>, mpsc::Sender<io::Result<usize>>) {
        let (began, writes) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        (Told { began, answers }, writes, answer)
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_many_threads_arrive_whole_and_all() {
        let (kept, dropped) = (Kept::default(), counter());
        let log = AccessLog::new(kept.clone(), DEFAULT_CAPACITY, dropped.clone()).unwrap();
        thread::scope(|scope| {
            for t in 0..4 {
                let log = &log;
                scope.spawn(move || (0..500).for_each(|n| log.log(&entry(format!("/{t}/{n}").as_bytes()))));
            }
        });
        assert!(log.close(LONG));
        assert_eq!(dropped.get(), 0);
        let written = kept.0.lock().unwrap();
        let mut next = [0; 4];
        for line in written.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            let (t, n) = value["path"].as_str().unwrap().trim_start_matches('/').split_once('/').unwrap();
            let t: usize = t.parse().unwrap();
            assert_eq!(n.parse(), Ok(next[t]), "in order");
            next[t] += 1;
        }
        assert_eq!(next, [500; 4]);
    }

    #[test]
    fn a_blocked_output_drops_and_counts_and_blocks_nobody() {
        let (sink, writes, answer) = told();
        let line = u64::try_from(Line::new().write(&entry(b"/x")).len()).unwrap();
        let dropped = counter();
        let log = AccessLog::new(sink, usize::try_from(line * 10).unwrap(), dropped.clone()).unwrap();
        log.log(&entry(b"/x"));
        let first = writes.recv_timeout(LONG).unwrap();
        assert_eq!(lines(&first), 1);
        // The writer is now in its write and stays there.
        for _ in 0..25 {
            log.log(&entry(b"/x"));
        }
        assert_eq!(dropped.get(), 15, "ten fit");
        assert!(!log.close(Duration::from_millis(20)), "it cannot end");
        assert_eq!(dropped.get(), 25, "those that waited are counted");
        log.log(&entry(b"/x"));
        assert_eq!(dropped.get(), 26, "nothing is taken after the end");
        drop(answer);
        assert!(log.close(LONG));
        assert_eq!(dropped.get(), 26);
    }

    #[test]
    fn a_closed_output_drops_and_counts_and_a_torn_line_is_ended() {
        let (sink, writes, answer) = told();
        let dropped = counter();
        let log = AccessLog::new(sink, DEFAULT_CAPACITY, dropped.clone()).unwrap();
        answer.send(Ok(5)).unwrap();
        answer.send(Err(ErrorKind::Interrupted.into())).unwrap();
        answer.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        answer.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        log.log(&entry(b"/1"));
        let seen: Vec<_> = (0..4).map(|_| writes.recv_timeout(LONG).unwrap()).collect();
        assert_eq!(seen[1], seen[0][5..]);
        assert_eq!(seen[3], seen[1]);
        drop(answer);
        log.log(&entry(b"/2"));
        assert!(log.close(LONG));
        assert_eq!(dropped.get(), 1);
        assert_eq!(writes.recv_timeout(LONG).unwrap(), b"\n");
        assert!(writes.recv_timeout(LONG).unwrap().ends_with(b"}\n"));
    }

    #[test]
    fn the_thread_ends_with_the_log() {
        let (sink, writes, answer) = told();
        drop(answer);
        drop(AccessLog::new(sink, DEFAULT_CAPACITY, counter()).unwrap());
        assert_eq!(writes.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
