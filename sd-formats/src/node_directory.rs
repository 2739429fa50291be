//! A directory of nodes.

use crate::{
    address::{self, no_address},
    edited::edited,
    go_json::{self, GoObject},
    ignored::Ignored,
    names,
    says::{self, Attribute},
};
use sd_core::{
    Address, Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Format, Instance, Invalid,
    OneLevel, Prefix, Service, Ttl,
};
use serde::Serialize;
use std::sync::Arc;

const SAYS: &[Attribute] = &[Attribute::Id];

/// A layout that many fleets have: `{"Addr":"10.0.0.1:7000","Name":"chat","UniqueId":"c1"}` under
/// `discovery/NAME/instance_id/ID`.
///
/// Only `Addr` is needed. An entry with another `Name` is no instance of the service.
///
/// ```
/// use sd_core::{Advert, Format};
/// use sd_formats::NodeDirectory;
///
/// let advert = Advert::new("10.0.0.1:7000").id("c1");
/// let service = NodeDirectory::default().service("chat", &advert)?;
/// assert_eq!(service.key.to_string(), "discovery/chat/instance_id/c1");
/// assert_eq!(service.value, r#"{"Addr":"10.0.0.1:7000","Name":"chat","UniqueId":"c1"}"#);
/// # Ok::<(), sd_core::CodecError>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` or a URL |
/// | other addresses | no |
/// | a weight | no |
/// | a weight of 0 | no |
/// | a zone | no |
/// | draining | no |
/// | an id | yes; host and port if none is said |
/// | a version | no |
/// | metadata | no |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no |
/// | time to live | 15 s, the toolkit's own |
#[derive(Debug, Clone)]
pub struct NodeDirectory {
    root: Prefix,
}

impl NodeDirectory {
    /// All services are below `root` instead of `discovery`.
    #[must_use]
    pub fn under(mut self, root: Prefix) -> Self {
        self.root = root;
        self
    }
}

impl Default for NodeDirectory {
    fn default() -> Self {
        Self {
            root: Prefix::new("discovery").expect("it is not empty"),
        }
    }
}

impl Format for NodeDirectory {
    fn name(&self) -> &str {
        "nodes"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        names::below(Some(&self.root), service)?.child("instance_id")
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(OneLevel::below(prefix, NodeCodec::of(service))))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let address = Address::try_from(advert.main_address()).map_err(no_address)?;
        let key = names::key(&prefix, advert.said_id().unwrap_or(address.authority()))?;
        let instance = advert.to_instance(key.clone());
        let value = NodeCodec::of(service).encode(&instance)?;
        names::service(key, value, advert, Ttl::DEFAULT.as_secs().into())
    }

    fn root(&self) -> Option<Prefix> {
        Some(self.root.clone())
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        let (service, id) = self.root.strip(&entry.key)?.split_once('/')?;
        let id = id.strip_prefix("instance_id/")?;
        let is_instance = !id.is_empty() && !id.contains('/');
        (is_instance && self.prefix(service).is_ok()).then(|| service.to_owned())
    }
}

#[derive(Debug)]
struct NodeCodec {
    service: Box<str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node<'a> {
    addr: &'a str,
    name: &'a str,
    unique_id: &'a str,
}

impl NodeCodec {
    fn of(service: &str) -> Self {
        Self {
            service: service.into(),
        }
    }
}

impl Codec for NodeCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let value = GoObject::parse(&entry.value)?;
        let mut ignored = Ignored::default();
        if value
            .text("Name", &mut ignored)
            .is_some_and(|name| *name != *self.service)
        {
            return Ok(Decoded::NOT_MINE);
        }
        let text = value.required("Addr")?;
        let address = address::read(&text, &mut Ignored::default())?;
        let mut instance = Instance::new(entry.key.clone(), address);
        if let Some(id) = value.text("UniqueId", &mut ignored) {
            instance = instance.with_id(id);
        }
        Ok(ignored.of(instance))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, SAYS)?;
        let address = Address::try_from(instance.address()).map_err(no_address)?;
        go_json::written(&Node {
            addr: instance.address(),
            name: &self.service,
            unique_id: instance.id().unwrap_or(address.authority()),
        })
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        let unsayable = || Err(CodecError::cannot_say("anything that changes"));
        edited(self, entry, edit, unsayable)
    }
}
