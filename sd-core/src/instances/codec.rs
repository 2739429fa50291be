//! Codecs: how instances are written into entries.

#[cfg(test)]
mod tests;

use super::{
    address::{Address, SCHEMES, without_credentials},
    instance::Instance,
    json::{Attributes, RawAttributes},
    status::Status,
};
use crate::registry::{Entry, Invalid, Key, Message};
use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use std::{collections::BTreeMap, error::Error as StdError, fmt, net::IpAddr, sync::Arc};

/// Turns entries into instances and back.
///
/// Fleets write different values: plain addresses, JSON, a format of their own. Only the codec
/// knows the format. A value may come from any program, so a codec returns an error for what it
/// cannot read. The layer above then leaves the entry out, counts it and logs it once; no other
/// entry is affected. A panic in a codec is treated like such an error.
///
/// ```
/// use sd_core::{Bytes, Codec, CodecError, Entry, Instance, Key};
///
/// /// Values such as `10.0.0.1 8080`.
/// struct HostAndPort;
///
/// impl Codec for HostAndPort {
///     fn decode(&self, entry: &Entry) -> Result<Instance, CodecError> {
///         let text = std::str::from_utf8(&entry.value)
///             .map_err(|error| CodecError::new("the value is not text").with_source(error))?;
///         let (host, port) = text
///             .split_once(' ')
///             .ok_or_else(|| CodecError::new("the value is not a host and a port"))?;
///         Ok(Instance::new(entry.key.clone(), format!("{host}:{port}")))
///     }
///
///     fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
///         Ok(instance.address().replacen(':', " ", 1).into())
///     }
/// }
///
/// let entry = Entry::new(Key::new("/hello/a")?, "10.0.0.1 8080");
/// let instance = HostAndPort.decode(&entry)?;
/// assert_eq!(instance.address(), "10.0.0.1:8080");
/// assert_eq!(HostAndPort.encode(&instance)?, entry.value);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// The instance that `entry` describes, under the entry's key. Whoever reads the registry adds
    /// the entry's lease.
    ///
    /// # Errors
    /// [`CodecError`] if the value is not one of this codec's.
    fn decode(&self, entry: &Entry) -> Result<Instance, CodecError>;

    /// What [`decode`](Self::decode) leaves out of an entry because it cannot read it: attributes
    /// without which the entry is an instance all the same. `None` if it can read all of them, or if
    /// the entry is none of this codec's. The layer above logs it once.
    fn ignored(&self, _entry: &Entry) -> Option<CodecError> {
        None
    }

    /// The value that describes `instance`.
    ///
    /// # Errors
    /// [`CodecError`] if this codec has no way to write it.
    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError>;

    /// The same value, with its instance announced as draining. `None` if this codec cannot express
    /// that.
    fn draining(&self, key: &Key, value: &Bytes) -> Option<Bytes> {
        let entry = Entry::new(key.clone(), value.clone());
        let instance = self.decode(&entry).ok()?.with_status(Status::Draining);
        let value = self.encode(&instance).ok()?;
        let announced = self.decode(&Entry::new(key.clone(), value.clone())).ok()?;
        (announced.status() == Status::Draining).then_some(value)
    }
}

impl<C: Codec + ?Sized> Codec for Arc<C> {
    fn decode(&self, entry: &Entry) -> Result<Instance, CodecError> {
        (**self).decode(entry)
    }

    fn ignored(&self, entry: &Entry) -> Option<CodecError> {
        (**self).ignored(entry)
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        (**self).encode(instance)
    }

    fn draining(&self, key: &Key, value: &Bytes) -> Option<Bytes> {
        (**self).draining(key, value)
    }
}

/// Why a value could not be read or an instance could not be written.
///
/// Its message and its sources go to the logs of all consumers. So they must not repeat the value, in which
/// there may be secrets: say which part is wrong, and why. Errors of parsers often repeat it.
///
/// ```
/// use sd_core::CodecError;
/// use std::error::Error;
///
/// let cause = "x".parse::<u32>().expect_err("no number");
/// let error = CodecError::new("the weight is not a number").with_source(cause);
/// assert_eq!(error.to_string(), "the weight is not a number");
/// assert!(error.source().is_some());
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", Message(.message))]
pub struct CodecError {
    message: String,
    #[source]
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl CodecError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What is wrong with the address, if that is why, for the provider whose address it is.
    pub(crate) fn uncallable(&self) -> Option<Invalid> {
        let why: &NoAddress = self.source.as_ref()?.downcast_ref()?;
        Some(Invalid::UncallableAddress {
            address: why.address.clone(),
            reason: why.reason,
        })
    }
}

