//! **HOT** Bytes that came and are not used yet, in memory that the thread lends.
//!
//! A buffer has memory only while it holds something or is being filled: read dry, it gives its memory back to the
//! thread's stock, and the next connection that reads takes it from there. So ten thousand idle connections hold
//! nothing, and a request allocates nothing. Connections stay on their thread; a buffer that is dropped on another one
//! is only freed.
//!
//! Around what a buffer holds there is always a little room, so that a chunk's size line and its end can be written in
//! front and behind, where they stand (RFC 9112, section 7.1), and one write sends all three.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};
use zeroize::Zeroize as _;

/// What is lent at first.
pub const SMALL: usize = 8 * 1024;
/// What is lent once reads fill the small one.
pub const LARGE: usize = 64 * 1024;
/// Room that is kept free in front: a chunk's size line has at most 16 digits and a CRLF.
const FRONT: usize = 18;
/// Room that is kept free behind: the CRLF of a chunk.
const BACK: usize = 2;
/// What a text begins with.
const TEXT: usize = 2 * 1024;
/// What a small one takes.
pub const SMALL_HOLDS: usize = SMALL - FRONT - BACK;

/// Small ones that a thread keeps for later: 2 MiB.
const SMALL_KEPT: usize = 256;
/// Large ones that a thread has out at a time: 4 MiB. Who comes then makes do with a small one, so thousands of slow
/// readers cannot take more than a small one each.
const LARGE_LENT: usize = 64;

/// See the module's text.
#[derive(Default)]
pub struct Buffer {
    /// Nothing where nothing is lent.
    memory: Box<[u8]>,
    /// What it holds: from `start` to `end`. Where memory is lent, `FRONT <= start <= end <= memory.len() - BACK`, but
    /// for the time between [`Self::enclose`] and the sending of all of it.
    start: usize,
    end: usize,
    /// The last read filled all there was: there is more where it came from.
    is_outgrown: bool,
}

impl Buffer {
    /// One that holds nothing and has no memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What came and is not used yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be put right where it stands.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// How much that is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Does it hold nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` bytes are used.
    pub fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
    }

    /// The first `count` bytes are used and hold a secret: none of them is left behind.
    pub fn erase(&mut self, count: usize) {
        let end = self.start + count.min(self.len());
        if let Some(bytes) = self.memory.get_mut(self.start..end) {
            bytes.zeroize();
        }
        self.start = end;
    }

    /// Throws away what it holds.
    pub fn clear(&mut self) {
        self.start = self.end;
        self.rest();
    }

    /// Gives the memory back, if it holds nothing. Called wherever something is waited for.
    pub fn rest(&mut self) {
        if self.is_empty() && !self.memory.is_empty() {
            (self.start, self.end) = (0, 0);
            give_back(std::mem::take(&mut self.memory));
        }
    }

    /// Reads more behind what it holds; 0: the other side has ended. It comes to hold at most `most` bytes; who has so
    /// many must use some before it asks again.
    ///
    /// # Errors
    /// The connection broke, or there is no room.
    pub fn poll_fill(&mut self, io: &mut Stream, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.make_room(most);
        let end = (self.memory.len() - BACK).min(self.start + most);
        let mut into = ReadBuf::new(self.memory.get_mut(self.end..end).unwrap_or_default());
        let room = into.remaining();
        if room == 0 {
            // A read into nothing would look like the other side's end.
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let read = Pin::new(io).poll_read(cx, &mut into).map_ok(|()| into.filled().len());
        match read {
            Poll::Ready(Ok(count)) => {
                self.end += count;
                self.is_outgrown = count == room && room >= SMALL_HOLDS / 2;
            }
            Poll::Ready(Err(_)) | Poll::Pending => self.rest(),
        }
        read
    }

    /// Puts `before` in front of all it holds and a CRLF behind, both at most as long as the room that is kept.
    pub fn enclose(&mut self, before: &[u8]) {
        let start = self.start.saturating_sub(before.len());
        let end = self.end + 2;
        if let (Some(front), true) = (self.memory.get_mut(start..self.start), before.len() <= FRONT) {
            front.copy_from_slice(before);
            self.start = start;
        }
        if let Some(back) = self.memory.get_mut(self.end..end) {
            back.copy_from_slice(b"\r\n");
            self.end = end;
        }
    }

    /// At least one byte of room behind what it holds, unless that is `most` already.
    fn make_room(&mut self, most: usize) {
        if self.is_empty() {
            if self.memory.is_empty() || (self.is_outgrown && self.memory.len() < LARGE) {
                let memory = lend(if self.is_outgrown { LARGE } else { SMALL });
                give_back(std::mem::replace(&mut self.memory, memory));
            }
            (self.start, self.end) = (FRONT, FRONT);
        }
        if self.end + BACK < self.memory.len() {
            return;
        }
        let held = self.start..self.end;
        let length = held.len();
        if self.start > FRONT {
            self.memory.copy_within(held, FRONT);
        } else {
            // A head that is longer than usual: it must lie in one piece.
            let size = (2 * self.memory.len()).min(most.saturating_add(FRONT + BACK)).max(self.memory.len());
            let mut memory = if size <= LARGE { lend(LARGE) } else { vec![0; size].into_boxed_slice() };
            if memory.len() <= self.memory.len() {
                // No large one was there: what is in use for long is not counted against the stock. So it must not be as
                // long as those that are.
                memory = vec![0; size + usize::from(size == LARGE)].into_boxed_slice();
            }
            if let (Some(to), Some(from)) = (memory.get_mut(FRONT..FRONT + length), self.memory.get(held)) {
                to.copy_from_slice(from);
            }
            give_back(std::mem::replace(&mut self.memory, memory));
        }
        (self.start, self.end) = (FRONT, FRONT + length);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.memory));
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the bytes: they hold credentials.
        f.debug_struct("Buffer").field("len", &self.len()).field("memory", &self.memory.len()).finish_non_exhaustive()
    }
}

