//! Tells when the server has sent its first frame.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// The header of a frame, up to its type: three bytes of length, one of type.
const HEADER: usize = 4;
const SETTINGS: u8 = 4;

/// A stream that tells when SETTINGS have arrived on it: the first frame of every server ([RFC 9113,
/// section 3.4]). That proves that a process is there and speaks HTTP/2. A connection that was
/// accepted does not: a frozen process's is accepted by the kernel.
///
/// [RFC 9113, section 3.4]: https://www.rfc-editor.org/rfc/rfc9113#section-3.4
pub(super) struct FirstFrame<S> {
    stream: S,
    /// How many bytes have arrived, up to the header's.
    read: usize,
    /// `None` once the first frame has begun.
    arrived: Option<oneshot::Sender<()>>,
}

impl<S> FirstFrame<S> {
    /// Returns the stream, and a channel that says when SETTINGS have arrived. It closes if
    /// something else has, or if the stream is dropped before.
    pub(super) fn new(stream: S) -> (Self, oneshot::Receiver<()>) {
        let (sender, arrived) = oneshot::channel();
        let stream = Self {
            stream,
            read: 0,
            arrived: Some(sender),
        };
        (stream, arrived)
    }

    #[cold]
    fn look(&mut self, bytes: &[u8]) {
        let kind = bytes.get(HEADER - 1 - self.read);
        self.read = (self.read + bytes.len()).min(HEADER - 1);
        if let Some(kind) = kind
            && let Some(arrived) = self.arrived.take()
            && *kind == SETTINGS
        {
            // Nobody waits any longer, perhaps.
            let _ = arrived.send(());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstFrame<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if self.arrived.is_some() {
            self.look(&into.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstFrame<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What is told after the server has written these pieces, and whether the stream goes on.
    async fn told<const N: usize>(pieces: [&[u8]; N]) -> Result<(), oneshot::error::TryRecvError> {
        let (client, mut server) = tokio::io::duplex(64);
        let (mut stream, mut arrived) = FirstFrame::new(client);
        for piece in pieces {
            server.write_all(piece).await.unwrap();
            let mut read = vec![0; piece.len()];
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(read, piece);
        }
        arrived.try_recv()
    }

    #[tokio::test]
    async fn settings_are_told_however_they_arrive() {
        use oneshot::error::TryRecvError::{Closed, Empty};
        assert_eq!(told([&[0, 0, 0, 4, 0, 0, 0, 0, 0]]).await, Ok(()));
        assert_eq!(told([&[0], &[0, 6], &[4]]).await, Ok(()));
        assert_eq!(told([&[0], &[0], &[6, 4, 0]]).await, Ok(()));
        assert_eq!(told([]).await, Err(Empty));
        assert_eq!(told([&[0, 0, 4]]).await, Err(Empty), "a length");
        assert_eq!(told([b"HTTP/1.1 400 Bad Request"]).await, Err(Closed));
        assert_eq!(told([b"HTTP", b"\0\0\0\x04"]).await, Err(Closed));
    }
}
