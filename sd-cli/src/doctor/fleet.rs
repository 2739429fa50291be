//! Findings about the services and their instances.

use super::{
    facts::{EntryFacts, Facts},
    finding::{Finding, Severity},
};
use crate::instances::shown_lease;
use sd_core::{Address, Escaped, Instance, Status};
use std::{collections::BTreeMap, net::IpAddr};

/// So many findings of one kind are told one by one; of more, how many there are.
const MOST: usize = 20;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let kinds = [
        unreadable(facts),
        ignored(facts),
        unreadable_keys(facts),
        without_lease(facts),
        leases(facts),
        duplicates(facts),
        loopback(facts),
        unreachable(facts),
        names(facts),
        nobody_serves(facts),
    ];
    kinds.into_iter().flat_map(abridged).collect()
}

fn abridged(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MOST);
    findings.truncate(MOST);
    if more > 0
        && let Some(last) = findings.last()
    {
        let mut rest = last.clone();
        rest.subject = format!("{more} more");
        rest.message = "the same of others".to_owned();
        findings.push(rest);
    }
    findings
}

fn key(entry: &EntryFacts) -> String {
    Escaped(&entry.raw.entry.key).to_string()
}

fn instances(facts: &Facts) -> impl Iterator<Item = (&EntryFacts, &Instance)> {
    let entries = facts.entries.iter();
    entries.flat_map(|entry| {
        entry
            .read
            .instances
            .iter()
            .flatten()
            .map(move |it| (entry, it))
    })
}

fn unreadable(facts: &Facts) -> Vec<Finding> {
    let unreadable = facts.entries.iter().filter_map(|entry| {
        let why = entry.read.instances.as_ref().err()?;
        let advice = match &*entry.other_formats {
            [] => "no format reads it: mend or remove what writes it".to_owned(),
            others => format!(
                "it can be read as {}: give that as --format, or have its provider use {}",
                others.join(" or "),
                facts.format
            ),
        };
        Some(Finding::new(
            Severity::Warning,
            "unreadable",
            key(entry),
            format!("consumers leave it out: {why}"),
            advice,
        ))
    });
    unreadable.collect()
}

fn ignored(facts: &Facts) -> Vec<Finding> {
    let ignored = facts.entries.iter().filter_map(|entry| {
        let why = entry.read.ignored.as_ref()?;
        Some(Finding::new(
            Severity::Warning,
            "ignored",
            key(entry),
            format!("consumers read it in part: {why}"),
            "mend what writes it",
        ))
    });
    ignored.collect()
}

fn unreadable_keys(facts: &Facts) -> Vec<Finding> {
    let some = (facts.unreadable_keys > 0).then(|| {
        Finding::new(
            Severity::Warning,
            "unreadable",
            "keys",
            format!(
                "{} keys are no text: consumers leave them out",
                facts.unreadable_keys
            ),
            "find who writes them: `etcdctl get --prefix --keys-only`",
        )
    });
    some.into_iter().collect()
}

fn without_lease(facts: &Facts) -> Vec<Finding> {
    let without = facts.entries.iter().filter(|entry| entry.raw.lease == 0);
    let findings = without.map(|entry| {
        Finding::new(
            Severity::Warning,
            "no-lease",
            key(entry),
            "it has no lease: it stays when its provider ends or crashes",
            "have its provider register with a lease; if it is gone, `sdctl deregister` the entry",
        )
    });
    findings.collect()
}

fn leases(facts: &Facts) -> Vec<Finding> {
    let ending = facts
        .entries
        .iter()
        .filter(|entry| facts.ending.contains(&entry.raw.lease));
    let findings = ending.map(|entry| {
        let lease = facts.leases.get(&entry.raw.lease);
        let left = lease.map_or(String::new(), |it| format!(": {}s of {}s are left", it.left, it.granted));
        Finding::new(
            Severity::Warning,
            "lease-ending",
            key(entry),
            format!("nobody renews its lease {}{left}", shown_lease(entry.raw.lease)),
            "its provider has crashed, hangs or cannot reach etcd: the entry goes when the lease ends",
        )
    });
    findings.collect()
}

