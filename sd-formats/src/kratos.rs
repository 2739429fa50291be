//! Kratos' `contrib/registry/etcd`.

use crate::{
    address::{self, joined, no_address},
    edited::edited,
    go_json::{self, GoObject, Text},
    ignored::Ignored,
    metadata::{Metadata, Pieces, Written, read_pieces, unless_empty},
    names,
    says::{self, Attribute},
};
use sd_core::{
    Address, Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Escaped, Format, Instance,
    Invalid, Prefix, Service,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

const TTL: u64 = 15;
/// What Kratos' balancers take for the weight of an instance without one.
const DEFAULT_WEIGHT: u32 = 100;
const METADATA: Metadata = Metadata {
    has_weight: true,
    has_json: false,
};
const SAYS: &[Attribute] = &[
    Attribute::OtherAddresses,
    Attribute::Weight,
    Attribute::ZeroWeight,
    Attribute::Zone,
    Attribute::Id,
    Attribute::Version,
    Attribute::Metadata,
];

/// The format of [Kratos](https://pkg.go.dev/github.com/go-kratos/kratos/contrib/registry/etcd/v2):
/// `{"id":"1","name":"hello","version":"v1.0.0","metadata":null,"endpoints":["grpc://10.0.0.1:9000"]}` under
/// `/microservices/NAME/ID`.
///
/// An instance has an endpoint for each scheme. A consumer chooses one scheme, here [`grpc`](Self::scheme) by
/// default, and its address is the host and port of the first endpoint that has it. The other endpoints are the
/// [other addresses](Instance::other_addresses). An instance without an endpoint of this scheme is none for this
/// consumer, and so is one whose `name` is another.
///
/// A single value that Kratos cannot read, as one with a number in its metadata, blinds all its consumers of the
/// service, and of each whose name this one begins with. Such a value is read here, and never written.
///
/// ```
/// use sd_core::{Advert, Format};
/// use sd_formats::Kratos;
///
/// let advert = Advert::new("10.0.0.1:9000").address("http://10.0.0.1:8000").id("1").version("v1.0.0");
/// let service = Kratos::default().service("hello", &advert)?;
/// assert_eq!(service.key.to_string(), "/microservices/hello/1");
/// let value = r#"{"id":"1","name":"hello","version":"v1.0.0","metadata":null,"#.to_owned()
///     + r#""endpoints":["grpc://10.0.0.1:9000","http://10.0.0.1:8000"]}"#;
/// assert_eq!(service.value, value);
/// # Ok::<(), sd_core::CodecError>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port`, of the scheme that is chosen |
/// | other addresses | yes: URLs |
/// | a weight | yes: `weight` in the metadata; 100 if none is said |
/// | a weight of 0 | yes |
/// | a zone | yes: `zone` in the metadata. A convention |
/// | draining | no |
/// | an id | yes; the address if none is said |
/// | a version | yes |
/// | metadata | yes |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | yes |
/// | time to live | 15 s |
#[derive(Debug, Clone)]
pub struct Kratos {
    namespace: Prefix,
    scheme: Box<str>,
}

impl Kratos {
    /// All services are below `namespace` instead of `/microservices`.
    #[must_use]
    pub fn namespace(mut self, namespace: Prefix) -> Self {
        self.namespace = namespace;
        self
    }

    /// The endpoints of this scheme are called, instead of those of `grpc`. With TLS, Kratos has `grpcs` and
    /// `https`.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<Box<str>>) -> Self {
        self.scheme = scheme.into();
        self
    }

    fn codec_of(&self, service: &str) -> KratosCodec {
        KratosCodec {
            service: service.into(),
            scheme: self.scheme.clone(),
        }
    }
}

impl Default for Kratos {
    fn default() -> Self {
        Self {
            namespace: Prefix::new("/microservices").expect("it is not empty"),
            scheme: "grpc".into(),
        }
    }
}

impl Format for Kratos {
    fn name(&self) -> &str {
        "kratos"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        service.split('/').try_for_each(names::check)?;
        Prefix::new(format!("{}{service}", self.namespace))
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        self.prefix(service)?;
        Ok(Arc::new(self.codec_of(service)))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let codec = self.codec_of(service);
        let address = codec.address_of(advert.main_address())?;
        let key = names::key(&prefix, advert.said_id().unwrap_or(&address))?;
        let instance = advert.to_instance(key.clone()).with_address(address);
        names::service(key, codec.encode(&instance)?, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Some(self.namespace.clone())
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        let (in_key, id) = self.namespace.strip(&entry.key)?.rsplit_once('/')?;
        if id.is_empty() {
            return None;
        }
        let is_name = |name: &str| {
            self.prefix(name)
                .is_ok_and(|prefix| prefix.matches(&entry.key))
        };
        // Kratos goes by the name in the value: of the services whose prefix it lies under, it is of that one.
        let value = GoObject::parse(&entry.value).ok();
        let name =
            value.and_then(|value| value.get("name").and_then(go_json::text).map(String::from));
        let named = name.filter(|name| is_name(name));
        named.or_else(|| is_name(in_key).then(|| in_key.to_owned()))
    }
}

/// Reads and writes the instances of one service.
#[derive(Debug)]
struct KratosCodec {
    service: Box<str>,
    scheme: Box<str>,
}

#[derive(Serialize)]
struct ServiceInstance<'a> {
    id: &'a str,
    name: &'a str,
    version: &'a str,
    metadata: Option<BTreeMap<&'a str, Written<'a>>>,
    endpoints: Vec<Cow<'a, str>>,
}

