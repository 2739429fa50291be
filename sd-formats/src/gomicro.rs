//! go-micro's etcd registry.

use crate::{
    address,
    edited::edited,
    go_json::{self, GoObject, Text},
    ignored::Ignored,
    metadata::{Metadata, Pieces, Written, read_pieces, unless_empty},
    names,
    says::{self, Attribute},
};
use sd_core::{
    Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Format, Instance, Invalid, OneLevel,
    Prefix, Service,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const ROOT: &str = "/micro/registry";
const TTL: u64 = 90;
/// What go-micro calls the version of a service without one.
const DEFAULT_VERSION: &str = "latest";
const METADATA: Metadata = Metadata {
    has_weight: true,
    has_json: false,
};
const SAYS: &[Attribute] = &[
    Attribute::Weight,
    Attribute::ZeroWeight,
    Attribute::Zone,
    Attribute::Id,
    Attribute::Version,
    Attribute::Metadata,
    Attribute::Part,
];

/// The format of [go-micro](https://pkg.go.dev/github.com/go-micro/plugins/v4/registry/etcd):
/// `{"name":"hello","version":"latest","metadata":null,"endpoints":[],"nodes":[{"metadata":null,"id":"hello-1","address":"10.0.0.1:8080"}]}`
/// under `/micro/registry/NAME/ID`.
///
/// Each node of a value is an instance, which is told from the others by its id
/// ([`part`](Instance::part)), or by its address if it has none. Its metadata is that of the node. The version is
/// that of the service. Consumers do not look at the name in the value, and neither is it looked at here. In keys
/// `/` is written as `-`, so `a/b` and `a-b` are one service.
///
/// ```
/// use sd_core::{Entry, Format, Key};
/// use sd_formats::GoMicro;
///
/// let value = r#"{"nodes":[{"id":"1","address":"10.0.0.1:80"},{"id":"2","address":"10.0.0.2:80"}]}"#;
/// let entry = Entry::new(Key::new("/micro/registry/hello/hello-7")?, value);
/// let nodes = GoMicro::default().codec("hello")?.decode(&entry)?;
/// assert_eq!(nodes.instances()[1].address(), "10.0.0.2:80");
/// assert_eq!(nodes.instances()[1].identity().part(), Some("2"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` |
/// | other addresses | no |
/// | a weight | yes: `weight` in the metadata. A convention; go-micro reads none |
/// | a weight of 0 | yes |
/// | a zone | yes: `zone` in the metadata. A convention |
/// | draining | no |
/// | an id | yes; `NAME-ADDRESS` if none is said |
/// | a version | yes; `latest` if none is said |
/// | metadata | yes |
/// | metadata that is no text | no |
/// | several instances in an entry | yes, and edited; go-micro and a registration write one |
/// | a service called `a/b` | yes |
/// | time to live | 90 s |
#[derive(Debug, Clone, Copy, Default)]
pub struct GoMicro(());

impl Format for GoMicro {
    fn name(&self) -> &str {
        "gomicro"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        service.split('/').try_for_each(names::check)?;
        Prefix::new(ROOT)?.child(in_key(service))
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(OneLevel::below(prefix, GoMicroCodec::of(service))))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let codec = GoMicroCodec::of(service);
        let default = || codec.default_id(advert.main_address());
        let id = advert.said_id().map_or_else(default, str::to_owned);
        let key = names::key(&prefix, &in_key(&id))?;
        let instance = advert.to_instance(key.clone());
        names::service(key, codec.encode(&instance)?, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Prefix::new(ROOT).ok()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        let in_key = names::of_one_level(self.root().as_ref(), entry)?;
        let named = GoObject::parse(&entry.value).ok();
        let named = named.and_then(|value| {
            value
                .text("name", &mut Ignored::default())
                .map(String::from)
        });
        // A name with a `/` is in the value alone.
        Some(match named {
            Some(name) if self::in_key(&name) == in_key && self.prefix(&name).is_ok() => name,
            _ => in_key,
        })
    }
}

fn in_key(name: &str) -> String {
    name.replace('/', "-")
}

#[derive(Debug)]
struct GoMicroCodec {
    service: Box<str>,
}

#[derive(Serialize)]
struct MicroService<'a> {
    name: &'a str,
    version: &'a str,
    metadata: Option<()>,
    endpoints: [(); 0],
    nodes: [Node<'a>; 1],
}

#[derive(Serialize)]
struct Node<'a> {
    metadata: Option<BTreeMap<&'a str, Written<'a>>>,
    id: Cow<'a, str>,
    address: &'a str,
}

impl GoMicroCodec {
    fn of(service: &str) -> Self {
        Self {
            service: service.into(),
        }
    }

    fn default_id(&self, address: &str) -> String {
        format!("{}-{address}", self.service)
    }
}

/// What is read of a value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    version: Option<Text<'a>>,
    #[serde(borrow)]
    nodes: Option<Vec<NodeFields<'a>>>,
    #[serde(default, rename = "name")]
    _name: IgnoredAny,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default, rename = "endpoints")]
    _endpoints: IgnoredAny,
}

/// What is read of a node.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFields<'a> {
    #[serde(borrow)]
    metadata: Option<Pieces<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    address: Text<'a>,
}

