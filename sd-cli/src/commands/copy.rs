//! `sdctl copy`: instances in one format or etcd are registered in another, once or for as long as they are there.

use crate::{
    changes::{Follower, Step},
    copying::{Copies, Wish},
    etcd::{Etcd, Lease},
    failure::{Failure, Outcome},
    instances::shown_lease,
    output,
    settings::{ConnectionArgs, Settings},
    telling,
};
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use sd_core::{Change, Editor, Escaped, Key, LeaseId, Prefix, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// How often keys that somebody else held are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Copy instances to another format or another etcd, once or following
///
/// For migrations: consumers on the other side see the providers on this one. The copies are on a lease of their own. With
/// --follow they change and go with what they are copies of, and end when sdctl does; without, they stay for --ttl.
///
/// A key that somebody else holds over there is never taken: a provider that has moved wins over its copy.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service. Without one, all services of the format
    service: Option<String>,

    /// The format over there. Default: the same
    #[arg(long, value_name = "FORMAT")]
    to_format: Option<String>,

    /// The etcd over there. Default: the same
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    to_etcd: Vec<String>,

    /// The namespace over there. Default: the same
    #[arg(long, value_name = "PATH")]
    to_namespace: Option<String>,

    /// The profile for over there: etcd, user, certificates and all
    #[arg(long, value_name = "NAME")]
    to_profile: Option<String>,

    /// Go on, and keep the copies as what they are copies of
    #[arg(long)]
    follow: bool,

    /// How long copies stay without --follow. Default: 10min. With it, the TTL of their lease. Default: that of the format
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
}

/// How long copies stay that nobody keeps.
const STAY: Duration = Duration::from_secs(600);

/// What has happened to a copy.
#[derive(Debug, Serialize)]
struct CopyRow<'c> {
    time: String,
    /// `copied`, `updated`, `removed`, `left` (somebody else holds the key) or `refused` (the format cannot say it).
    event: &'static str,
    from: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Prints what happens to copies.
#[derive(Clone, Copy)]
struct Told {
    is_json: bool,
}

impl Told {
    fn tell(
        self,
        event: &'static str,
        from: &str,
        to: Option<&Key>,
        why: Option<&str>,
    ) -> Outcome<()> {
        let row = CopyRow {
            time: output::now(),
            event,
            from,
            to: to.map(Key::to_string),
            why: why.map(str::to_owned),
        };
        if self.is_json {
            return Ok(output::line(&serde_json::to_string(&row)?)?);
        }
        let to = to.map_or(String::new(), |to| format!(" -> {}", Escaped(to)));
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        Ok(output::line(&format!(
            "{}  {event:<7}  {}{to}{why}",
            row.time,
            Escaped(from)
        ))?)
    }
}

pub(crate) async fn run(args: Args, connection: &ConnectionArgs, settings: &Settings) -> Outcome {
    let over_there = over_there(&args, connection)?;
    let is_same = over_there.endpoints == settings.endpoints
        && over_there.namespace == settings.namespace
        && over_there.format_text == settings.format_text;
    if is_same {
        return Err(Failure::new("this would copy each instance onto itself")
            .advice("say what is different over there: --to-format, --to-etcd, --to-namespace or --to-profile"));
    }
    let copies = Copies::new(settings, &over_there, args.service.as_deref(), args.ttl)?;
    let told = Told {
        is_json: settings.output.is_json(),
    };
    match args.follow {
        true => follow(copies, settings, &over_there, told).await,
        false => {
            once(
                copies,
                settings,
                &over_there,
                args.ttl.unwrap_or(STAY),
                told,
            )
            .await
        }
    }
}

/// The settings of the other side: a profile of its own, or those of this side, with what was said of the other.
fn over_there(args: &Args, connection: &ConnectionArgs) -> Outcome<Settings> {
    let mut there = match &args.to_profile {
        Some(profile) => ConnectionArgs {
            profile: Some(profile.clone()),
            config: connection.config.clone(),
            format: connection.format.clone(),
            timeout: connection.timeout,
            ..ConnectionArgs::default()
        },
        None => connection.clone(),
    };
    if !args.to_etcd.is_empty() {
        there.etcd.clone_from(&args.to_etcd);
    }
    there.format = args.to_format.clone().or(there.format);
    there.namespace = args.to_namespace.clone().or(there.namespace);
    Settings::resolve(&there)
}

