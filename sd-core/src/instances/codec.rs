//! Codecs: how instances are written into entries.

#[cfg(test)]
mod tests;

use super::{
    address::{Address, SCHEMES, without_credentials},
    decoded::Decoded,
    edit::Edit,
    instance::Instance,
    json::{Attributes, PlainAttributes, RawAttributes},
    json_object::JsonObject,
    status::Status,
};
use crate::registry::{Entry, Invalid, Key, Message};
use bytes::Bytes;
use std::{error::Error as StdError, fmt, net::IpAddr, sync::Arc};

/// Turns entries into instances and back.
///
/// Fleets write different values: plain addresses, JSON, a format of their own. Only the codec
/// knows the format. A value may come from any program, so a codec returns an error for what it
/// cannot read. The layer above then leaves the entry out, counts it and logs it once; no other
/// entry is affected. A panic in a codec is treated like such an error.
///
/// ```
/// use sd_core::{Bytes, Codec, CodecError, Decoded, Entry, Instance, Key};
///
/// /// Values such as `10.0.0.1 8080`.
/// struct HostAndPort;
///
/// impl Codec for HostAndPort {
///     fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
///         let text = std::str::from_utf8(&entry.value)
///             .map_err(|error| CodecError::new("the value is not text").with_source(error))?;
///         let (host, port) = text
///             .split_once(' ')
///             .ok_or_else(|| CodecError::new("the value is not a host and a port"))?;
///         Ok(Instance::new(entry.key.clone(), format!("{host}:{port}")).into())
///     }
///
///     fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
///         Ok(instance.address().replacen(':', " ", 1).into())
///     }
/// }
///
/// let entry = Entry::new(Key::new("/hello/a")?, "10.0.0.1 8080");
/// let decoded = HostAndPort.decode(&entry)?;
/// let [instance] = decoded.instances() else { unreachable!() };
/// assert_eq!(instance.address(), "10.0.0.1:8080");
/// assert_eq!(HostAndPort.encode(instance)?, entry.value);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// The instances that `entry` describes, under the entry's key, and what of it was left out because it cannot
    /// be read: attributes without which it is an instance all the same. Whoever reads the registry adds the
    /// entry's lease.
    ///
    /// An entry that is about something else is [`Decoded::NOT_MINE`].
    ///
    /// # Errors
    /// [`CodecError`] if the value is not one of this codec's.
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError>;

    /// The value that describes `instance`.
    ///
    /// # Errors
    /// [`CodecError`] if this codec has no way to write it.
    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError>;

    /// `entry` with what `edit` changes, and all else in its value as it stands. Has another key if the key says
    /// what is changed.
    ///
    /// Provided for values that have nothing but what an [`Instance`] has: the entry is decoded, changed and
    /// encoded. A codec whose values may have more, or several instances, needs one of its own.
    ///
    /// # Errors
    /// [`CodecError::cannot_say`] if the codec has no way to say the change, and another [`CodecError`] if
    /// it cannot read the entry.
    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        let read = |entry: &Entry| match self.decode(entry)?.instances() {
            [instance] => Ok(instance.clone()),
            _ => Err(CodecError::new("the entry is not one instance")),
        };
        let edited = edit.apply(read(entry)?);
        let entry = entry.clone().with_value(self.encode(&edited)?);
        match read(&entry)? {
            said if said == edited => Ok(entry),
            said if said.weight() != edited.weight() => Err(CodecError::cannot_say("a weight")),
            said if said.status() != edited.status() => Err(CodecError::cannot_say("a status")),
            _ => Err(CodecError::cannot_say("this metadata")),
        }
    }
}

