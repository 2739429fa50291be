//! dubbo-go's registry by interface.

use crate::{
    address::{host_and_port, joined},
    dubbo_url::{DubboUrl, Parts, escaped},
    edited::edited,
    ignored::Ignored,
    metadata::{Metadata, Written},
    names,
    says::{self, Attribute},
};
use sd_core::{
    Advert, Bytes, Codec, CodecError, Decoded, Edit, Entry, Format, Instance, Invalid,
    MetadataValue, Prefix, Service,
};
use std::{borrow::Cow, sync::Arc};

const ROOT: &str = "/dubbo";
const TTL: u64 = 30;
/// What dubbo-go takes for the weight of an instance without one.
const DEFAULT_WEIGHT: u32 = 100;
const METADATA: Metadata = Metadata {
    has_weight: true,
    has_json: false,
};
const SAYS: &[Attribute] = &[
    Attribute::Weight,
    Attribute::ZeroWeight,
    Attribute::Zone,
    Attribute::Metadata,
];
/// Parameters that are no metadata: they say which service it is, and that it is a provider.
const OWN: [&str; 6] = [
    "anyhost",
    "category",
    "group",
    "interface",
    "registry.role",
    "version",
];

/// The format of [dubbo-go](https://pkg.go.dev/dubbo.apache.org/dubbo-go/v3/registry/etcdv3) in interface mode: a
/// URL such as `dubbo://10.0.0.1:20880/NAME?interface=NAME&methods=Hello`, escaped and in the key
/// `/dubbo/NAME/providers/URL`. The value is empty. The name is that of the interface.
///
/// A consumer sees the providers of its protocol, group and version only. Others are not for it.
///
/// An update is another key. [`Registrar::edit`](sd_core::Registrar::edit) and
/// [`update_service`](sd_core::Registrar::update_service) register it first, and end the entry under the former key
/// then. A new value alone would tell nobody anything, so [`update`](sd_core::Registrar::update) refuses any that is not
/// empty. An operator cannot edit an entry, as only its provider can register another key.
///
/// Parameters are metadata, among them `application` and `methods`, which dubbo-go's own providers always write.
/// Their names and values have none of `%`, `&`, `+`, `#` and `;`: Go reads these back as something else.
///
/// dubbo-go 3.3 has no way to deregister in this mode, and its consumers never learn that an entry has gone.
///
/// ```
/// use sd_core::{Advert, Format};
/// use sd_formats::DubboInterface;
///
/// let advert = Advert::new("10.0.0.1:20880").metadata("methods", "Hello");
/// let service = DubboInterface::default().service("org.Greeter", &advert)?;
/// let url = "dubbo%3A%2F%2F10.0.0.1%3A20880%2Forg.Greeter%3Fanyhost%3Dtrue%26interface%3Dorg.Greeter\
///            %26methods%3DHello%26registry.role%3D3";
/// assert_eq!(service.key.to_string(), format!("/dubbo/org.Greeter/providers/{url}"));
/// assert!(service.value.is_empty());
/// # Ok::<(), sd_core::CodecError>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` |
/// | other addresses | no |
/// | a weight | yes; 100 if none is said |
/// | a weight of 0 | yes |
/// | a zone | yes: the parameter `zone`. A convention |
/// | draining | no |
/// | an id | no |
/// | a version | no: the parameter of this name is that of the interface, and [chosen](Self::version) for all |
/// | metadata | yes: parameters |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no: consumers look for it elsewhere than providers put it, as for each name that is escaped in a URL |
/// | time to live | 30 s |
#[derive(Debug, Clone)]
pub struct DubboInterface {
    protocol: Box<str>,
    group: Option<Box<str>>,
    version: Option<Box<str>>,
}

impl DubboInterface {
    /// The protocol, instead of `dubbo`: `tri` is another.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Into<Box<str>>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// The group. By default none.
    #[must_use]
    pub fn group(mut self, group: impl Into<Box<str>>) -> Self {
        let group = group.into();
        self.group = (!group.is_empty()).then_some(group);
        self
    }

    /// The version of the interface. By default none.
    #[must_use]
    pub fn version(mut self, version: impl Into<Box<str>>) -> Self {
        let version = version.into();
        self.version = (!version.is_empty()).then_some(version);
        self
    }
}

impl Default for DubboInterface {
    fn default() -> Self {
        Self {
            protocol: "dubbo".into(),
            group: None,
            version: None,
        }
    }
}

