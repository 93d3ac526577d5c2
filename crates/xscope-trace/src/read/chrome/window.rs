//! A window on a stream: enough of it in one piece to parse one element at a time.

use std::io::Read;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// The largest element that is read in one piece. Events are a few hundred bytes; a file with a
/// larger one is damaged, or hostile.
pub(super) const MAX_ELEMENT: usize = 64 << 20;

/// A window on a stream of bytes.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of the buffer's first byte in the stream.
    base: u64,
    finished: bool,
    /// Why reading stopped before the end, if it did.
    failure: Option<String>,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            base: 0,
            finished: false,
            failure: None,
        }
    }

    /// What is in the window and not yet consumed.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Offset in the stream of the first byte that is not yet consumed.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Bytes of the stream read so far.
    pub(super) fn size(&self) -> u64 {
        self.base + self.end as u64
    }

    /// Why reading stopped before the end of the stream, if it did.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Reads more of the stream into the window; `false` if there is no more, or no room for it.
    pub(super) fn more(&mut self) -> bool {
        if self.finished {
            return false;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.end >= MAX_ELEMENT {
                return false;
            }
            self.buffer.resize(self.end * 2, 0);
        }
        // As much as there is room for: decompression gives a few kilobytes at a time, and an element
        // that is not there whole is parsed anew each time.
        let before = self.end;
        while self.end < self.buffer.len() && !self.finished {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.finished = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error.to_string());
                    self.finished = true;
                }
            }
        }
        self.end > before
    }

    /// The next byte that is neither white space nor one of `skipped`; it is not consumed.
    pub(super) fn peek(&mut self, skipped: &[u8]) -> Option<u8> {
        loop {
            let found = self
                .rest()
                .iter()
                .position(|byte| !byte.is_ascii_whitespace() && !skipped.contains(byte));
            match found {
                Some(skip) => {
                    self.advance(skip);
                    return self.rest().first().copied();
                }
                None => self.advance(self.end - self.start),
            }
            if !self.more() {
                return None;
            }
        }
    }
}
