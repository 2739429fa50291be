//! `sdctl resolve`: what a client would see, and which instances it would pick.

use super::target::TargetArgs;
use crate::{
    failure::Outcome,
    instances::Row,
    output::{Table, colour, counted},
    settings::Settings,
};
use anstyle::Style;
use sd_core::{
    Balancer, EndpointSource, Endpointer, Escaped, Health, PickContext, Source, factory_fn,
};
use sd_tower::BalancerKind;
use serde::Serialize;
use std::{collections::BTreeMap, process::ExitCode};
use tokio::time::timeout;

/// Show what a client of a service would see, and which instances it would pick
///
/// As the toolkit's own clients do: with their codec, their policy for addresses and their balancers. An instance that
/// drains is seen and not picked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,

    /// How many picks to make
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pick: u64,

    /// The key of all picks, for consistent_hash. Default: another one for each
    #[arg(long, value_name = "KEY")]
    hash_key: Option<String>,
}

/// What a client sees.
#[derive(Debug, Serialize)]
struct Seen {
    service: String,
    balancer: &'static str,
    /// Why it sees what it saw last, if etcd does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<String>,
    /// The entries that it leaves out.
    unreadable: usize,
    picks: u64,
    /// Why nothing is picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_endpoints: Option<String>,
    instances: Vec<SeenInstance>,
}

#[derive(Debug, Serialize)]
struct SeenInstance {
    #[serde(flatten)]
    instance: Row,
    /// Whether it is among those that the balancer chooses from.
    candidate: bool,
    picked: u64,
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let client = settings.client()?;
    let seen = async {
        let target = args.target.resolve(&client, settings)?;
        let late = || sd_core::Error::timeout("the first list", settings.timeout);
        timeout(settings.timeout, target.ready())
            .await
            .map_err(|_| late())??;
        // Live, if etcd answers in time; else as it is known.
        let live = target.until(|event| event.health().is_live());
        let _ = timeout(settings.timeout, live).await;
        look(&args, target).await
    };
    let seen = seen.await;
    client.close().await;
    let seen = seen?;
    settings.output.one(&seen, shown)?;
    Ok(match seen.no_endpoints {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

async fn look(args: &Args, target: sd_tower::ResolvedTarget) -> Outcome<Seen> {
    let options = target.options().clone();
    let Some(event) = target.state() else {
        return Err(crate::failure::Failure::new(
            "nothing is known of the service yet",
        ));
    };
    let stale = match event.health() {
        Health::Stale { why, .. } => Some(why.to_string()),
        _ => None,
    };
    let kind = options.balancer().unwrap_or(BalancerKind::Weighted);
    let endpointer = Endpointer::new(target, factory_fn(|_| Ok(())));
    // There is nothing to connect to, so they are there as soon as the instances are known.
    let ready = endpointer.ready().await;
    let selected = std::sync::Arc::new(options.select(endpointer));
    settled(&selected).await;
    let candidates: Vec<_> = selected
        .endpoints()
        .iter()
        .map(|it| it.address().to_owned())
        .collect();
    let balancer = kind.over(selected.clone());
    let mut picked = BTreeMap::<String, u64>::new();
    let mut no_endpoints = ready.err().map(|why| why.to_string());
    for n in 0..args.pick {
        let number = n.to_string();
        let key = args.hash_key.as_deref().unwrap_or(&number);
        match balancer.pick(&PickContext::new().with_hash_key(key.as_bytes())) {
            Ok(pick) => *picked.entry(pick.address().to_owned()).or_default() += 1,
            Err(why) => {
                no_endpoints = Some(why.to_string());
                break;
            }
        }
    }
    let service = args.target.service();
    let instances = event.instances().iter().map(|instance| SeenInstance {
        instance: Row::of(service, instance),
        candidate: candidates
            .iter()
            .any(|address| address == instance.address()),
        picked: picked.get(instance.address()).copied().unwrap_or_default(),
    });
    Ok(Seen {
        service: service.to_owned(),
        balancer: kind.name(),
        stale,
        unreadable: event.unreadable(),
        picks: args.pick,
        no_endpoints,
        instances: instances.collect(),
    })
}

/// Adapters derive their tables on tasks of their own: waits until those had their turns.
async fn settled<S: EndpointSource>(source: &S) {
    let mut versions = source.versions();
    for _ in 0..8 {
        versions.borrow_and_update();
        tokio::task::yield_now().await;
        let limit = std::time::Duration::from_millis(20);
        if timeout(limit, versions.changed()).await.is_err() {
            return;
        }
    }
}

fn shown(seen: &Seen) -> String {
    let mut table = Table::new([
        "ADDRESS",
        "WEIGHT",
        "ZONE",
        "STATUS",
        "CANDIDATE",
        "PICKED",
        "SHARE",
        "KEY",
    ]);
    for it in &seen.instances {
        let plain = |text: String| (text, Style::new());
        let row = &it.instance;
        let text = |text: &Option<String>| {
            text.as_ref()
                .map_or(String::new(), |text| Escaped(text).to_string())
        };
        let share = match seen.picks {
            0 => String::new(),
            picks => format!("{:.1}%", it.picked as f64 * 100.0 / picks as f64),
        };
        let candidate = match it.candidate {
            true => ("yes".to_owned(), colour::GOOD),
            false => ("no".to_owned(), colour::WARNING),
        };
        table.styled_row([
            plain(text(&row.address)),
            plain(
                row.weight
                    .map_or(String::new(), |weight| weight.to_string()),
            ),
            plain(text(&row.zone)),
            plain(text(&row.status)),
            candidate,
            plain(it.picked.to_string()),
            plain(share),
            plain(Escaped(&row.key).to_string()),
        ]);
    }
    let mut lines = table.lines();
    lines.push(String::new());
    lines.push(format!("{} picks by {}", seen.picks, seen.balancer));
    if seen.unreadable > 0 {
        lines.push(format!(
            "left out: {} that cannot be read; `sdctl list {}` says why",
            counted(seen.unreadable, "entry", "entries"),
            Escaped(&seen.service)
        ));
    }
    if let Some(why) = &seen.stale {
        lines.push(format!("stale: {why}"));
    }
    if let Some(why) = &seen.no_endpoints {
        lines.push(format!("nobody to call: {why}"));
    }
    lines.join("\n") + "\n"
}
