//! Values that are an address and nothing else.

use crate::{
    address::{self, no_address},
    edited::edited,
    ignored::Ignored,
    says,
};
use sd_core::{Address, Bytes, Codec, CodecError, Decoded, Edit, Entry, Instance};

/// Values such as `10.0.0.1:8080`, as their consumers take them: whatever is there is the address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainCodec {
    /// Whether an address may be a URL.
    pub(crate) has_urls: bool,
}

impl Codec for PlainCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let text = std::str::from_utf8(&entry.value)
            .map_err(|error| CodecError::new("the value is no text").with_source(error))?;
        let mut ignored = Ignored::default();
        let trimmed = text.trim_ascii();
        if trimmed.len() < text.len() {
            ignored.note("address", "there is space around it");
        }
        let address = match self.has_urls {
            true => address::read(trimmed, &mut Ignored::default())?,
            false => address::read(trimmed, &mut ignored)?,
        };
        Ok(ignored.of(Instance::new(entry.key.clone(), address)))
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        says::check(instance, &[])?;
        let address = instance.address();
        match self.has_urls {
            true => Address::try_from(address).map_err(no_address)?,
            false => address::host_and_port(address)?,
        };
        Ok(Bytes::copy_from_slice(address.as_bytes()))
    }

    fn edit(&self, entry: &Entry, edit: &Edit) -> Result<Entry, CodecError> {
        let unsayable = || Err(CodecError::cannot_say("anything but the address"));
        edited(self, entry, edit, unsayable)
    }
}
