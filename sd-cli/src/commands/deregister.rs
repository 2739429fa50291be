//! `sdctl deregister`: an entry is removed.

use crate::{
    etcd::Etcd,
    failure::{Failure, Outcome},
    instances::{Row, find, shown_lease},
    settings::Settings,
};
use sd_core::{Editor, Escaped};
use serde::Serialize;
use std::process::ExitCode;

/// Remove the entry of an instance that is gone
///
/// The entry of an instance that lives comes back: its provider notices within a third of its TTL plus a second. So an
/// entry on a living lease is removed only with --yes. To keep calls away from an instance, `sdctl drain` it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The instance: its key or its address. An entry of several instances is removed as a whole
    #[arg(value_name = "KEY-OR-ADDRESS")]
    target: String,

    /// The service, where an address is not enough
    #[arg(long)]
    service: Option<String>,

    /// Also an entry whose lease lives
    #[arg(long)]
    yes: bool,
}

/// What was removed.
#[derive(Debug, Serialize)]
struct Removed {
    key: String,
    removed: bool,
    /// Whether its lease lives, so that its provider may put it back.
    lease_alive: bool,
    instances: Vec<Row>,
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let etcd = Etcd::connect(settings).await?;
    let service = args.service.as_deref();
    let target = find(&etcd, &settings.format, service, &args.target).await?;
    let key = &target.raw.entry.key;
    let lease = etcd
        .leases([target.raw.lease])
        .await?
        .remove(&target.raw.lease);
    let lease = lease.filter(|lease| lease.is_alive());
    if let Some(lease) = lease
        && !args.yes
    {
        let (id, left) = (shown_lease(target.raw.lease), lease.left);
        return Err(Failure::new(format!(
            "{} is on the lease {id}, which has {left}s of {}s left: if its provider lives, the entry comes back",
            Escaped(key),
            lease.granted,
        ))
        .advice("stop the provider, or `sdctl drain` it; --yes removes the entry all the same"));
    }
    let client = settings.client()?;
    let removed = async {
        match client.get_entry(key).await? {
            Some(read) if read.entry.value == target.raw.entry.value => {
                client.delete_entry(&read).await
            }
            _ => Ok(false),
        }
    };
    let removed = removed.await;
    client.close().await;
    let row = Removed {
        key: key.to_string(),
        removed: removed?,
        lease_alive: lease.is_some(),
        instances: Row::of_read(key.as_str(), &target.read),
    };
    if !row.removed {
        return Err(Failure::new(format!(
            "{} has changed meanwhile: nothing was removed",
            Escaped(key)
        ))
        .advice("look at it again with `sdctl get`"));
    }
    settings.output.one(&row, |row| {
        let note = match row.lease_alive {
            true => "; its provider puts it back if it lives",
            false => "",
        };
        format!("{}: removed{note}\n", Escaped(&row.key))
    })?;
    Ok(ExitCode::SUCCESS)
}
