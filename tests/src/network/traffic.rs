//! The traffic of clients, counted on the wire, even while the server does not answer.

use std::sync::atomic::{AtomicU64, Ordering};

/// The connections and messages of clients to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Connections opened.
    pub connections: u64,
    /// gRPC messages sent: requests, and messages on open streams.
    pub messages: u64,
}

impl Traffic {
    /// The traffic since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            messages: self.messages - earlier.messages,
        }
    }
}

/// Counts the traffic of a proxy.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    connections: AtomicU64,
    messages: AtomicU64,
}

impl Counter {
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            connections: self.connections.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, messages: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }
}

/// The client's half of an HTTP/2 connection without TLS (RFC 9113, sections 3.4 and 4.1), as far
/// as it takes to count the frames that carry a message.
pub(crate) struct Frames {
    /// How many bytes to skip: the preface at first, then the contents of a frame.
    skip: usize,
    header: Vec<u8>,
}

impl Frames {
    const PREFACE: usize = 24;
    const HEADER: usize = 9;
    const DATA: u8 = 0;

    pub(crate) fn new() -> Self {
        Self {
            skip: Self::PREFACE,
            header: Vec::with_capacity(Self::HEADER),
        }
    }

    /// How many messages begin in the next bytes.
    pub(crate) fn messages(&mut self, mut bytes: &[u8]) -> u64 {
        let mut messages = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (Self::HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let &[a, b, c, kind, ..] = self.header.as_slice()
                && self.header.len() == Self::HEADER
            {
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.header.clear();
                // An empty one only ends a stream.
                if kind == Self::DATA && self.skip > 0 {
                    messages += 1;
                }
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, content) in [
            (4, "settings"),
            (1, "headers"),
            (0, "message"),
            (0, ""),
            (0, "x"),
        ] {
            sent.extend([0, 0, content.len() as u8, kind, 0, 0, 0, 0, 1]);
            sent.extend(content.bytes());
        }
        for size in 1..=sent.len() {
            let mut frames = Frames::new();
            let counted: u64 = sent.chunks(size).map(|chunk| frames.messages(chunk)).sum();
            assert_eq!(counted, 2, "in pieces of {size}");
        }
    }
}
