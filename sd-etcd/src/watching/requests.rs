//! What the client asks of the multiplexer.

use super::{buffer::WatchBuffer, list::check_access, meters, token::ResumeToken};
use crate::{config::Options, connection::Connector, support::count};
use futures::stream;
use sd_core::{Error, ErrorChain, Gap, Prefix, Revision, Watch, WatchError};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{mpsc, oneshot};

pub(super) enum Request {
    Watch(NewWatch),
    /// Stop the watch with this id.
    Cancel(u64),
    /// Open another stream: this one has denied a watch that is allowed.
    Reauthenticate,
}

pub(super) struct NewWatch {
    /// Identifies it among the watches of this client.
    pub(super) id: u64,
    pub(super) token: ResumeToken,
    pub(super) buffer: Arc<WatchBuffer>,
    pub(super) opened: oneshot::Sender<Result<Opened, WatchError>>,
}

/// etcd's answer to a new watch.
pub(super) enum Opened {
    /// It is started.
    Started {
        /// The number of the connection.
        epoch: u64,
        /// Whether etcd was beyond where it begins.
        is_behind: bool,
    },
    /// It is denied on this stream. A stream keeps the credentials that it was opened with, and etcd
    /// 3.4 says the same of a missing right and of an expired token.
    Denied,
}

/// Sends requests to the multiplexer. The channel is unbounded, and every watch sends at most three
/// requests.
pub(crate) struct Requests {
    sender: mpsc::UnboundedSender<Request>,
    ids: AtomicU64,
    /// The connection on which a rollback was logged last.
    rolled_back_on: AtomicU64,
    connector: Arc<Connector>,
    options: Arc<Options>,
}

impl Requests {
    pub(super) fn new(
        connector: Arc<Connector>,
        options: Arc<Options>,
    ) -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let requests = Self {
            sender,
            ids: AtomicU64::new(0),
            rolled_back_on: AtomicU64::new(u64::MAX),
            connector,
            options,
        };
        (requests, receiver)
    }

    /// Opens a watch of `prefix` that resumes at `after`.
    ///
    /// Returns once etcd has started it and has confirmed the witness. The witness is checked while
    /// the watch is open on the same connection: so the process that confirms is the one that is
    /// watched.
    pub(crate) async fn watch(
        &self,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let start = self.options.namespace.full(prefix.as_str());
        let token = ResumeToken::of(after)?.clone().for_prefix(&start);
        let (reader, epoch, is_behind) = self.start(prefix, &token, self.buffer()).await?;
        let verified = token.verify(&self.connector, &self.options).await;
        if let Err(WatchError::Gap(gap @ Gap::Rebuilt(_))) = &verified {
            self.rolled_back(epoch, gap);
        }
        verified?;
        if !self.is_on(epoch) {
            return Err(WatchError::Interrupted(Error::unavailable(
                "the connection was given up while the watch was started",
            )));
        }
        let anew = match is_behind {
            true => self.start_anew(prefix, &token, epoch).await,
            false => None,
        };
        // If it cannot be started anew it is late, or has to say why it has ended.
        Ok(anew.unwrap_or(reader).into_watch())
    }

    /// Starts a watch from where etcd is by now, on the connection with this number, and hands over first what has
    /// changed since `token`. It may be behind as well. Then it is late, and has missed less.
    async fn start_anew(&self, prefix: &Prefix, token: &ResumeToken, epoch: u64) -> Option<Reader> {
        let missed = token.missed(&self.connector, &self.options).await?;
        if !self.is_on(epoch) {
            return None;
        }
        let (buffer, now) = (self.buffer(), missed.token.clone());
        missed.hand_over(&buffer);
        let (reader, started_on, _) = self.start(prefix, &now, buffer).await.ok()?;
        (started_on == epoch).then_some(reader)
    }

    fn buffer(&self) -> Arc<WatchBuffer> {
        Arc::new(WatchBuffer::new(self.options.max_message_bytes))
    }

    /// Starts a watch that goes on from `token` and fills `buffer`. Returns it with the number of the connection, and
    /// whether it is behind.
    async fn start(
        &self,
        prefix: &Prefix,
        token: &ResumeToken,
        buffer: Arc<WatchBuffer>,
    ) -> Result<(Reader, u64, bool), WatchError> {
        let (opened, answer) = oneshot::channel();
        let reader = Reader {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            buffer,
            requests: self.sender.clone(),
        };
        self.send(Request::Watch(NewWatch {
            id: reader.id,
            token: token.clone(),
            buffer: reader.buffer.clone(),
            opened,
        }))?;
        match answer.await.map_err(|_| closed())?? {
            Opened::Started { epoch, is_behind } => Ok((reader, epoch, is_behind)),
            Opened::Denied => {
                // This is answered with a valid token: either it fails, or the stream's has expired.
                check_access(&self.connector, &self.options, prefix).await?;
                self.send(Request::Reauthenticate)?;
                Err(WatchError::Interrupted(expired()))
            }
        }
    }

    /// Whether the connection with this number is the one that is used.
    fn is_on(&self, epoch: u64) -> bool {
        *self.connector.epochs().borrow() == epoch
    }

    /// Says so once for each connection, however many watches there are.
    fn rolled_back(&self, epoch: u64, gap: &Gap) {
        count(meters::ROLLBACKS, None, 1);
        if self.rolled_back_on.swap(epoch, Ordering::Relaxed) != epoch {
            tracing::warn!(gap = %ErrorChain(gap), "etcd was wiped or rolled back, listing all again");
        }
    }

    fn send(&self, request: Request) -> Result<(), WatchError> {
        self.sender.send(request).map_err(|_| closed())
    }
}

/// The reading end of a watch. Dropping it stops the watch at etcd.
struct Reader {
    id: u64,
    buffer: Arc<WatchBuffer>,
    requests: mpsc::UnboundedSender<Request>,
}

impl Reader {
    fn into_watch(self) -> Watch {
        Watch::new(stream::unfold(self, async |reader| {
            let item = reader.buffer.next().await?;
            Some((item, reader))
        }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Fails if the multiplexer has ended, and all watches with it.
        let _ = self.requests.send(Request::Cancel(self.id));
    }
}

pub(super) fn closed() -> WatchError {
    WatchError::Interrupted(Error::Closed)
}

pub(super) fn expired() -> Error {
    Error::unavailable("the token of the watch stream has expired")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::{Dialer, Members},
        watching::{list, multiplexer},
    };
    use tokio_util::sync::CancellationToken;

    /// Thousands of them wait at once.
    #[tokio::test]
    async fn what_waits_for_its_turn_takes_little_memory() {
        let options = Arc::new(Options::unchecked());
        let members = options.members(&options.endpoints).unwrap();
        let connector = Arc::new(Connector::new(
            options.clone(),
            Arc::new(Members::new(members)),
            Arc::new(Dialer::new(options.clone(), None)),
            None,
            "tests",
        ));
        let stop = CancellationToken::new();
        let (requests, _multiplexer) = multiplexer::new(connector.clone(), options.clone(), stop);
        let (prefix, after) = (Prefix::new("/svc").unwrap(), Revision::new(0));
        let watching = size_of_val(&requests.watch(&prefix, &after));
        let listing = size_of_val(&list(&connector, &options, &prefix));
        assert!(watching < 8192 && listing < 4096, "{watching}, {listing}");
    }
}