fn duplicates(facts: &Facts) -> Vec<Finding> {
    let mut by_address = BTreeMap::<(&str, &str), Vec<String>>::new();
    for (entry, instance) in instances(facts) {
        let at = by_address
            .entry((&entry.read.service, instance.address()))
            .or_default();
        at.push(key(entry));
    }
    let several = by_address.into_iter().filter(|(_, keys)| keys.len() > 1);
    let findings = several.map(|((service, address), keys)| {
        Finding::new(
            Severity::Warning,
            "duplicate",
            format!("{} {}", Escaped(service), Escaped(address)),
            format!("several entries have this address: {}", keys.join(", ")),
            "one is left from before a restart, or two providers share a port: whose weight and status count is chance",
        )
    });
    findings.collect()
}

/// Loopback addresses in a registry that other hosts use: each consumer would call itself.
fn loopback(facts: &Facts) -> Vec<Finding> {
    let host = |instance: &Instance| -> Option<IpAddr> {
        let address = Address::try_from(instance.address()).ok()?;
        address.host().parse().ok()
    };
    let is_loopback = |instance: &Instance| {
        host(instance).is_some_and(|ip| ip.is_loopback())
            || Address::try_from(instance.address())
                .is_ok_and(|address| address.host() == "localhost")
    };
    // Where all is on one host, nothing is wrong with them.
    let is_one_host = facts.is_local && instances(facts).all(|(_, instance)| is_loopback(instance));
    if is_one_host {
        return Vec::new();
    }
    let such = instances(facts).filter(|(_, instance)| is_loopback(instance));
    let findings = such.map(|(entry, instance)| {
        Finding::new(
            Severity::Warning,
            "uncallable",
            key(entry),
            format!("{} is a loopback address: a consumer on another host would call itself", Escaped(instance.address())),
            "have its provider register the address under which others reach it (`Advertise`, `sdctl run --host`)",
        )
    });
    findings.collect()
}

fn unreachable(facts: &Facts) -> Vec<Finding> {
    let findings = instances(facts).filter_map(|(entry, instance)| {
        let why = facts.unreachable.get(instance.address())?;
        Some(Finding::new(
            Severity::Warning,
            "unreachable",
            key(entry),
            format!(
                "nobody accepts connections at {}: {why}",
                Escaped(instance.address())
            ),
            "the provider hangs, or a firewall is between here and there",
        ))
    });
    findings.collect()
}

/// `hello` and `hello-admin`: whoever lists by the bare name sees both.
fn names(facts: &Facts) -> Vec<Finding> {
    let mut names: Vec<_> = facts
        .entries
        .iter()
        .map(|entry| &*entry.read.service)
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut findings = Vec::new();
    for (index, name) in names.iter().enumerate() {
        // They are sorted, so what begins with a name follows it.
        let longer = names[index + 1..]
            .iter()
            .take_while(|other| other.starts_with(name));
        let longer: Vec<_> = longer.map(|name| Escaped(name).to_string()).collect();
        if longer.is_empty() {
            continue;
        }
        let (severity, advice) = match facts.sees_names_that_begin_alike {
            true => (
                Severity::Warning,
                "consumers of this format that are no part of the toolkit list by the bare name, and see those too: give them names that do not begin alike",
            ),
            false => (
                Severity::Note,
                "the toolkit tells them apart; a role or a tool that goes by the bare name (etcdctl get --prefix) does not",
            ),
        };
        findings.push(Finding::new(
            severity,
            "names",
            Escaped(name).to_string(),
            format!("other names begin with this one: {}", longer.join(", ")),
            advice,
        ));
    }
    findings
}

