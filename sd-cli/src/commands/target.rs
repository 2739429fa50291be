//! Which service is called, and which of its instances: what `resolve` and `call` take.

use crate::{
    failure::{Failure, Outcome},
    settings::Settings,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sd_core::{Escaped, Instancer};
use sd_etcd::EtcdClient;
use sd_tower::{ResolvedTarget, Resolvers};

/// What stands for itself in a target.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
const SCHEME: &str = "sdctl";

/// A service, and which of its instances a client would call.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// The service
    service: String,

    /// The balancer: round_robin, random, weighted, weighted_random, least_loaded or consistent_hash
    #[arg(long, value_name = "BALANCER")]
    balancer: Option<String>,

    /// The zone of the caller, in which calls stay as far as possible
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,

    /// Only instances whose metadata has this value, any number of times
    #[arg(long = "where", value_name = "NAME=VALUE")]
    metadata: Vec<String>,

    /// A subset of so many instances
    #[arg(long, value_name = "N")]
    subset: Option<usize>,
}

impl TargetArgs {
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// Follows the service on `client`. Does not wait for etcd.
    pub(crate) fn resolve(
        &self,
        client: &EtcdClient,
        settings: &Settings,
    ) -> Outcome<ResolvedTarget> {
        let (client, format) = (client.clone(), settings.format.clone());
        // Of names that no service of the format can have, the format says more than the target.
        format.prefix(&self.service)?;
        let resolvers = Resolvers::new().with(SCHEME, move |target| {
            Ok(Instancer::of(client.clone(), &format, target.service())?)
        });
        Ok(resolvers.resolve(self.text()?)?)
    }

    /// The target as a string.
    fn text(&self) -> Outcome<String> {
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut options = Vec::new();
        let mut option =
            |name: &str, value: &str| options.push(format!("{name}={}", encoded(value)));
        if let Some(balancer) = &self.balancer {
            option("balancer", balancer);
        }
        if let Some(zone) = &self.zone {
            option("zone", zone);
        }
        if let Some(subset) = self.subset {
            option("subset", &subset.to_string());
        }
        for piece in &self.metadata {
            let Some((name, value)) = piece.split_once('=') else {
                return Err(Failure::new(format!(
                    "--where {} is not NAME=VALUE",
                    Escaped(piece)
                )));
            };
            option(&format!("metadata.{}", encoded(name)), value);
        }
        let service = encoded(&self.service);
        Ok(match options.is_empty() {
            true => format!("{SCHEME}:///{service}"),
            false => format!("{SCHEME}:///{service}?{}", options.join("&")),
        })
    }
}
