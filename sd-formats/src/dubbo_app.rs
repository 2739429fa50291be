//! dubbo-go's service discovery by application.

use crate::{
    address::{self, host_and_port, joined},
    edited::edited,
    go_json::{self, GoObject, Text},
    ignored::Ignored,
    metadata::{Metadata, Pieces, Written, read_pieces},
    names,
    says::{self, Attribute},
};
use sd_core::{
    Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Format, Instance, Invalid, Key,
    OneLevel, Prefix, Service, Status,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

const ROOT: &str = "/services";
const TTL: u64 = 30;
/// What dubbo-go takes for the weight of an instance without one.
const DEFAULT_WEIGHT: u32 = 100;
/// The word for an instance that is not healthy.
const UNHEALTHY: &str = "unhealthy";
const METADATA: Metadata = Metadata {
    has_weight: false,
    has_json: false,
};
const SAYS: &[Attribute] = &[
    Attribute::Weight,
    Attribute::Zone,
    Attribute::Draining,
    Attribute::OtherStatus,
    Attribute::Id,
    Attribute::Metadata,
];

/// The format of [dubbo-go](https://pkg.go.dev/dubbo.apache.org/dubbo-go/v3/registry/etcdv3) in application mode:
/// an object with `ID`, `ServiceName`, `Host`, `Port`, `Weight`, `Enable`, `Healthy`, `Metadata` and others, and a
/// newline, under `/services/NAME/HOST:PORT`. The name is that of the application.
///
/// Only `Host` and `Port` are needed. `"Enable":false` is draining. `"Healthy":false` is an
/// [unknown](Status::Unknown) status, whose word is `unhealthy`: it gets calls if no other instance is serving.
/// dubbo-go 3.3 has both fields and looks at neither when it chooses an instance; others that read them may.
///
/// dubbo-go's consumers are told of a new instance only when an entry changes that was there before.
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` |
/// | other addresses | no |
/// | a weight | yes; 100 if none is said |
/// | a weight of 0 | no: it is read as 100 |
/// | a zone | yes: `zone` in the metadata. A convention |
/// | draining | yes: `Enable` is false |
/// | an id | yes; `HOST:PORT` if none is said |
/// | a version | no |
/// | metadata | yes |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no: consumers of `a` would see it |
/// | time to live | 30 s |
#[derive(Debug, Clone, Copy, Default)]
pub struct DubboApp(());

impl Format for DubboApp {
    fn name(&self) -> &str {
        "dubbo-app"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        Prefix::new(ROOT)?.child(service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        let codec = DubboAppCodec::of(service);
        Ok(Arc::new(OneLevel::below(prefix, codec)))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let address = host_and_port(advert.main_address())?;
        let key = prefix.key(host_port(address.host(), address.port()))?;
        let instance = advert.to_instance(key.clone());
        let value = DubboAppCodec::of(service).encode(&instance)?;
        names::service(key, value, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Prefix::new(ROOT).ok()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        names::of_one_level(self.root().as_ref(), entry)
    }
}

/// Without brackets around an address of IPv6, as dubbo-go writes it.
fn host_port(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

#[derive(Debug)]
struct DubboAppCodec {
    service: Box<str>,
}

impl DubboAppCodec {
    fn of(service: &str) -> Self {
        Self {
            service: service.into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceInstance<'a> {
    #[serde(rename = "ID")]
    id: Cow<'a, str>,
    service_name: &'a str,
    host: &'a str,
    port: u16,
    weight: u32,
    enable: bool,
    healthy: bool,
    metadata: BTreeMap<&'a str, Written<'a>>,
    service_metadata: Option<()>,
    address: &'a str,
    group_name: &'a str,
    tag: &'a str,
}

/// What is read of a value.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Fields<'a> {
    #[serde(rename = "ID", borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    host: Text<'a>,
    port: u16,
    weight: Option<i64>,
    enable: Option<bool>,
    healthy: Option<bool>,
    #[serde(borrow)]
    metadata: Option<Pieces<'a>>,
    #[serde(default)]
    _service_name: IgnoredAny,
    #[serde(default)]
    _service_metadata: IgnoredAny,
    #[serde(default)]
    _address: IgnoredAny,
    #[serde(default)]
    _group_name: IgnoredAny,
    #[serde(default)]
    _tag: IgnoredAny,
}

impl<'a> Fields<'a> {
    fn of(value: &'a GoObject<'_>, ignored: &mut Ignored) -> Result<Self, CodecError> {
        let host = value.required("Host")?;
        let port = value.get("Port").and_then(|port| port.parse().ok());
        Ok(Self {
            host: Text(host),
            port: port.ok_or_else(|| CodecError::new("the value has no port in \"Port\""))?,
            weight: value.number("Weight", ignored),
            enable: value.flag("Enable", ignored),
            healthy: value.flag("Healthy", ignored),
            id: value.text("ID", ignored).map(Text),
            metadata: read_pieces("Metadata", value.get("Metadata"), ignored),
            _service_name: IgnoredAny,
            _service_metadata: IgnoredAny,
            _address: IgnoredAny,
            _group_name: IgnoredAny,
            _tag: IgnoredAny,
        })
    }

    fn into_instance(self, key: Key, ignored: &mut Ignored) -> Result<Instance, CodecError> {
        let address = joined(&self.host.required("Host")?, self.port);
        host_and_port(&address)?;
        let mut instance = Instance::new(key, &address).with_default_weight(DEFAULT_WEIGHT);
        if let Some(weight @ 1..) = self.weight {
            match u32::try_from(weight) {
                Ok(weight) => instance = instance.with_weight(weight),
                Err(_) => ignored.note("Weight", "it is too large"),
            }
        }
        if self.enable == Some(false) {
            instance = instance.with_status(Status::Draining);
        } else if self.healthy == Some(false) {
            instance = instance.with_unknown_status(UNHEALTHY);
        }
        // `HOST:PORT` is what is written if none is said.
        if let Some(id) = self.id.and_then(Text::said)
            && *id != *address
        {
            instance = instance.with_id(id);
        }
        Ok(METADATA.with(instance, "Metadata", self.metadata, ignored))
    }
}

impl Codec for DubboAppCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let mut ignored = Ignored::default();
        let value;
        let fields = match go_json::as_written(&entry.value) {
            Some(fields) => fields,
            None => {
                value = GoObject::parse(&entry.value)?;
                Fields::of(&value, &mut ignored)?
            }
        };
        let instance = fields.into_instance(entry.key.clone(), &mut ignored)?;
        Ok(ignored.of(instance))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, SAYS)?;
        let is_unknown = instance.status() == Status::Unknown;
        if is_unknown && instance.status_word() != UNHEALTHY {
            return Err(CodecError::cannot_say("this status"));
        }
        let address = address::host_and_port(instance.address())?;
        let default_id = || host_port(address.host(), address.port()).into();
        let json = go_json::written(&ServiceInstance {
            id: instance.id().map_or_else(default_id, Cow::Borrowed),
            service_name: &self.service,
            host: address.host(),
            port: address.port(),
            weight: instance.said_weight().unwrap_or(0),
            enable: instance.status() != Status::Draining,
            healthy: !is_unknown,
            metadata: METADATA.written(instance)?,
            service_metadata: None,
            address: "",
            group_name: "",
            tag: "",
        })?;
        Ok([&json[..], b"\n"].concat().into())
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        edited(self, entry, edit, || {
            let mut value = GoObject::parse(&entry.value)?;
            if let Some(weight) = edit.weight {
                value.set("Weight", &weight)?;
            }
            match edit.status {
                Some(Status::Serving) => {
                    value.set("Enable", &true)?;
                    value.set("Healthy", &true)?;
                }
                Some(Status::Draining) => value.set("Enable", &false)?,
                _ => {}
            }
            let metadata = value.get("Metadata").map(str::to_owned);
            if let Some(metadata) = METADATA.edited(metadata.as_deref(), edit)? {
                value.set("Metadata", &metadata)?;
            }
            let mut json = value.to_value()?.to_vec();
            if entry.value.ends_with(b"\n") {
                json.push(b'\n');
            }
            Ok(entry.clone().with_value(json))
        })
    }
}
