//! Lists: all entries under a prefix at one revision, page by page.

use super::pages::{Pages, range_end};
use crate::{
    config::Options,
    connection::{CallError, Connector, Limit},
    errors,
};
use etcd_client::GetOptions;
use sd_core::{Error, Escaped, Gap, Prefix, Result, Snapshot, WatchError};
use std::time::Duration;
use tokio::time::Instant;

/// How often a list starts again because its revision was compacted meanwhile.
const MAX_STARTS: usize = 5;

pub(crate) async fn list(
    connector: &Connector,
    options: &Options,
    prefix: &Prefix,
) -> Result<Snapshot> {
    let mut pages = Pages::new(options, options.namespace.full(prefix.as_str()));
    let mut took = Duration::ZERO;
    for _ in 0..MAX_STARTS {
        match read_pages(connector, options, &mut pages, &mut took).await {
            Ok(()) => return Ok(pages.into_snapshot()),
            // Compacted between two pages, or the next page came from a member that is behind.
            Err(CallError::Etcd(error)) if errors::gap(&error).is_some() => {
                tracing::debug!(prefix = %Escaped(prefix), gap = ?errors::gap(&error), "listing anew");
                pages.restart();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Backend {
        message: format!(
            "the list was cut off {MAX_STARTS} times: {}",
            Gap::Compacted
        ),
        transient: true,
        source: None,
    })
}

/// Checks that this client may read `prefix`.
pub(super) async fn check_access(
    connector: &Connector,
    options: &Options,
    prefix: &Prefix,
) -> Result<(), WatchError> {
    let start = options.namespace.full(prefix.as_str());
    let get = GetOptions::new()
        .with_range(range_end(&start))
        .with_limit(1)
        .with_keys_only();
    let limit = Limit::after(options.request_timeout).in_turn();
    connector
        .call_within(limit, "get", |connection| {
            let (start, get) = (start.clone(), get.clone());
            async move { connection.client.kv_client().get(start, Some(get)).await }
        })
        .await
        .map(drop)
        .map_err(|error| WatchError::Interrupted(error.into()))
}

/// Asks for pages until all are read. `took` is how long etcd took to answer all pages so far: time in which a list
/// waits for its turn does not count.
async fn read_pages(
    connector: &Connector,
    options: &Options,
    pages: &mut Pages<'_>,
    took: &mut Duration,
) -> Result<(), CallError> {
    loop {
        let asked = pages.next();
        let limit = Limit::after(options.request_timeout).in_turn();
        let answer = connector
            .call_within(limit, "get", |connection| {
                let (from, get) = (asked.from.clone(), asked.options());
                let kv = connection.client.kv_client();
                let mut kv =
                    kv.max_decoding_message_size(options.answer_limit(asked.limit as usize));
                let asked = &asked;
                async move {
                    let sent = Instant::now();
                    let page = kv.get(from, Some(get)).await?;
                    asked.check(&page).map_err(errors::broken_answer)?;
                    Ok((connection.epoch, page, sent.elapsed()))
                }
            })
            .await;
        let (epoch, page, page_took) = match answer {
            Err(CallError::Etcd(error)) if errors::is_too_large(&error) && pages.shrink() => {
                continue;
            }
            answer => answer?,
        };
        if !pages.add(page).map_err(CallError::Other)? {
            return Ok(());
        }
        *took += page_took;
        if *took >= options.list_timeout {
            let error = Error::Timeout {
                operation: "list",
                after: options.list_timeout,
            };
            connector.give_up(epoch, &error);
            return Err(CallError::Other(error));
        }
    }
}
