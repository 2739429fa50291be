//! Connections that can be cut, all at once.
//!
//! A server's graceful shutdown waits for its connections, and some of them never end: a request that
//! is sent half, a response without end, an idle stream, a WebSocket, a connection that never sent
//! anything. So every connection ends with an error when it is cut, whoever holds it.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Counts the connections that are open, and cuts them.
#[derive(Clone)]
pub(super) struct OpenConnections {
    count: watch::Sender<usize>,
    cut: CancellationToken,
}

impl OpenConnections {
    pub(super) fn new() -> Self {
        Self {
            count: watch::Sender::new(0),
            cut: CancellationToken::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until none is open.
    pub(super) async fn none(&self) {
        // The sender is here.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Cuts those that are open, and those to come.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Counts `stream` until it is dropped.
    pub(super) fn admit(&self, stream: TcpStream) -> IncomingConnection {
        self.count.send_modify(|count| *count += 1);
        // One of its own, so that connections do not share a lock.
        let cut = self.cut.child_token();
        IncomingConnection {
            stream,
            read_cut: Box::pin(cut.clone().cancelled_owned()),
            write_cut: Box::pin(cut.cancelled_owned()),
            _counted: Counted(self.count.clone()),
        }
    }
}

struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A connection that a [`RegisteredServer`](crate::RegisteredServer) has accepted. Reading and writing
/// fail with [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) once it is cut.
pub struct IncomingConnection {
    stream: TcpStream,
    // One for each half: different tasks may wait for them.
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _counted: Counted,
}

impl IncomingConnection {
    /// The connection itself, for the socket's options and addresses.
    pub fn tcp_stream(&self) -> &TcpStream {
        &self.stream
    }

    /// `Err` if the half was cut. Else it is woken when it is.
    fn check(
        cut: &mut Pin<Box<WaitForCancellationFutureOwned>>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        match cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "cut by the server, which ends",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for IncomingConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::check(&mut self.read_cut, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for IncomingConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::check(&mut self.write_cut, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::check(&mut self.write_cut, cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::check(&mut self.write_cut, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::check(&mut self.write_cut, cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(feature = "tonic-server")]
impl tonic::transport::server::Connected for IncomingConnection {
    type ConnectInfo = tonic::transport::server::TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl fmt::Debug for IncomingConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IncomingConnection")
            .field(&self.stream)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    #[tokio::test]
    async fn both_halves_end_when_they_wait_in_different_tasks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = OpenConnections::new();
        let client = TcpStream::connect(address).await.unwrap();
        let accepted = open.admit(listener.accept().await.unwrap().0);
        assert_eq!(open.count(), 1);

        let (mut read, mut write) = tokio::io::split(accepted);
        let reading = tokio::spawn(async move { read.read_u8().await });
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = write.write_all(&[0; 64 * 1024]).await {
                    return error;
                }
            }
        });
        // Both have begun to wait, in whatever order, once the client's buffer is full.
        client.readable().await.unwrap();
        tokio::task::yield_now().await;
        open.cut();
        let both = async { (reading.await.unwrap(), writing.await.unwrap()) };
        let both = tokio::time::timeout(Duration::from_secs(30), both).await;
        let (read, written) = both.expect("both halves end");
        let cut = [read.unwrap_err(), written];
        assert!(
            cut.iter()
                .all(|it| it.kind() == io::ErrorKind::ConnectionAborted)
        );
        open.none().await;

        let _later = TcpStream::connect(address).await.unwrap();
        let mut later = open.admit(listener.accept().await.unwrap().0);
        assert!(later.read_u8().await.is_err(), "one to come is cut, too");
    }
}