impl<C: Codec + ?Sized> Codec for Arc<C> {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        (**self).decode(entry)
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        (**self).encode(instance)
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        (**self).edit(entry, edit)
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
    is_unsayable: bool,
    #[source]
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl CodecError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_unsayable: false,
            source: None,
        }
    }

    /// The format of the codec has no way to say `what`: `"a weight"`, `"draining"`.
    pub fn cannot_say(what: &str) -> Self {
        Self {
            is_unsayable: true,
            ..Self::new(format!("the format cannot say {what}"))
        }
    }

    /// What should be the address is none, because of `why`: an [`Invalid::UncallableAddress`] of
    /// [`Address`](crate::Address). The provider whose address it is is told so; logs of others do not repeat it.
    pub fn no_address(why: Invalid) -> Self {
        match why {
            Invalid::UncallableAddress { address, reason } => {
                no_address(NoAddress { address, reason })
            }
            other => Self::from(other),
        }
    }

    /// Whether it is one of [`cannot_say`](Self::cannot_say).
    pub fn is_unsayable(&self) -> bool {
        self.is_unsayable
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

/// What cannot be registered under any name.
impl From<Invalid> for CodecError {
    fn from(invalid: Invalid) -> Self {
        Self::new("it cannot be registered so").with_source(invalid)
    }
}

/// Reads what go-kit registers and what this toolkit registers: plain addresses and JSON.
///
/// - A plain address: `10.0.0.1:8080`, `[::1]:8080`, `hello.local:80`, or a URL with a host and one of the
///   schemes `http`, `https`, `grpc`, `grpcs` and `tcp`: `http://10.0.0.1:8080/path`. What else it has to
///   be like is said by the default [`AddressPolicy`](crate::AddressPolicy).
/// - JSON: `{"address":"10.0.0.1:8080","weight":3,"zone":"eu-1","status":"draining","id":"hello-1",
///   "version":"1.4.2","addresses":["http://10.0.0.1:8081"],"metadata":{"shard":7}}`, of which only the
///   address is required. Unknown fields are ignored.
///
/// It reads leniently. `null` is as nothing, a weight may be written as text, metadata may be any JSON, and there may
/// be space around the value. An attribute that cannot be read costs that attribute only: a weight that is no whole
/// number from 0 to 4,294,967,295 counts as 1, and a zone that is not text as missing. A word that is
/// no known status is [`Status::Unknown`]. [`Decoded::ignored`] says which, and no provider can register it.
///
/// It writes a plain address if an instance has nothing else, so that go-kit consumers can read it,
/// and JSON otherwise. An instance that was registered as a plain address cannot be announced as
/// draining, or be given a weight, since its consumers may not be able to read JSON.
///
/// ```
/// use sd_core::{Codec, DefaultCodec, Entry, Key, Status};
///
/// let key = Key::new("/services/hello/a")?;
/// let plain = DefaultCodec.decode(&Entry::new(key.clone(), "10.0.0.1:8080"))?;
/// assert_eq!(plain.instances()[0].address(), "10.0.0.1:8080");
///
/// let json = r#"{"address":"10.0.0.1:8080","weight":3,"status":"draining"}"#;
/// let json = DefaultCodec.decode(&Entry::new(key.clone(), json))?;
/// let instance = &json.instances()[0];
/// assert_eq!((instance.weight(), instance.status()), (3, Status::Draining));
///
/// assert!(DefaultCodec.decode(&Entry::new(key, "not an address")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultCodec;

/// Longer JSON is not an instance, and parsing it would delay the other entries.
const LONGEST_JSON: usize = 64 * 1024;

impl Codec for DefaultCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let value = entry.value.trim_ascii();
        if value.starts_with(b"{") {
            let (instance, ignored) = read_json(value, &entry.key)?;
            let ignored = (!ignored.is_empty()).then(|| CodecError::new(ignored.join("; ")));
            return Ok(Decoded::from(instance).with_ignored(ignored));
        }
        let unreadable = || CodecError::new("the value is neither an address nor JSON");
        let text = std::str::from_utf8(value).map_err(|_| unreadable())?;
        match check_address(text) {
            Ok(()) => {
                // JSON may have space around it, but go-kit takes this for a part of the address.
                let has_space = value.len() < entry.value.len();
                let space = has_space.then(|| CodecError::new("space around the address"));
                Ok(Decoded::from(Instance::new(entry.key.clone(), text)).with_ignored(space))
            }
            Err(why) if is_like_an_address(text) => Err(unreadable().with_source(why)),
            Err(_) => Err(unreadable()),
        }
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        check_address(instance.address()).map_err(no_address)?;
        let plain = Instance::new(instance.key().clone(), instance.address())
            .with_lease(instance.lease().cloned());
        if *instance == plain {
            return Ok(Bytes::copy_from_slice(instance.address().as_bytes()));
        }
        if instance.part().is_some() {
            return Err(CodecError::cannot_say("more than one instance"));
        }
        if instance.status() == Status::Unknown {
            return Err(CodecError::cannot_say(
                "a status other than serving and draining",
            ));
        }
        written(serde_json::to_vec(&Attributes::of(instance)))
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        let value = entry.value.trim_ascii();
        if !value.starts_with(b"{") {
            self.decode(entry)?;
            return Err(CodecError::cannot_say("anything but the address"));
        }
        let instance = read_json(value, &entry.key)?.0;
        if !edit.is_about(&instance) || edit.apply(instance.clone()) == instance {
            return Ok(entry.clone());
        }
        // Field by field, as other readers may know fields, or values of them, that this codec does not.
        let mut fields = JsonObject::parse(value).map_err(no_instance)?;
        let mut set = || {
            if let Some(weight) = edit.weight {
                fields.set("weight", &weight)?;
            }
            if let Some(status) = edit.status {
                fields.set("status", status.as_str())?;
            }
            if !edit.metadata.is_empty() {
                let metadata = fields.get("metadata").unwrap_or("{}").to_owned();
                let metadata = metadata.as_bytes();
                let empty = || JsonObject::parse(b"{}");
                let mut pieces = JsonObject::parse(metadata).or_else(|_| empty())?;
                for (name, value) in &edit.metadata {
                    match value {
                        Some(value) => pieces.set(name, value)?,
                        None => pieces.remove(name),
                    }
                }
                fields.set("metadata", &pieces)?;
            }
            serde_json::to_vec(&fields)
        };
        Ok(entry.clone().with_value(written(set())?))
    }
}

