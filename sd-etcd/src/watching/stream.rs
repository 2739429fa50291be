//! The stream that carries all watches of a client, and the reads that prove etcd alive.

use super::{liveness::Liveness, token::ResumeToken};
use crate::{config::Options, connection::Connector, errors, support::finish};
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use futures::{StreamExt, future::BoxFuture};
use sd_core::{Error, WatchError};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

pub(super) enum Stream {
    Closed,
    Opening(BoxFuture<'static, Result<Box<OpenStream>, Error>>),
    Open(Box<OpenStream>),
}

pub(super) enum StreamEvent {
    Opened(Result<Box<OpenStream>, Error>),
    /// `None` if the stream has ended.
    Response(Option<Result<WatchResponse, etcd_client::Error>>),
    Read(Result<(), WatchError>),
}

impl Stream {
    /// Returns the next event. Waits for ever on a closed stream. Cancellation safe.
    pub(super) async fn next(&mut self) -> StreamEvent {
        match self {
            Self::Closed => pending().await,
            Self::Opening(opening) => StreamEvent::Opened(opening.await),
            Self::Open(stream) => tokio::select! {
                biased;
                response = stream.responses.next() => StreamEvent::Response(response),
                answer = finish(&mut stream.reading) => StreamEvent::Read(answer),
            },
        }
    }
}

pub(super) struct OpenStream {
    pub(super) epoch: u64,
    pub(super) requests: WatchRequestSender,
    responses: WatchResponseStream,
    pub(super) liveness: Liveness,
    /// What was true of etcd's history at the last read. A watch may know more by now, but if etcd
    /// was wiped meanwhile it knows that of the new history.
    confirmed: Option<ResumeToken>,
    /// What is confirmed once the current read is answered.
    pending: Option<ResumeToken>,
    reading: Option<BoxFuture<'static, Result<(), WatchError>>>,
    pub(super) has_denied: bool,
}

impl OpenStream {
    /// Notes what a watch knows, unless a witness is known already.
    pub(super) fn learn(&mut self, token: &ResumeToken) {
        let has_witness = |known: &ResumeToken| known.witness.last_put().is_some();
        if !self.confirmed.as_ref().is_some_and(has_witness) {
            self.confirmed = Some(token.clone());
        }
    }

    /// Reads whether the confirmed history is still true, unless a read is under way. `newest` is
    /// what the watches know by now.
    pub(super) fn read(
        &mut self,
        connector: &Arc<Connector>,
        options: &Arc<Options>,
        newest: Option<ResumeToken>,
    ) {
        let Some(known) = self.confirmed.clone().or(newest.clone()) else {
            return;
        };
        if self.reading.is_none() {
            let (connector, options) = (connector.clone(), options.clone());
            self.reading = Some(Box::pin(
                async move { known.probe(&connector, &options).await },
            ));
            self.pending = newest;
        }
    }

    /// Notes that the read was answered. All that arrived before it was sent is of the same history.
    pub(super) fn was_read(&mut self) {
        self.confirmed = self.pending.take().or(self.confirmed.take());
    }
}

pub(super) async fn open(
    connector: Arc<Connector>,
    options: Arc<Options>,
    key: Vec<u8>,
    watch: WatchOptions,
) -> Result<Box<OpenStream>, Error> {
    let (epoch, stream) = connector
        .call("watch", |connection| {
            let (key, watch) = (key.clone(), watch.clone());
            let watches = connection.client.watch_client();
            let mut watches = watches.max_decoding_message_size(options.max_message_bytes);
            async move { Ok((connection.epoch, watches.watch(key, Some(watch)).await?)) }
        })
        .await?;
    let (requests, responses) = stream.split();
    let now = Instant::now();
    Ok(Box::new(OpenStream {
        epoch,
        requests,
        responses,
        liveness: Liveness::new(options.probe_interval, options.probe_timeout, now),
        confirmed: None,
        pending: None,
        reading: None,
        has_denied: false,
    }))
}

/// Sends a request on the stream. A hundred requests fit into its queue, so a full one means that
/// etcd has not read for long.
pub(super) async fn send(
    request: impl Future<Output = Result<(), etcd_client::Error>>,
) -> Result<(), Error> {
    match timeout(Duration::from_millis(100), request).await {
        Ok(sent) => sent.map_err(errors::translate),
        Err(_) => Err(Error::unavailable("etcd does not read its watch stream")),
    }
}
