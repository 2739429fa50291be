//! The stream that carries the watches of own keys.

use crate::{config::Options, connection::Connector, errors};
use etcd_client::{
    WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream, proto::PbWatchResponse,
};
use futures::{StreamExt, future::BoxFuture};
use sd_core::Error;
use std::future::pending;
use tokio::time::timeout;

pub(super) enum Stream {
    Closed,
    Opening(BoxFuture<'static, Result<Box<OpenStream>, Error>>),
    Open(Box<OpenStream>),
}

pub(super) struct OpenStream {
    pub(super) epoch: u64,
    pub(super) requests: WatchRequestSender,
    responses: WatchResponseStream,
}

pub(super) enum StreamEvent {
    Opened(Result<Box<OpenStream>, Error>),
    Response(PbWatchResponse),
    /// The stream is of no use any more.
    Ended(Error),
}

impl Stream {
    /// Waits for ever on a closed stream. Cancellation safe.
    pub(super) async fn next(&mut self) -> StreamEvent {
        match self {
            Self::Closed => pending().await,
            Self::Opening(opening) => StreamEvent::Opened(opening.await),
            Self::Open(stream) => match stream.responses.next().await {
                Some(Ok(WatchResponse(response))) => StreamEvent::Response(response),
                Some(Err(error)) => StreamEvent::Ended(errors::translate(error)),
                None => StreamEvent::Ended(Error::unavailable("the stream ended")),
            },
        }
    }
}

/// Opens a stream with its first watch. Not as a request of the connector: a watch that is not answered is no reason to
/// give up the connection.
pub(super) async fn open(
    connector: &Connector,
    options: &Options,
    key: Vec<u8>,
    watch: WatchOptions,
) -> Result<Box<OpenStream>, Error> {
    let connection = connector.connected().await?;
    let watches = connection.client.watch_client();
    let mut watches = watches.max_decoding_message_size(options.max_message_bytes);
    let after = options.request_timeout;
    let opened = timeout(after, watches.watch(key, Some(watch))).await;
    let opened = opened.map_err(|_| Error::timeout("watch", after))?;
    let (requests, responses) = opened.map_err(errors::translate)?.split();
    Ok(Box::new(OpenStream {
        epoch: connection.epoch,
        requests,
        responses,
    }))
}