impl Format for DubboInterface {
    fn name(&self) -> &str {
        "dubbo-interface"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        let path = Prefix::new(ROOT)?.child(service)?;
        if escaped(service) != service {
            let name = service.to_owned();
            return Err(Invalid::Name { name });
        }
        path.child("providers")
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        let format = self.clone();
        Ok(Arc::new(DubboInterfaceCodec {
            format,
            prefix,
            service: service.into(),
        }))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let prefix = self.prefix(service)?;
        let codec = DubboInterfaceCodec {
            format: self.clone(),
            prefix: prefix.clone(),
            service: service.into(),
        };
        let key = prefix.key(codec.url(&advert.to_instance(prefix.key("?")?))?)?;
        names::service(key, Bytes::new(), advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Prefix::new(ROOT).ok()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        let (service, url) = self.root()?.strip(&entry.key)?.split_once('/')?;
        let is_provider = url
            .strip_prefix("providers/")
            .is_some_and(|url| !url.is_empty());
        (is_provider && self.prefix(service).is_ok()).then(|| service.to_owned())
    }
}

/// The name and value of a parameter.
type Param<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Reads and writes the providers of one interface.
#[derive(Debug)]
struct DubboInterfaceCodec {
    format: DubboInterface,
    prefix: Prefix,
    service: Box<str>,
}

impl DubboInterfaceCodec {
    fn key_of<'k>(&self, entry: &'k Entry) -> Option<&'k str> {
        self.prefix.strip(&entry.key)
    }

    /// Whether a consumer of this protocol, interface, group and version sees `url`, which has these parameters.
    fn is_mine(&self, url: &Parts<'_>, params: &[Param<'_>]) -> bool {
        let format = &self.format;
        let param = |name| {
            let mut params = params.iter();
            let (_, value) = params.find(|(known, _)| known == name)?;
            Some(&**value).filter(|value| !value.is_empty())
        };
        let is_provider = |category: &str| category.contains("providers") || category.contains('*');
        url.scheme == &*format.protocol
            && !url.has_user()
            && param("interface").unwrap_or(url.path) == &*self.service
            && param("group") == format.group.as_deref()
            && param("version") == format.version.as_deref()
            && param("category").is_none_or(is_provider)
    }

    /// The last part of the key of `instance`.
    fn url(&self, instance: &Instance) -> Result<String, CodecError> {
        says::check(instance, SAYS)?;
        let address = host_and_port(instance.address())?;
        let mut params = METADATA.written(instance)?;
        if let Some(own) = OWN.iter().find(|own| params.contains_key(*own)) {
            let what = format!("metadata called \"{own}\", which the format writes itself");
            return Err(CodecError::cannot_say(&what));
        }
        let mut own = vec![("anyhost", "true"), ("interface", &*self.service)];
        own.push(("registry.role", "3"));
        own.extend(self.format.group.as_deref().map(|it| ("group", it)));
        own.extend(self.format.version.as_deref().map(|it| ("version", it)));
        params.extend(
            own.into_iter()
                .map(|(name, value)| (name, Written::Text(value.into()))),
        );
        let mut query = Vec::new();
        for (name, value) in params {
            match value {
                Written::Text(value) => query.push(DubboUrl::pair(name, &value)?),
                _ => return Err(CodecError::cannot_say("metadata that is no text")),
            }
        }
        let authority = joined(address.host(), address.port());
        let (protocol, service) = (&self.format.protocol, &self.service);
        let url = format!("{protocol}://{authority}/{service}?{}", query.join("&"));
        Ok(escaped(&url))
    }
}

impl Codec for DubboInterfaceCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let Some(text) = self.key_of(entry) else {
            return Ok(Decoded::NOT_MINE);
        };
        let url = DubboUrl::parse(text)?;
        let (parts, params) = (url.parts(), url.params());
        if !self.is_mine(&parts, &params) {
            return Ok(Decoded::NOT_MINE);
        }
        let mut ignored = Ignored::default();
        if !entry.value.is_empty() {
            ignored.note("the value", "the key says all, and it nothing");
        }
        let address = crate::address::read(parts.authority, &mut ignored)?;
        let instance = Instance::new(entry.key.clone(), address);
        let instance = instance.with_default_weight(DEFAULT_WEIGHT);
        // The first of several is the one that counts.
        let params = params.iter().rev();
        let params = params.filter(|(name, value)| !OWN.contains(&&**name) && !value.is_empty());
        let pieces = params.map(|(name, value)| (&**name, MetadataValue::Text(value)));
        let instance = METADATA.with_each(instance, "the key", pieces, &mut ignored);
        Ok(ignored.of(instance))
    }

    /// The value is empty, and the instance is in the key: this only says whether it is the instance that the key
    /// describes.
    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        let name = self.prefix.strip(instance.key()).unwrap_or_default();
        let url = self.url(instance)?;
        let read = |text: &str| {
            let key = self.prefix.key(text).ok()?;
            let decoded = self.decode(&Entry::new(key, Bytes::new())).ok()?;
            let instance = decoded.into_iter().next()?;
            Some(instance.with_key(self.prefix.key("?").ok()?))
        };
        if read(name) != read(&url) {
            return Err(CodecError::new("the key describes another instance"));
        }
        Ok(Bytes::new())
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        edited(self, entry, edit, || {
            let mut url = DubboUrl::parse(self.key_of(entry).unwrap_or_default())?;
            if let Some(weight) = edit.weight {
                url = url.with("weight", Some(&weight.to_string()))?;
            }
            for (name, value) in &edit.metadata {
                url = url.with(name, value.as_deref())?;
            }
            let mut edited = entry.clone();
            edited.key = self.prefix.key(url.to_key())?;
            Ok(edited)
        })
    }
}