impl NodeFields<'_> {
    fn into_instance(
        self,
        entry: &Entry,
        version: Option<&str>,
        ignored: &mut Ignored,
    ) -> Result<Instance, CodecError> {
        let text = self.address.required("address")?;
        let address = address::read(&text, ignored)?;
        let instance = Instance::new(entry.key.clone(), &*address);
        let mut instance = match self.id.and_then(Text::said) {
            Some(id) => instance.with_part(&*id).with_id(id),
            None => instance.with_part(address),
        };
        if let Some(version) = version {
            instance = instance.with_version(version);
        }
        Ok(METADATA.with(instance, "metadata", self.metadata, ignored))
    }
}

/// The instance of this version that the node in `json` describes.
fn read_node(
    entry: &Entry,
    json: &str,
    version: Option<&str>,
    ignored: &mut Ignored,
) -> Result<Instance, CodecError> {
    let node = GoObject::parse(json.as_bytes())?;
    let fields = NodeFields {
        address: Text(node.required("address")?),
        id: node.text("id", ignored).map(Text),
        metadata: read_pieces("metadata", node.get("metadata"), ignored),
    };
    fields.into_instance(entry, version, ignored)
}

/// The instances of an entry: those of its nodes that can be read.
fn decoded<N>(
    nodes: impl ExactSizeIterator<Item = N>,
    mut ignored: Ignored,
    read: impl Fn(N, &mut Ignored) -> Result<Instance, CodecError>,
) -> Result<Decoded, CodecError> {
    let (mut parts, mut unreadable) = (BTreeSet::new(), None);
    // As nearly all are: then there is nothing to compare it with.
    let is_alone = nodes.len() == 1;
    let mut is_first = |instance: &Instance| {
        is_alone || parts.insert(instance.part().unwrap_or_default().to_owned())
    };
    let instances = nodes.filter_map(|node| match read(node, &mut ignored) {
        Ok(instance) if is_first(&instance) => Some(instance),
        Ok(_) => {
            ignored.note("nodes", "two have one id");
            None
        }
        Err(error) => {
            ignored.note("nodes", &error);
            unreadable = Some(error);
            None
        }
    });
    let decoded = Decoded::from_iter(instances);
    match unreadable {
        Some(error) if decoded.instances().is_empty() => Err(error),
        _ => Ok(ignored.of(decoded)),
    }
}

impl Codec for GoMicroCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let mut ignored = Ignored::default();
        if let Some(fields) = go_json::as_written::<Fields<'_>>(&entry.value) {
            let version = fields.version.and_then(Text::said);
            let nodes = fields.nodes.unwrap_or_default().into_iter();
            return decoded(nodes, ignored, |node, ignored| {
                node.into_instance(entry, version.as_deref(), ignored)
            });
        }
        let value = GoObject::parse(&entry.value)?;
        let version = value.text("version", &mut ignored);
        let Some(nodes) = go_json::list(value.get("nodes").unwrap_or("[]")) else {
            return Err(CodecError::new("the nodes are no list"));
        };
        decoded(nodes.into_iter(), ignored, |node, ignored| {
            read_node(entry, node.get(), version.as_deref(), ignored)
        })
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, SAYS)?;
        address::host_and_port(instance.address())?;
        let id = match (instance.id(), instance.part()) {
            (Some(id), Some(part)) if id != part => {
                return Err(CodecError::cannot_say("an id other than the part"));
            }
            (Some(id), _) | (None, Some(id)) => id.into(),
            (None, None) => self.default_id(instance.address()).into(),
        };
        go_json::written(&MicroService {
            name: &self.service,
            version: instance.version().unwrap_or(DEFAULT_VERSION),
            metadata: None,
            endpoints: [],
            nodes: [Node {
                metadata: unless_empty(METADATA.written(instance)?),
                id,
                address: instance.address(),
            }],
        })
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        edited(self, entry, edit, || {
            let mut value = GoObject::parse(&entry.value)?;
            let list = value.get("nodes").unwrap_or("[]").to_owned();
            let mut nodes = Vec::new();
            for node in go_json::list(&list).unwrap_or_default() {
                nodes.push(edit_node(entry, node, edit)?);
            }
            value.set("nodes", &nodes)?;
            Ok(entry.clone().with_value(value.to_value()?))
        })
    }
}

/// `node` after `edit`; as it is if it cannot be read, or another one is meant.
fn edit_node<'a>(
    entry: &Entry,
    node: &'a RawValue,
    edit: &Edit,
) -> Result<Cow<'a, RawValue>, CodecError> {
    let Ok(instance) = read_node(entry, node.get(), None, &mut Ignored::default()) else {
        return Ok(Cow::Borrowed(node));
    };
    if edit.apply(instance.clone()) == instance {
        return Ok(Cow::Borrowed(node));
    }
    let mut value = GoObject::parse(node.get().as_bytes())?;
    let metadata = value.get("metadata").map(str::to_owned);
    if let Some(metadata) = METADATA.edited(metadata.as_deref(), edit)? {
        value.set("metadata", &metadata)?;
    }
    to_raw_value(&value)
        .map(Cow::Owned)
        .map_err(go_json::unwritable)
}