fn nobody_serves(facts: &Facts) -> Vec<Finding> {
    let mut serving = BTreeMap::<&str, bool>::new();
    for entry in &facts.entries {
        let serves = entry
            .read
            .instances
            .iter()
            .flatten()
            .any(|it| it.status() == Status::Serving);
        *serving.entry(&entry.read.service).or_default() |= serves;
    }
    let none = serving.into_iter().filter(|(_, serves)| !serves);
    let findings = none.map(|(service, _)| {
        Finding::new(
            Severity::Warning,
            "nobody-serves",
            Escaped(service).to_string(),
            "it has entries, and none is of an instance that serves: calls fail",
            "`sdctl undrain` one, or start another",
        )
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{etcd::RawEntry, instances::Read};
    use sd_core::{Entry, Key};

    fn entry(service: &str, name: &str, address: &str) -> EntryFacts {
        let key = Key::new(format!("/services/{service}/{name}")).unwrap();
        let instance = Instance::new(key.clone(), address);
        let entry = Entry::new(key, address.to_owned());
        EntryFacts {
            raw: RawEntry {
                entry,
                created: 1,
                modified: 1,
                puts: 1,
                lease: 7,
            },
            read: Read {
                service: service.into(),
                instances: Ok(vec![instance]),
                ignored: None,
            },
            other_formats: Vec::new(),
        }
    }

    fn told(entries: Vec<EntryFacts>) -> Vec<&'static str> {
        let facts = Facts {
            entries,
            ..Facts::default()
        };
        findings(&facts)
            .into_iter()
            .map(|finding| finding.check)
            .collect()
    }

    #[test]
    fn nothing_is_said_of_a_healthy_fleet() {
        let fleet = vec![
            entry("hello", "a", "10.0.0.1:80"),
            entry("hello", "b", "10.0.0.2:80"),
            entry("other", "a", "10.0.0.1:80"),
        ];
        assert_eq!(told(fleet), [""; 0]);
    }

    #[test]
    fn each_fault_of_a_fleet_is_found() {
        let healthy = || entry("hello", "a", "10.0.0.1:80");
        assert_eq!(
            told(vec![healthy(), entry("hello", "b", "10.0.0.1:80")]),
            ["duplicate"]
        );
        assert_eq!(
            told(vec![healthy(), entry("hello-admin", "b", "10.0.0.2:80")]),
            ["names"]
        );
        assert_eq!(
            told(vec![healthy(), entry("hello", "b", "127.0.0.1:80")]),
            ["uncallable"]
        );
        assert_eq!(
            told(vec![healthy(), entry("hello", "b", "localhost:80")]),
            ["uncallable"]
        );
        let mut without = entry("hello", "b", "10.0.0.2:80");
        without.raw.lease = 0;
        assert_eq!(told(vec![healthy(), without]), ["no-lease"]);
        let mut unreadable = entry("hello", "b", "10.0.0.2:80");
        unreadable.read.instances = Err("empty".into());
        assert_eq!(told(vec![healthy(), unreadable]), ["unreadable"]);
        let mut draining = healthy();
        let instances = draining.read.instances.unwrap();
        let instances = instances
            .into_iter()
            .map(|it| it.with_status(Status::Draining));
        draining.read.instances = Ok(instances.collect());
        assert_eq!(told(vec![draining]), ["nobody-serves"]);
    }

    #[test]
    fn many_of_a_kind_are_not_told_one_by_one() {
        let fleet = (0..100).map(|n| {
            let mut entry = entry("hello", &n.to_string(), &format!("10.0.0.1:{}", n + 1));
            entry.raw.lease = 0;
            entry
        });
        let facts = Facts {
            entries: fleet.collect(),
            ..Facts::default()
        };
        let findings = findings(&facts);
        assert_eq!(findings.len(), MOST + 1);
        assert_eq!(findings[MOST].subject, "80 more");
    }
}