/// An empty text to write a head into. It goes back with [`give_back_text`].
#[must_use]
pub fn lend_text() -> Vec<u8> {
    let lent = STOCK.try_with(|stock| stock.borrow_mut().texts.pop());
    lent.ok().flatten().unwrap_or_else(|| Vec::with_capacity(TEXT))
}

/// Takes back what [`lend_text`] gave; one that became long is freed.
pub fn give_back_text(mut text: Vec<u8>) {
    text.clear();
    if (1..=SMALL).contains(&text.capacity()) {
        let _ = STOCK.try_with(|stock| {
            let texts = &mut stock.borrow_mut().texts;
            if texts.len() < SMALL_KEPT {
                texts.push(text);
            }
        });
    }
}

/// What a thread has to lend.
#[derive(Default)]
struct Stock {
    texts: Vec<Vec<u8>>,
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    /// How many large ones are out.
    large_out: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = RefCell::default();
}

/// Memory of this size, or of the smaller one when too many of the large are out.
fn lend(size: usize) -> Box<[u8]> {
    let lent = STOCK.try_with(|stock| {
        let stock = &mut *stock.borrow_mut();
        if size == LARGE && stock.large_out < LARGE_LENT {
            stock.large_out += 1;
            return stock.large.pop().unwrap_or_else(|| vec![0; LARGE].into_boxed_slice());
        }
        stock.small.pop().unwrap_or_else(|| vec![0; SMALL].into_boxed_slice())
    });
    // The thread is ending.
    lent.unwrap_or_else(|_| vec![0; SMALL].into_boxed_slice())
}