/// Reads what go-kit registers and what this toolkit registers: plain addresses and JSON.
///
/// - A plain address: `10.0.0.1:8080`, `[::1]:8080`, `hello.local:80`, or a URL with a host and one of the
///   schemes `http`, `https`, `grpc`, `grpcs` and `tcp`: `http://10.0.0.1:8080/path`. What else it has to
///   be like is said by the default [`AddressPolicy`](crate::AddressPolicy).
/// - JSON: `{"address":"10.0.0.1:8080","weight":3,"zone":"eu-1","status":"draining",
///   "metadata":{"version":"1.4.2"}}`, of which only the address is required. Unknown fields are
///   ignored. An attribute that cannot be read costs that attribute only: a weight that is no whole
///   number from 0 to 4,294,967,295 counts as 1, a status that is not known as serving, a zone or a
///   piece of metadata that is not text as missing. [`Codec::ignored`] says which.
///
/// It writes a plain address if an instance has nothing else, so that go-kit consumers can read it,
/// and JSON otherwise. An instance that was registered as a plain address cannot be announced as
/// draining, since its consumers may not be able to read JSON.
///
/// ```
/// use sd_core::{Codec, DefaultCodec, Entry, Key, Status};
///
/// let key = Key::new("/services/hello/a")?;
/// let plain = DefaultCodec.decode(&Entry::new(key.clone(), "10.0.0.1:8080"))?;
/// assert_eq!((plain.address(), plain.weight()), ("10.0.0.1:8080", 1));
///
/// let json = r#"{"address":"10.0.0.1:8080","weight":3,"status":"draining"}"#;
/// let json = DefaultCodec.decode(&Entry::new(key.clone(), json))?;
/// assert_eq!((json.weight(), json.status()), (3, Status::Draining));
///
/// assert!(DefaultCodec.decode(&Entry::new(key, "not an address")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultCodec;

/// Longer JSON is not an instance, and parsing it would delay the other entries.
const LONGEST_JSON: usize = 64 * 1024;

impl Codec for DefaultCodec {
    fn decode(&self, entry: &Entry) -> Result<Instance, CodecError> {
        if !entry.value.starts_with(b"{") {
            let unreadable = || CodecError::new("the value is neither an address nor JSON");
            let text = std::str::from_utf8(&entry.value).map_err(|_| unreadable())?;
            return match check_address(text) {
                Ok(()) => Ok(Instance::new(entry.key.clone(), text)),
                Err(why) if is_like_an_address(text) => Err(unreadable().with_source(why)),
                Err(_) => Err(unreadable()),
            };
        }
        let (attributes, _) = read_json(&entry.value)?;
        Ok(attributes.into_instance(entry.key.clone()))
    }

    fn ignored(&self, entry: &Entry) -> Option<CodecError> {
        if !entry.value.starts_with(b"{") {
            return None;
        }
        let (_, ignored) = read_json(&entry.value).ok()?;
        (!ignored.is_empty()).then(|| CodecError::new(ignored.join("; ")))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        check_address(instance.address()).map_err(no_address)?;
        let plain = Instance::new(instance.key().clone(), instance.address())
            .with_lease(instance.lease().cloned());
        if *instance == plain {
            return Ok(Bytes::copy_from_slice(instance.address().as_bytes()));
        }
        let value = serde_json::to_vec(&Attributes::of(instance)).map_err(|error| {
            CodecError::new("the instance cannot be written").with_source(error)
        })?;
        if value.len() > LONGEST_JSON {
            return Err(CodecError::new("the instance is too long to be read again"));
        }
        Ok(value.into())
    }

    fn draining(&self, key: &Key, value: &Bytes) -> Option<Bytes> {
        if !value.starts_with(b"{") {
            return None;
        }
        let instance = self.decode(&Entry::new(key.clone(), value.clone())).ok()?;
        if instance.status() == Status::Draining {
            return Some(value.clone());
        }
        // Field by field, as other readers may know fields, or values of them, that this codec does
        // not. A value that is
        // not UTF-8 cannot be rewritten so.
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(value).ok()?;
        let status = to_raw_value(Status::Draining.as_str()).ok()?;
        fields.insert("status".to_owned(), &status);
        let value = serde_json::to_vec(&fields).ok()?;
        (value.len() <= LONGEST_JSON).then(|| value.into())
    }
}

/// The attributes in `json`, and what is wrong with those that were left out.
fn read_json(json: &[u8]) -> Result<(Attributes<'_>, Vec<&'static str>), CodecError> {
    if json.len() > LONGEST_JSON {
        return Err(CodecError::new("the value is too long for an instance"));
    }
    let fields: RawAttributes<'_> = serde_json::from_slice(json).map_err(|error| {
        // serde's error about data repeats it; one about syntax only says where it is wrong.
        if error.is_data() {
            CodecError::new("the address is missing or not text, or an attribute is there twice")
        } else {
            CodecError::new("the value is not an instance in JSON").with_source(error)
        }
    })?;
    let (attributes, ignored) = fields.read();
    check_address(&attributes.address).map_err(no_address)?;
    Ok((attributes, ignored))
}

/// Refuses what is not `host:port`, or a URL with a host and one of the schemes that are called.
fn check_address(text: &str) -> Result<(), NoAddress> {
    let is_called = |scheme: &str| {
        let mut known = SCHEMES.iter();
        known.any(|(known, _)| known.eq_ignore_ascii_case(scheme))
    };
    let reason = match Address::parse(text) {
        Ok(address) if address.scheme.is_none_or(is_called) => return Ok(()),
        Ok(_) => "its scheme is none of http, https, grpc, grpcs and tcp",
        Err(reason) => reason,
    };
    Err(NoAddress {
        address: without_credentials(text),
        reason,
    })
}

/// Why a text is not an address. `Display` and `Debug` do not repeat it: it may be anything.
struct NoAddress {
    address: String,
    reason: &'static str,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl fmt::Debug for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoAddress({:?})", self.reason)
    }
}

impl StdError for NoAddress {}

fn no_address(why: NoAddress) -> CodecError {
    CodecError::new("the instance's address is not an address").with_source(why)
}

/// Whether `text`, which is not an address, was meant to be one.
fn is_like_an_address(text: &str) -> bool {
    let is_graphic = text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let is_ip = || text.parse::<IpAddr>().is_ok();
    text.is_empty() || is_graphic && (text.contains(':') || is_ip())
}
