//! Values of Kitex and Hertz, which are the same.

use crate::{
    address,
    edited::edited,
    go_json::{self, GoObject},
    ignored::Ignored,
    metadata::{Metadata, Written, unless_empty},
    says::{self, Attribute},
};
use sd_core::{Bytes, Codec, CodecError, Decoded, Edit, Entry, Instance};
use serde::Serialize;
use std::collections::BTreeMap;

/// What providers write and consumers take for the weight of an instance without one.
const DEFAULT_WEIGHT: u32 = 10;
const TAGS: Metadata = Metadata {
    has_weight: false,
    has_json: false,
};
const SAYS: &[Attribute] = &[Attribute::Weight, Attribute::Zone, Attribute::Metadata];

#[derive(Debug)]
pub(crate) struct CloudWeGoCodec;

#[derive(Serialize)]
struct InstanceInfo<'a> {
    network: &'a str,
    address: &'a str,
    weight: u32,
    tags: Option<BTreeMap<&'a str, Written<'a>>>,
}

impl Codec for CloudWeGoCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let value = GoObject::parse(&entry.value)?;
        let mut ignored = Ignored::default();
        let text = value.required("address")?;
        let address = address::read(&text, &mut ignored)?;
        let instance = Instance::new(entry.key.clone(), address);
        let instance = match value.number("weight", &mut ignored) {
            Some(weight @ 1..) => match u32::try_from(weight) {
                Ok(weight) => instance.with_weight(weight),
                Err(_) => {
                    ignored.note("weight", "it is too large");
                    instance.with_default_weight(DEFAULT_WEIGHT)
                }
            },
            _ => instance.with_default_weight(DEFAULT_WEIGHT),
        };
        let tags = value.get("tags");
        let instance = TAGS.read(instance, "tags", tags, &mut ignored);
        Ok(ignored.of(instance))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, SAYS)?;
        address::host_and_port(instance.address())?;
        go_json::written(&InstanceInfo {
            network: "tcp",
            address: instance.address(),
            weight: instance.said_weight().unwrap_or(DEFAULT_WEIGHT),
            tags: unless_empty(TAGS.written(instance)?),
        })
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        edited(self, entry, edit, || {
            let mut value = GoObject::parse(&entry.value)?;
            if let Some(weight) = edit.weight {
                value.set("weight", &weight)?;
            }
            let tags = value.get("tags").map(str::to_owned);
            if let Some(tags) = TAGS.edited(tags.as_deref(), edit)? {
                value.set("tags", &tags)?;
            }
            Ok(entry.clone().with_value(value.to_value()?))
        })
    }
}
