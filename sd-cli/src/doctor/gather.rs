//! Asks etcd for what the findings are made of. Changes nothing but a lease of its own, which it revokes.

use super::facts::{Alarm, ClusterMember, EntryFacts, Facts, MemberFacts, Right, Status};
use crate::{
    etcd::{Etcd, RawEntry, is_denied},
    failure::{Failure, Outcome},
    instances::{Read, Reader},
    output::Progress,
    plain_http,
    settings::Settings,
};
use etcd_client::{
    AlarmAction, AlarmType, Client, Compare, CompareOp, Error, GetOptions, StatusResponse, Txn,
    TxnOp,
};
use futures::{StreamExt, future::join_all, stream};
use sd_core::{Address, Codec, Prefix};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// The TTL of the lease that is tried, in seconds.
const TRIED_TTL: i64 = 5;
/// After so long the leases that have little left are asked for again: a provider that lives has renewed them.
const AGAIN: Duration = Duration::from_millis(1200);
/// How long a provider may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
const CONNECTS_AT_ONCE: usize = 64;
/// The formats whose consumers in other languages list by the bare name.
const LISTS_BY_NAME: [&str; 2] = ["kratos", "lease-named"];
/// The key that is never written: whether it could be is asked.
const NEVER_WRITTEN: &str = "sdctl-doctor";

/// What to look at beside etcd.
#[derive(Debug)]
pub(crate) struct Options<'o> {
    /// This service only.
    pub(crate) service: Option<&'o str>,
    /// Whether providers are connected to.
    pub(crate) connects: bool,
}

/// Finds out what there is to know. What cannot be found out is a fact too, unless no member answers at all.
pub(crate) async fn gather(settings: &Settings, options: &Options<'_>) -> Outcome<Facts> {
    let mut facts = Facts {
        format: settings.format_text.clone(),
        sees_names_that_begin_alike: LISTS_BY_NAME.contains(&settings.format.name()),
        is_local: settings
            .endpoints
            .iter()
            .all(|endpoint| is_loopback(endpoint)),
        ..Facts::default()
    };
    let asked = settings
        .endpoints
        .iter()
        .map(|endpoint| ask(settings, endpoint, true));
    let mut etcd = None;
    for (member, connected) in join_all(asked).await {
        etcd = etcd.or(connected);
        facts.members.push(member);
    }
    let Some(etcd) = etcd else {
        return Ok(facts);
    };
    cluster(&mut facts, &etcd, settings).await;
    alarms(&mut facts, &etcd).await;
    facts.lease_test = Some(
        try_lease(etcd.client())
            .await
            .map_err(|failure| failure.message().to_owned()),
    );
    let listed = async {
        if rights(&mut facts, &etcd, settings).await? {
            fleet(&mut facts, &etcd, settings, options).await?;
        }
        Ok::<_, Failure>(())
    };
    let listed = listed.await;
    facts.unlisted = listed.err().map(|failure| failure.message().to_owned());
    Ok(facts)
}

