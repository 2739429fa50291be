//! Members that are learnt from the cluster.

use super::{Connector, Members, plain_text::warn_of_plain_text};
use crate::config::{Endpoint, Options};
use sd_core::{Error, ErrorChain, Escaped, Result};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Asks the cluster for its members every `interval`, until `stop` is cancelled.
///
/// The endpoints that the client was given stay behind those that were learnt: where the cluster
/// advertises addresses that cannot be reached from here, they still work.
pub(crate) async fn follow_members(
    connectors: [Arc<Connector>; 2],
    members: Arc<Members>,
    options: Arc<Options>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut has_failed = false;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = ask(&connectors[0], &options) => asked,
        };
        match asked {
            Ok(learnt) => {
                has_failed = false;
                if members.learn(learnt) {
                    tracing::info!(members = %Escaped(format_args!("{:?}", members.get())), "members of the cluster changed");
                    warn_of_plain_text(&options, &members.get());
                    for connector in &connectors {
                        connector.members_changed();
                    }
                }
            }
            // The connector warns of an outage.
            Err(error) if !error.is_transient() && !std::mem::replace(&mut has_failed, true) => {
                tracing::warn!(error = %ErrorChain(&error), "the cluster does not tell its members, keeping those known");
            }
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "members not told again"),
        }
        // Spread over the fleet.
        let pause = interval.mul_f64(0.75 + fastrand::f64() / 2.0);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Returns the URLs at which the voting members serve clients.
async fn ask(connector: &Connector, options: &Options) -> Result<Vec<Endpoint>> {
    let answer = connector
        .call("member list", |connection| async move {
            connection.client.cluster_client().member_list().await
        })
        .await
        .map_err(Error::from)?;
    let members = answer.members().iter().filter(|it| !it.is_learner());
    let urls = members.flat_map(|member| member.client_urls());
    // One that this client cannot use, such as a socket's, is not its concern.
    let usable = urls.filter_map(|url| Endpoint::new(url, options.is_encrypted).ok());
    Ok(usable.collect())
}