/// What is of another size, or more than is kept, is freed.
fn give_back(memory: Box<[u8]>) {
    if memory.is_empty() {
        return;
    }
    let _ = STOCK.try_with(|stock| {
        let stock = &mut *stock.borrow_mut();
        match memory.len() {
            SMALL if stock.small.len() < SMALL_KEPT => stock.small.push(memory),
            LARGE => {
                stock.large_out = stock.large_out.saturating_sub(1);
                if stock.large.len() < LARGE_LENT / 4 {
                    stock.large.push(memory);
                }
            }
            _ => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::proxy::script::{Given, Script};

    fn fill(buffer: &mut Buffer, io: &mut Stream, most: usize) -> Poll<io::Result<usize>> {
        buffer.poll_fill(io, &mut Context::from_waker(Waker::noop()), most)
    }

    #[test]
    fn an_empty_buffer_has_no_memory_while_it_waits() {
        let mut io = Script::new([Given::Pending, Given::Bytes(b"abc".to_vec()), Given::Pending]).stream();
        let mut buffer = Buffer::new();
        assert!(fill(&mut buffer, &mut io, 100).is_pending());
        assert_eq!(buffer.memory.len(), 0);
        assert!(matches!(fill(&mut buffer, &mut io, 100), Poll::Ready(Ok(3))));
        buffer.consume(1);
        assert!(fill(&mut buffer, &mut io, 100).is_pending());
        assert_eq!((buffer.bytes(), buffer.memory.len()), (&b"bc"[..], SMALL), "what it holds stays");
        buffer.consume(2);
        buffer.rest();
        assert_eq!(buffer.memory.len(), 0);
    }

    #[test]
    fn the_same_memory_serves_one_after_the_other() {
        let mut io = Script::new(vec![Given::Bytes(b"x".to_vec()); 100]).stream();
        let mut places = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut buffer = Buffer::new();
            assert!(matches!(fill(&mut buffer, &mut io, 100), Poll::Ready(Ok(1))));
            places.insert(buffer.bytes().as_ptr());
        }
        assert_eq!(places.len(), 1);
    }

    #[test]
    fn a_head_that_is_longer_than_a_buffer_lies_in_one_piece() {
        let head: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut io = Script::new([Given::Bytes(head.clone())]).stream();
        let mut buffer = Buffer::new();
        while buffer.len() < head.len() {
            assert!(matches!(fill(&mut buffer, &mut io, head.len()), Poll::Ready(Ok(1..))));
        }
        assert_eq!(buffer.bytes(), head);
        assert!(matches!(fill(&mut buffer, &mut io, head.len()), Poll::Ready(Err(_))), "no more than was allowed");
    }

    #[test]
    fn who_reads_much_is_lent_more_and_thousands_of_them_are_not() {
        let much = || Script::new(vec![Given::Bytes(vec![1; LARGE]); 4]).stream();
        let mut all: Vec<(Buffer, Stream)> = (0..2 * LARGE_LENT).map(|_| (Buffer::new(), much())).collect();
        for (buffer, io) in &mut all {
            assert!(matches!(fill(buffer, io, LARGE), Poll::Ready(Ok(SMALL_HOLDS))));
            buffer.consume(SMALL_HOLDS);
            assert!(matches!(fill(buffer, io, LARGE), Poll::Ready(Ok(1..))));
        }
        assert_eq!(all.iter().filter(|(buffer, _)| buffer.memory.len() == LARGE).count(), LARGE_LENT);
    }

    #[test]
    fn texts_are_lent_again_unless_they_became_long() {
        let text = lend_text();
        let place = text.as_ptr();
        give_back_text(text);
        let mut text = lend_text();
        assert_eq!(text.as_ptr(), place);
        text.resize(2 * SMALL, b'x');
        give_back_text(text);
        let text = lend_text();
        assert!(text.is_empty() && text.capacity() < SMALL);
    }

    #[test]
    fn what_encloses_stands_around_all_of_it() {
        let mut io = Script::new([Given::Bytes(vec![b'z'; SMALL_HOLDS])]).stream();
        let mut buffer = Buffer::new();
        assert!(matches!(fill(&mut buffer, &mut io, LARGE), Poll::Ready(Ok(SMALL_HOLDS))));
        let line = format!("{SMALL_HOLDS:x}\r\n");
        buffer.enclose(line.as_bytes());
        assert_eq!(buffer.bytes(), [line.as_bytes(), &vec![b'z'; SMALL_HOLDS], b"\r\n"].concat());
    }
}
