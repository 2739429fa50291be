//! Follows services: with instancers, or with a list and a watch.

use super::{Failure, nanos, say, say_usage, told};
use crate::{
    clock::now,
    etcd::entries::{self, mark, mark_key, prefix},
};
use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions};
use futures::{StreamExt, future::try_join_all};
use sd_core::{Events, Instancer, Prefix, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How many of what there are in the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Each follows all services.
    pub(super) clients: usize,
    pub(super) services: usize,
    /// Of each instancer.
    pub(super) subscribers: usize,
    /// Each client also registers an instance of another service.
    pub(super) registers: bool,
}

/// When a follower saw a mark.
type Seen = (u32, Duration);

pub(super) async fn toolkit(etcd: &str, shape: Shape) -> Result<(), Failure> {
    say_usage("started", Duration::ZERO)?;
    let begun = Instant::now();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let (mut instancers, mut registrars) = (Vec::new(), Vec::new());
    for number in 0..shape.clients {
        let client = EtcdClient::connect([etcd])?;
        for service in 0..shape.services {
            let instancer = Instancer::new(client.clone(), Prefix::new(prefix(service))?);
            instancers.push((service, Arc::new(instancer)));
        }
        if shape.registers {
            let service = Service::new(format!("/others/{number}"), entries::value(number, 0))?;
            registrars.push(Registrar::new(
                client,
                service.with_ttl(Ttl::from_secs(10)?),
            ));
        }
    }
    try_join_all(instancers.iter().map(|(_, instancer)| instancer.ready())).await?;
    for (service, instancer) in &instancers {
        let key: Arc<str> = mark_key(*service).into();
        for _ in 0..shape.subscribers {
            tokio::spawn(subscriber(
                instancer.subscribe(),
                key.clone(),
                sender.clone(),
            ));
        }
    }
    try_join_all(registrars.iter().map(Registrar::register)).await?;
    say_usage("ready", begun.elapsed())?;

    let followers = instancers.len() * shape.subscribers;
    let mut told = told();
    // How many have seen each mark.
    let mut counts = BTreeMap::<u32, usize>::new();
    loop {
        tokio::select! {
            told = told.recv() => match told {
                Some(_) => say_usage("usage", Duration::ZERO)?,
                None => return Ok(()),
            },
            Some((mark, at)) = seen.recv() => {
                let count = counts.entry(mark).or_default();
                *count += 1;
                if *count == followers {
                    counts.clear();
                    say("seen", [("mark", mark.into()), ("at_nanos", nanos(at))])?;
                }
            }
        }
    }
}

async fn subscriber(mut events: Events, key: Arc<str>, seen: mpsc::UnboundedSender<Seen>) {
    let mut last = None;
    while let Some(event) = events.next().await {
        let mark = event.instances().get(&*key).map(|it| it.weight() - 1);
        if let Some(mark) = mark.filter(|mark| last != Some(*mark)) {
            last = Some(mark);
            if seen.send((mark, now())).is_err() {
                return;
            }
        }
    }
}

/// All entries of the first service, kept as `etcd-client` gives them.
pub(super) async fn floor(etcd: &str) -> Result<(), Failure> {
    /// As of the toolkit.
    const PAGE: i64 = 1000;
    say_usage("started", Duration::ZERO)?;
    let begun = Instant::now();
    let mut client = Client::connect([etcd], None).await?;
    let (first, end) = (prefix(0), prefix(0).replace("000/", "0000"));
    let mut entries = HashMap::<Vec<u8>, KeyValue>::new();
    let (mut from, mut revision) = (first.clone().into_bytes(), 0);
    loop {
        let options = GetOptions::new().with_range(end.as_str());
        let options = options.with_limit(PAGE).with_revision(revision);
        let mut page = client.get(from.clone(), Some(options)).await?;
        if revision == 0 {
            revision = page.header().map_or(0, |header| header.revision());
        }
        let kvs = page.take_kvs();
        if let Some(last) = kvs.last() {
            from = last.key().to_vec();
            from.push(0);
        }
        entries.extend(kvs.into_iter().map(|entry| (entry.key().to_vec(), entry)));
        if !page.more() {
            break;
        }
    }
    let options = WatchOptions::new().with_prefix();
    let options = options.with_start_revision(revision + 1);
    let mut watch = client.watch(first, Some(options)).await?;
    say_usage("ready", begun.elapsed())?;

    let (mut told, key) = (told(), mark_key(0).into_bytes());
    loop {
        tokio::select! {
            told = told.recv() => match told {
                Some(_) => say_usage("usage", Duration::ZERO)?,
                None => return Ok(()),
            },
            response = watch.message() => {
                let response = response?.ok_or("the watch has ended")?;
                for event in response.0.events {
                    let Some(entry) = event.kv.map(KeyValue) else {
                        continue;
                    };
                    if entry.key() == key && let Some(mark) = mark(entry.value()) {
                        say("seen", [("mark", mark.into()), ("at_nanos", nanos(now()))])?;
                    }
                    if event.r#type == EventType::Put as i32 {
                        entries.insert(entry.key().to_vec(), entry);
                    } else {
                        entries.remove(entry.key());
                    }
                }
            }
        }
    }
}