fn written(json: serde_json::Result<Vec<u8>>) -> Result<Bytes, CodecError> {
    let json =
        json.map_err(|error| CodecError::new("the instance cannot be written").with_source(error))?;
    if json.len() > LONGEST_JSON {
        return Err(CodecError::new("the instance is too long to be read again"));
    }
    Ok(json.into())
}

/// The instance under `key` that is in `json`, and what is wrong with the attributes that could not be read.
fn read_json(json: &[u8], key: &Key) -> Result<(Instance, Vec<&'static str>), CodecError> {
    if json.len() > LONGEST_JSON {
        return Err(CodecError::new("the value is too long for an instance"));
    }
    // Checked at once, all texts in it are.
    if let Ok(text) = std::str::from_utf8(json)
        && let Ok(attributes) = serde_json::from_str::<PlainAttributes<'_>>(text)
    {
        check_address(attributes.address).map_err(no_address)?;
        return Ok(attributes.into_instance(key.clone()));
    }
    let attributes: RawAttributes<'_> = serde_json::from_slice(json).map_err(no_instance)?;
    check_address(&attributes.address).map_err(no_address)?;
    Ok(attributes.into_instance(key.clone()))
}

fn no_instance(error: serde_json::Error) -> CodecError {
    // serde's error about data repeats it; one about syntax only says where it is wrong.
    match error.is_data() {
        true => {
            CodecError::new("the address is missing or not text, or an attribute is there twice")
        }
        false => CodecError::new("the value is not an instance in JSON").with_source(error),
    }
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