fn is_loopback(endpoint: &str) -> bool {
    let host = Address::try_from(endpoint)
        .ok()
        .map(|address| address.host().to_owned());
    host.is_some_and(|host| {
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

/// What the member at an endpoint says of itself.
async fn ask(settings: &Settings, endpoint: &str, is_given: bool) -> (MemberFacts, Option<Etcd>) {
    let asked = async {
        let etcd = Etcd::connect_to(settings, endpoint).await?;
        let answer = match etcd.client().status().await {
            Ok(answer) => Some(answer),
            Err(error) if is_denied(&error) => None,
            Err(error) => return Err(error.into()),
        };
        Ok::<_, Failure>((etcd, answer))
    };
    let (status, etcd) = match asked.await {
        Ok((etcd, Some(answer))) => (Ok(Some(status(endpoint, &answer).await)), Some(etcd)),
        Ok((etcd, None)) => (Ok(None), Some(etcd)),
        Err(failure) => (Err(failure.message().to_owned()), None),
    };
    let endpoint = endpoint.to_owned();
    (
        MemberFacts {
            endpoint,
            is_given,
            status,
        },
        etcd,
    )
}

async fn status(endpoint: &str, answer: &StatusResponse) -> Status {
    let header = answer.header();
    let quota = match answer.db_size_quota() {
        // Before 3.6 only a counter tells it.
        0 => quota(endpoint).await,
        quota => Some(quota),
    };
    Status {
        id: header.map_or(0, |header| header.member_id()),
        cluster: header.map_or(0, |header| header.cluster_id()),
        version: answer.version().to_owned(),
        leader: answer.leader(),
        applied: answer.raft_applied_index(),
        is_learner: answer.is_learner(),
        size: answer.db_size(),
        in_use: answer.raft_used_db_size(),
        quota,
        errors: answer.errors().to_vec(),
    }
}

/// From the counters, which are served beside the API. Not with TLS: a certificate may be asked for.
async fn quota(endpoint: &str) -> Option<i64> {
    let address = endpoint.strip_prefix("http://")?.trim_end_matches('/');
    let answer = timeout(CONNECT, plain_http::get(address, "/metrics"))
        .await
        .ok()?;
    let text = String::from_utf8(answer.ok()?.1.to_vec()).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("etcd_server_quota_backend_bytes "))?;
    let bytes: f64 = line.trim().parse().ok()?;
    Some(bytes as i64)
}

/// The members that the cluster has. Those that nobody has asked yet are asked where they say that they are.
async fn cluster(facts: &mut Facts, etcd: &Etcd, settings: &Settings) {
    let Ok(answer) = etcd.client().member_list().await else {
        return;
    };
    let members = answer.members().iter().map(|member| ClusterMember {
        id: member.id(),
        name: member.name().to_owned(),
        urls: member.client_urls().to_vec(),
        is_learner: member.is_learner(),
    });
    let members: Vec<_> = members.collect();
    let answers = facts.members.iter().map(|member| &member.status);
    if answers.clone().any(|answer| matches!(answer, Ok(None))) {
        // It is not known which of them has answered.
        return;
    }
    let answered = answers.filter_map(|answer| answer.as_ref().ok()?.as_ref());
    let known: BTreeSet<_> = answered.map(|status| status.id).collect();
    let asked: BTreeSet<_> = facts
        .members
        .iter()
        .map(|member| member.endpoint.clone())
        .collect();
    let others = members.iter().filter(|member| !known.contains(&member.id));
    let urls = others
        .flat_map(|member| &member.urls)
        .filter(|url| !asked.contains(*url));
    let others = join_all(urls.map(|url| ask(settings, url, false))).await;
    facts
        .members
        .extend(others.into_iter().map(|(member, _)| member));
    facts.cluster = Some(members);
}

async fn alarms(facts: &mut Facts, etcd: &Etcd) {
    match etcd
        .client()
        .alarm(AlarmAction::Get, AlarmType::None, None)
        .await
    {
        Ok(answer) => {
            let alarms = answer.alarms().iter().filter_map(|raised| {
                let alarm = match raised.alarm() {
                    AlarmType::Nospace => Alarm::NoSpace,
                    AlarmType::Corrupt => Alarm::Corrupt,
                    AlarmType::None => return None,
                };
                Some((raised.member_id(), alarm))
            });
            facts.alarms = alarms.collect();
        }
        Err(error) => facts.alarms_denied = Some(Failure::from(error).message().to_owned()),
    }
}

/// Grants a lease, renews it, reads it and revokes it. Goes by no clock: what etcd answers is compared.
async fn try_lease(mut client: Client) -> Outcome<()> {
    let expect = |is_so: bool, what: &str| match is_so {
        true => Ok(()),
        false => Err(Failure::new(what)),
    };
    let lease = client.lease_grant(TRIED_TTL, None).await?;
    let (id, granted) = (lease.id(), lease.ttl());
    let tried = async {
        expect(
            granted >= TRIED_TTL,
            "it was granted for less time than was asked for",
        )?;
        let (mut keeper, mut answers) = client.lease_keep_alive(id).await?;
        keeper.keep_alive().await?;
        let renewed = answers.message().await?.map_or(0, |answer| answer.ttl());
        expect(renewed == granted, "it was not renewed")?;
        let left = client.lease_time_to_live(id, None).await?.ttl();
        expect(
            (0..=granted).contains(&left),
            "it has more time left than it was granted for, or none",
        )
    };
    let tried = tried.await;
    // Whatever came of it, nothing stays.
    client.lease_revoke(id).await?;
    tried?;
    let left = client.lease_time_to_live(id, None).await?.ttl();
    expect(left < 0, "it is there after it was revoked")
}

/// Whether this user may read and write where the services are. Returns whether he may read.
async fn rights(facts: &mut Facts, etcd: &Etcd, settings: &Settings) -> Outcome<bool> {
    let root = settings.format.root();
    let root = root.as_ref().map_or("", Prefix::as_str);
    let below = String::from_utf8_lossy(&etcd.key(root)).into_owned();
    let mut client = etcd.client();
    let start = match below.is_empty() {
        true => b"\0".to_vec(),
        false => below.clone().into_bytes(),
    };
    let options = GetOptions::new()
        .with_range(crate::etcd::end_of(below.as_bytes()))
        .with_count_only();
    let read = denied(client.get(start, Some(options)).await)?;
    // Rights are checked for all that a transaction might do, done or not. This one never does it: no version is negative.
    let key = etcd.key(&format!("{root}{NEVER_WRITTEN}"));
    let never = Compare::version(key.clone(), CompareOp::Less, 0);
    let put = Txn::new()
        .when([never])
        .and_then([TxnOp::put(key, "", None)]);
    let written = match client.txn(put).await {
        // Without room it is not known, and told by the alarm.
        Err(Error::GRpcStatus(status)) if status.code() == tonic::Code::ResourceExhausted => None,
        answer => denied(answer)?,
    };
    let may_read = read.is_none();
    facts.rights = vec![
        Right {
            what: "read",
            below: below.clone(),
            denied: read,
        },
        Right {
            what: "write",
            below,
            denied: written,
        },
    ];
    Ok(may_read)
}

/// Why it was denied, if that is what went wrong.
fn denied<T>(answer: Result<T, Error>) -> Outcome<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(Error::GRpcStatus(status))
            if status.code() == tonic::Code::PermissionDenied
                || status.message().contains("user name is empty") =>
        {
            Ok(Some(status.message().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn fleet(
    facts: &mut Facts,
    etcd: &Etcd,
    settings: &Settings,
    options: &Options<'_>,
) -> Outcome<()> {
    let (found, listing) = Reader::new(&settings.format, options.service)?
        .list(etcd)
        .await?;
    facts.unreadable_keys = listing.unreadable_keys;
    facts.leases = etcd.leases(found.iter().map(|(raw, _)| raw.lease)).await?;
    let has_little_left = |facts: &Facts| -> BTreeSet<i64> {
        let low = facts
            .leases
            .iter()
            .filter(|(_, lease)| lease.left * 3 < lease.granted || !lease.is_alive());
        low.map(|(id, _)| *id).collect()
    };
    let low = has_little_left(facts);
    if !low.is_empty() {
        sleep(AGAIN).await;
        facts.leases.extend(etcd.leases(low.iter().copied()).await?);
        let still = has_little_left(facts);
        facts.ending = low.intersection(&still).copied().collect();
    }
    let formats = other_formats(settings);
    let entries = found.into_iter().map(|(raw, read)| EntryFacts {
        other_formats: readers(&formats, &raw, &read),
        raw,
        read,
    });
    facts.entries = entries.collect();
    if options.connects {
        facts.unreachable = unreachable(&facts.entries).await;
    }
    Ok(())
}

type Formats = Vec<Arc<dyn sd_core::Format>>;

fn other_formats(settings: &Settings) -> Formats {
    let mut formats = sd_formats::all();
    formats.retain(|format| format.name() != settings.format.name());
    formats
}

/// The formats that would read a value that this one does not.
fn readers(formats: &Formats, raw: &RawEntry, read: &Read) -> Vec<String> {
    if read.instances.is_ok() {
        return Vec::new();
    }
    let reads = |codec: &dyn Codec| {
        codec
            .decode(&raw.entry)
            .is_ok_and(|it| !it.instances().is_empty())
    };
    let readers = formats.iter().filter(|format| {
        let codec = format.codec(&read.service);
        codec.is_ok_and(|codec| reads(&*codec))
    });
    readers.map(|format| format.name().to_owned()).collect()
}

/// The addresses that accept no connection.
async fn unreachable(entries: &[EntryFacts]) -> BTreeMap<String, String> {
    let instances = entries
        .iter()
        .flat_map(|entry| entry.read.instances.iter().flatten());
    let addresses: BTreeSet<_> = instances.map(|it| it.address().to_owned()).collect();
    let mut progress = Progress::new("addresses connected to");
    let tried = stream::iter(addresses).map(|address| async move {
        let why = match Address::try_from(&*address) {
            Err(why) => Some(why.to_string()),
            Ok(to) => match timeout(CONNECT, TcpStream::connect((to.host(), to.port()))).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {CONNECT:?}")),
            },
        };
        (address, why)
    });
    let mut tried = tried.buffer_unordered(CONNECTS_AT_ONCE);
    let (mut unreachable, mut done) = (BTreeMap::new(), 0);
    while let Some((address, why)) = tried.next().await {
        done += 1;
        progress.at(done);
        unreachable.extend(why.map(|why| (address, why)));
    }
    unreachable
}
