//! The naming of etcd's client for grpc-go.

use crate::{
    address,
    edited::edited,
    go_json::{self, GoObject},
    ignored::Ignored,
    metadata::{Metadata, Written, unless_empty},
    names,
    says::{self, Attribute},
};
use sd_core::{
    Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Format, Instance, Invalid, OneLevel,
    Prefix, Service,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

const TTL: u64 = 10;
const METADATA: Metadata = Metadata {
    has_weight: true,
    has_json: true,
};
const SAYS: &[Attribute] = &[
    Attribute::Weight,
    Attribute::ZeroWeight,
    Attribute::Zone,
    Attribute::Metadata,
    Attribute::JsonMetadata,
];

/// The format of [etcd's naming for grpc-go](https://pkg.go.dev/go.etcd.io/etcd/client/v3/naming):
/// `{"Op":0,"Addr":"10.0.0.1:8080","Metadata":null}` under `NAME/ADDRESS`, where the name is the target.
///
/// Consumers take what is in `Addr` for an address, and `{}` for the address of no text. etcd's resolver uses the
/// address alone; who follows the endpoints without it sees the metadata too.
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` |
/// | other addresses | no |
/// | a weight | yes: the number `weight` in the metadata. A convention; grpc-go reads none |
/// | a weight of 0 | yes |
/// | a zone | yes: `zone` in the metadata. A convention |
/// | draining | no |
/// | an id | no |
/// | a version | no |
/// | metadata | yes |
/// | metadata that is no text | yes |
/// | several instances in an entry | no |
/// | a service called `a/b` | no: consumers of `a` would see it. A path before the name is given by [`under`](Self::under) |
/// | time to live | 10 s; the library leaves it to each program |
#[derive(Debug, Clone, Default)]
pub struct GrpcGo {
    root: Option<Prefix>,
    has_every_depth: bool,
}

impl GrpcGo {
    /// All services are below `root`: the target is `root` and the name.
    ///
    /// ```
    /// use sd_core::{Advert, Format, Prefix};
    /// use sd_formats::GrpcGo;
    ///
    /// let format = GrpcGo::default().under(Prefix::new("services/prod")?);
    /// let service = format.service("hello", &Advert::new("10.0.0.1:8080"))?;
    /// assert_eq!(service.key.to_string(), "services/prod/hello/10.0.0.1:8080");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn under(mut self, root: Prefix) -> Self {
        self.root = Some(root);
        self
    }

    /// Reads entries at every depth below the name, as grpc-go does, and not just the first level. For fleets whose
    /// keys are as `NAME/ZONE/ADDRESS`.
    #[must_use]
    pub fn every_depth(mut self) -> Self {
        self.has_every_depth = true;
        self
    }
}

impl Format for GrpcGo {
    fn name(&self) -> &str {
        "grpc"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        names::below(self.root.as_ref(), service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(match self.has_every_depth {
            true => Arc::new(GrpcGoCodec),
            false => Arc::new(OneLevel::below(prefix, GrpcGoCodec)),
        })
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let key = self.prefix(service)?.key(advert.main_address())?;
        let value = GrpcGoCodec.encode(&advert.to_instance(key.clone()))?;
        names::service(key, value, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        self.root.clone()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        names::of_every_depth(self.root.as_ref(), entry, self.has_every_depth)
    }
}

#[derive(Debug)]
struct GrpcGoCodec;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Update<'a> {
    op: u8,
    addr: &'a str,
    metadata: Option<BTreeMap<&'a str, Written<'a>>>,
}

impl Codec for GrpcGoCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let value = GoObject::parse(&entry.value)?;
        let mut ignored = Ignored::default();
        let addr = value.required("Addr")?;
        let instance = Instance::new(entry.key.clone(), address::read(&addr, &mut ignored)?);
        // Whatever it says, an entry that is there is added.
        if value.get("Op").is_some_and(|op| op.parse::<u8>().is_err()) {
            ignored.note("Op", "it is no number from 0 to 255");
        }
        let metadata = value.get("Metadata");
        let instance = METADATA.read(instance, "Metadata", metadata, &mut ignored);
        Ok(ignored.of(instance))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, SAYS)?;
        address::host_and_port(instance.address())?;
        go_json::written(&Update {
            op: 0,
            addr: instance.address(),
            metadata: unless_empty(METADATA.written(instance)?),
        })
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        edited(self, entry, edit, || {
            let mut value = GoObject::parse(&entry.value)?;
            let metadata = value.get("Metadata").map(str::to_owned);
            if let Some(metadata) = METADATA.edited(metadata.as_deref(), edit)? {
                value.set("Metadata", &metadata)?;
            }
            Ok(entry.clone().with_value(value.to_value()?))
        })
    }
}
