//! What entries mean in a format: which service they belong to, and which instances they are.

mod row;

pub(crate) use row::{Row, instance_table, shown_lease};

use crate::{
    etcd::{Etcd, Listing, RawEntry},
    failure::{Failure, Outcome},
};
use sd_core::{
    AddressPolicy, Codec, Decoded, Entry, ErrorChain, Escaped, Format, Instance, Prefix,
};
use std::{collections::BTreeMap, sync::Arc};

/// Reads entries of a format, of one service or of all.
pub(crate) struct Reader {
    format: Arc<dyn Format>,
    /// The one service that is read; all of the format if `None`.
    service: Option<String>,
    codecs: BTreeMap<String, Arc<dyn Codec>>,
    policy: AddressPolicy,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// The service that it belongs to.
    pub(crate) service: String,
    /// The instances, or why there are none.
    pub(crate) instances: Result<Vec<Instance>, String>,
    /// What of it was left out, and why.
    pub(crate) ignored: Option<String>,
}

impl Reader {
    /// Of one service, or of all.
    ///
    /// # Errors
    /// If no service of the format can have this name.
    pub(crate) fn new(format: &Arc<dyn Format>, service: Option<&str>) -> Outcome<Self> {
        if let Some(service) = service {
            format.prefix(service)?;
        }
        Ok(Self {
            format: format.clone(),
            service: service.map(str::to_owned),
            codecs: BTreeMap::new(),
            policy: AddressPolicy::default(),
        })
    }

    /// What the keys of all that is read begin with; `None` if nothing does.
    pub(crate) fn prefix(&self) -> Outcome<Option<Prefix>> {
        Ok(match &self.service {
            Some(service) => Some(self.format.prefix(service)?),
            None => self.format.root(),
        })
    }

    /// The same for a watch, which needs a beginning.
    pub(crate) fn watched_prefix(&self) -> Outcome<Prefix> {
        self.prefix()?.ok_or_else(|| {
            let name = self.format.name();
            Failure::new(format!(
                "the keys of the format {name} have no beginning in common"
            ))
            .advice(format!(
                "name a service, or where the services are: --format '{name}?root=PATH'"
            ))
        })
    }

    /// What `entry` is. `None` if it is of another service, or of none.
    pub(crate) fn read(&mut self, entry: &Entry) -> Option<Read> {
        let service = match &self.service {
            // Whatever the key says: consumers ask its codec alone.
            Some(service) => service.clone(),
            None => self.format.service_of(entry)?,
        };
        let codec = match self.codecs.get(&service) {
            Some(codec) => codec.clone(),
            None => {
                let codec = self.format.codec(&service).ok()?;
                self.codecs.insert(service.clone(), codec.clone());
                codec
            }
        };
        match codec.decode(entry) {
            Ok(decoded) if decoded.instances().is_empty() => None,
            Ok(decoded) => Some(self.checked(service, decoded, entry)),
            Err(error) => Some(Read {
                service,
                instances: Err(ErrorChain(&error).to_string()),
                ignored: None,
            }),
        }
    }

    /// What consumers leave out because nobody may call it cannot be read either.
    fn checked(&self, service: String, decoded: Decoded, entry: &Entry) -> Read {
        let ignored = decoded.ignored().map(|error| ErrorChain(error).to_string());
        let refused = decoded
            .instances()
            .iter()
            .find_map(|it| self.policy.check(it).err());
        let instances = match refused {
            Some(why) => Err(ErrorChain(&why).to_string()),
            None => Ok(decoded
                .into_iter()
                .map(|it| it.with_lease(entry.lease.clone()))
                .collect()),
        };
        Read {
            service,
            instances,
            ignored,
        }
    }

    /// Lists what there is, and what it means.
    pub(crate) async fn list(&mut self, etcd: &Etcd) -> Outcome<(Vec<(RawEntry, Read)>, Listing)> {
        let prefix = self.prefix()?;
        let mut listing = etcd.list(prefix.as_ref().map(Prefix::as_str)).await?;
        let entries = std::mem::take(&mut listing.entries);
        let read = entries.into_iter().filter_map(|raw| {
            let read = self.read(&raw.entry)?;
            Some((raw, read))
        });
        Ok((read.collect(), listing))
    }
}

/// The one instance that `target` means: a key, `KEY#PART`, or an address.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) raw: RawEntry,
    pub(crate) read: Read,
    /// The part of the entry, where that has several.
    pub(crate) part: Option<String>,
}

/// Finds the instance that an operator means.
///
/// # Errors
/// If there is none, or more than one.
pub(crate) async fn find(
    etcd: &Etcd,
    format: &Arc<dyn Format>,
    service: Option<&str>,
    target: &str,
) -> Outcome<Target> {
    let mut reader = Reader::new(format, service)?;
    let by_key = [(target, None)].into_iter();
    let by_part = target
        .rsplit_once('#')
        .map(|(key, part)| (key, Some(part.to_owned())));
    for (key, part) in by_key.chain(by_part) {
        if let (Some(raw), _) = etcd.entry(key).await?
            && let Some(read) = reader.read(&raw.entry)
        {
            return Ok(Target { raw, read, part });
        }
    }
    let (found, _) = reader.list(etcd).await?;
    let mut matches = Vec::new();
    for (raw, read) in found {
        for instance in read.instances.iter().flatten() {
            if is_at(instance, target) {
                let part = instance.part().map(str::to_owned);
                matches.push(Target {
                    raw: raw.clone(),
                    read: read.clone(),
                    part,
                });
            }
        }
    }
    match matches.len() {
        1 => Ok(matches.remove(0)),
        0 => Err(Failure::new(format!(
            "no instance has the key or the address {}",
            Escaped(target)
        ))
        .advice("`sdctl list SERVICE` shows keys and addresses; --format says how to read them")),
        several => {
            let keys = matches.iter().map(|it| {
                let part = it
                    .part
                    .as_ref()
                    .map_or(String::new(), |part| format!("#{part}"));
                format!(
                    "\n         {}",
                    Escaped(format!("{}{part}", it.raw.entry.key))
                )
            });
            let keys: String = keys.collect();
            Err(
                Failure::new(format!("{several} instances are at {}", Escaped(target)))
                    .advice(format!("name one of their keys, or its --service:{keys}")),
            )
        }
    }
}

/// Whether an instance is at an address, as it is written or as host and port.
fn is_at(instance: &Instance, address: &str) -> bool {
    let all = || std::iter::once(instance.address()).chain(instance.other_addresses());
    all().any(|own| {
        own == address
            || sd_core::Address::try_from(own).is_ok_and(|own| own.authority() == address)
    })
}