/// What is read of a value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    version: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Option<Pieces<'a>>,
    #[serde(borrow)]
    endpoints: Option<Vec<Text<'a>>>,
}

impl<'a> Fields<'a> {
    /// `None` if they are those of another service.
    fn of(
        value: &'a GoObject<'_>,
        service: &str,
        ignored: &mut Ignored,
    ) -> Result<Option<Self>, CodecError> {
        let Some(name) = value.get("name") else {
            return Ok(None);
        };
        let Some(name) = go_json::text(name) else {
            return Err(CodecError::new("the name is no text"));
        };
        if name != service {
            return Ok(None);
        }
        let no_list = || CodecError::new("the endpoints are no list of texts");
        let endpoints = value.get("endpoints").map(serde_json::from_str);
        Ok(Some(Self {
            name: Some(Text(name)),
            endpoints: endpoints.transpose().map_err(|_| no_list())?,
            id: value.text("id", ignored).map(Text),
            version: value.text("version", ignored).map(Text),
            metadata: read_pieces("metadata", value.get("metadata"), ignored),
        }))
    }

    /// The same, if they are those of `service`.
    fn of_service(self, service: &str) -> Option<Self> {
        let is_same = self.name.as_ref().is_some_and(|Text(name)| name == service);
        is_same.then_some(self)
    }
}

impl KratosCodec {
    fn is_called(&self, address: &Address<'_>) -> bool {
        let scheme = address.scheme();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(&self.scheme))
    }

    /// The host and port of `text`, which has these alone or is a URL of the scheme that is called.
    fn address_of(&self, text: &str) -> Result<String, CodecError> {
        let address = Address::try_from(text).map_err(no_address)?;
        if address.scheme().is_some() && !self.is_called(&address) {
            return Err(CodecError::new(format!(
                "the first address is the one that is called, and {} is none of {}",
                Escaped(text),
                Escaped(&self.scheme)
            )));
        }
        let scheme = address
            .scheme()
            .map_or(0, |scheme| scheme.len() + "://".len());
        if text.len() > scheme + address.authority().len() {
            return Err(CodecError::cannot_say("the path of an address"));
        }
        Ok(joined(address.host(), address.port()))
    }

    /// The address that is called, of these endpoints, and the others. `None` if all have other schemes.
    fn endpoints(
        &self,
        endpoints: &[Text<'_>],
        ignored: &mut Ignored,
    ) -> Result<Option<(String, Vec<String>)>, CodecError> {
        let (mut called, mut others) = (None, Vec::new());
        let mut unreadable = None;
        for Text(text) in endpoints {
            match Address::try_from(&**text) {
                Ok(address) if called.is_none() && self.is_called(&address) => {
                    called = Some(joined(address.host(), address.port()));
                }
                Ok(address) if address.scheme().is_some() => others.push(text.to_string()),
                Ok(_) => ignored.note("endpoints", "one has no scheme"),
                Err(why) => {
                    ignored.note("endpoints", &why);
                    unreadable = Some(why);
                }
            }
        }
        match (called, unreadable) {
            (Some(called), _) => Ok(Some((called, others))),
            (None, _) if !others.is_empty() => Ok(None),
            (None, Some(why)) => Err(no_address(why)),
            (None, None) => Err(CodecError::new("the instance has no endpoint")),
        }
    }
}

impl Codec for KratosCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let mut ignored = Ignored::default();
        let value;
        let fields = match go_json::as_written::<Fields<'_>>(&entry.value) {
            Some(fields) => fields.of_service(&self.service),
            None => {
                value = GoObject::parse(&entry.value)?;
                Fields::of(&value, &self.service, &mut ignored)?
            }
        };
        let Some(fields) = fields else {
            return Ok(Decoded::NOT_MINE);
        };
        let endpoints = fields.endpoints.unwrap_or_default();
        let Some((address, others)) = self.endpoints(&endpoints, &mut ignored)? else {
            return Ok(Decoded::NOT_MINE);
        };
        let mut instance =
            Instance::new(entry.key.clone(), address).with_default_weight(DEFAULT_WEIGHT);
        if let Some(id) = fields.id.and_then(Text::said) {
            instance = instance.with_id(id);
        }
        if let Some(version) = fields.version.and_then(Text::said) {
            instance = instance.with_version(version);
        }
        for other in others {
            instance = instance.with_other_address(other);
        }
        let instance = METADATA.with(instance, "metadata", fields.metadata, &mut ignored);
        Ok(ignored.of(instance))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, SAYS)?;
        let address = address::host_and_port(instance.address())?;
        let called = joined(address.host(), address.port());
        let mut endpoints = vec![Cow::Owned(format!("{}://{called}", self.scheme))];
        Address::try_from(&*endpoints[0]).map_err(no_address)?;
        for other in instance.other_addresses() {
            if Address::try_from(other)
                .map_err(no_address)?
                .scheme()
                .is_none()
            {
                return Err(CodecError::cannot_say(
                    "an address without a scheme beside the first",
                ));
            }
            endpoints.push(other.into());
        }
        go_json::written(&ServiceInstance {
            id: instance.id().unwrap_or(&called),
            name: &self.service,
            version: instance.version().unwrap_or_default(),
            metadata: unless_empty(METADATA.written(instance)?),
            endpoints,
        })
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        edited(self, entry, edit, || {
            let mut value = GoObject::parse(&entry.value)?;
            let metadata = value.get("metadata").map(str::to_owned);
            if let Some(metadata) = METADATA.edited(metadata.as_deref(), edit)? {
                value.set("metadata", &metadata)?;
            }
            Ok(entry.clone().with_value(value.to_value()?))
        })
    }
}