// === Once ===

/// Puts all copies on one lease, which nobody keeps.
async fn once(
    mut copies: Copies,
    settings: &Settings,
    over_there: &Settings,
    stay: Duration,
    told: Told,
) -> Outcome {
    let here = Etcd::connect(settings).await?;
    let there = Etcd::connect(over_there).await?;
    let prefix = copies.prefix()?;
    let listing = here.list(prefix.as_ref().map(Prefix::as_str)).await?;
    let wishes: Vec<_> = listing
        .entries
        .iter()
        .flat_map(|raw| copies.of(&raw.entry))
        .collect();
    if wishes.is_empty() {
        return Err(
            Failure::new("there is nothing to copy").advice("`sdctl list` shows what there is")
        );
    }
    let seconds = i64::from(Ttl::new(stay)?.as_secs());
    let lease = there.client().lease_grant(seconds, None).await?.id();
    let mut has_copied = false;
    for wish in wishes {
        let service = match wish.service {
            Ok(service) => service,
            Err(why) => {
                told.tell("refused", &wish.from, None, Some(&why))?;
                continue;
            }
        };
        let key = service.key.under(&LeaseId::from(lease));
        let at = there.key(key.as_str());
        let put = TxnOp::put(
            at.clone(),
            service.value.to_vec(),
            Some(PutOptions::new().with_lease(lease)),
        );
        let is_free = Compare::create_revision(at, CompareOp::Equal, 0);
        match there
            .client()
            .txn(Txn::new().when([is_free]).and_then([put]))
            .await?
            .succeeded()
        {
            true => {
                has_copied = true;
                told.tell("copied", &wish.from, Some(&key), None)?;
            }
            false => told.tell(
                "left",
                &wish.from,
                Some(&key),
                Some("somebody else holds the key"),
            )?,
        }
    }
    if !has_copied {
        there.client().lease_revoke(lease).await?;
        return Err(Failure::new("nothing was copied"));
    }
    let Lease { granted, .. } = there
        .leases([lease])
        .await?
        .remove(&lease)
        .unwrap_or(Lease {
            granted: seconds,
            left: seconds,
        });
    if !told.is_json {
        output::line(&format!(
            "on the lease {}: they go after {granted}s, or with `etcdctl lease revoke {}`",
            shown_lease(lease),
            shown_lease(lease)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

// === Following ===

/// A copy that is kept.
struct Kept {
    registrar: Registrar,
    service: Service,
}

/// The copies that are kept over there.
struct Keeper {
    client: EtcdClient,
    told: Told,
    /// By the identity of what they are copies of.
    kept: BTreeMap<String, Kept>,
    /// What could not be copied because somebody else holds the key.
    waiting: BTreeMap<String, Service>,
}

async fn follow(copies: Copies, settings: &Settings, over_there: &Settings, told: Told) -> Outcome {
    let here = settings.client()?;
    let there = over_there.client()?;
    let keeper = Keeper {
        client: there.clone(),
        told,
        kept: BTreeMap::new(),
        waiting: BTreeMap::new(),
    };
    let follower = Follower::new(here.clone(), copies.watched_prefix()?);
    let outcome = tokio::select! {
        outcome = keeper.follow(follower, copies) => outcome,
        stopped = telling::told_to_stop() => stopped.map_err(Failure::from),
    };
    // Ends the leases of the copies, and so the copies.
    there.close().await;
    here.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Keeper {
    /// Keeps the copies, until something cannot go on.
    async fn follow(mut self, mut follower: Follower, mut copies: Copies) -> Outcome<()> {
        let mut known = BTreeMap::<Key, Vec<String>>::new();
        let mut again = interval(LOOK_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                step = follower.next() => step?,
                _ = again.tick() => {
                    self.try_again().await?;
                    continue;
                }
            };
            match step {
                Step::Listed { entries, .. } => {
                    let listed: BTreeSet<_> =
                        entries.iter().map(|entry| entry.key.clone()).collect();
                    let gone: Vec<_> = known
                        .keys()
                        .filter(|key| !listed.contains(*key))
                        .cloned()
                        .collect();
                    for key in gone {
                        self.keep(&mut known, key, Vec::new()).await?;
                    }
                    for entry in entries {
                        self.keep(&mut known, entry.key.clone(), copies.of(&entry))
                            .await?;
                    }
                }
                Step::Changed(changes) => {
                    for change in changes {
                        let wishes = match &change {
                            Change::Put(entry) => copies.of(entry),
                            _ => Vec::new(),
                        };
                        self.keep(&mut known, change.key().clone(), wishes).await?;
                    }
                }
                Step::Trouble(why) => eprintln!("etcd does not answer: {why}; the copies stay"),
                Step::Recovered => eprintln!("etcd answers again"),
            }
        }
    }

    /// An entry now asks for these copies, and for no others.
    async fn keep(
        &mut self,
        known: &mut BTreeMap<Key, Vec<String>>,
        entry: Key,
        wishes: Vec<Wish>,
    ) -> Outcome<()> {
        let before = known.remove(&entry).unwrap_or_default();
        let now: Vec<_> = wishes.iter().map(|wish| wish.from.clone()).collect();
        for gone in before.iter().filter(|from| !now.contains(from)) {
            self.remove(gone).await?;
        }
        for wish in wishes {
            match wish.service {
                Ok(service) => self.copy(wish.from, service).await?,
                Err(why) => {
                    self.remove(&wish.from).await?;
                    self.told.tell("refused", &wish.from, None, Some(&why))?;
                }
            }
        }
        if !now.is_empty() {
            known.insert(entry, now);
        }
        Ok(())
    }

    async fn copy(&mut self, from: String, service: Service) -> Outcome<()> {
        if let Some(kept) = self.kept.get_mut(&from) {
            if kept.service.key == service.key {
                if kept.service.value != service.value {
                    kept.registrar.update(service.value.clone()).await?;
                    self.told
                        .tell("updated", &from, service.key.fixed(), None)?;
                    kept.service = service;
                }
                return Ok(());
            }
            // Another key is another registration.
            self.remove(&from).await?;
        }
        if let Some(key) = service.key.fixed()
            && !self.is_free(key).await?
        {
            if self.waiting.insert(from.clone(), service.clone()).is_none() {
                self.told.tell(
                    "left",
                    &from,
                    Some(key),
                    Some("somebody else holds the key"),
                )?;
            }
            return Ok(());
        }
        self.waiting.remove(&from);
        let registrar = Registrar::builder(self.client.clone(), service.clone())
            .without_codec()
            .build();
        registrar.register().await?;
        self.told.tell("copied", &from, service.key.fixed(), None)?;
        self.kept.insert(from, Kept { registrar, service });
        Ok(())
    }

    /// Whether nobody holds a key. While etcd does not say, it is not free.
    async fn is_free(&self, key: &Key) -> Outcome<bool> {
        match self.client.get_entry(key).await {
            Ok(entry) => Ok(entry.is_none()),
            Err(error) if error.is_transient() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove(&mut self, from: &str) -> Outcome<()> {
        self.waiting.remove(from);
        if let Some(kept) = self.kept.remove(from) {
            kept.registrar.deregister().await?;
            self.told
                .tell("removed", from, kept.service.key.fixed(), None)?;
        }
        Ok(())
    }

    /// Copies what somebody else held, and no longer does. A copy whose key was taken waits by itself.
    async fn try_again(&mut self) -> Outcome<()> {
        for (from, service) in std::mem::take(&mut self.waiting) {
            let is_free = match service.key.fixed() {
                Some(key) => self.is_free(key).await?,
                None => true,
            };
            match is_free {
                true => self.copy(from, service).await?,
                false => drop(self.waiting.insert(from, service)),
            }
        }
        Ok(())
    }
}
