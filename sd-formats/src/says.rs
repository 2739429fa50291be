//! What a format can say of an instance.

use sd_core::{CodecError, Instance, MetadataValue, Status};

/// What can be said of an instance besides its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    OtherAddresses,
    Weight,
    /// A weight of 0, which some fleets take for none.
    ZeroWeight,
    Zone,
    Draining,
    /// Anything but serving and draining.
    OtherStatus,
    Id,
    Version,
    Metadata,
    /// Metadata that is no text.
    JsonMetadata,
    /// That it is one of several of its entry.
    Part,
}

use Attribute::*;

const ALL: [Attribute; 11] = [
    OtherAddresses,
    Weight,
    ZeroWeight,
    Zone,
    Draining,
    OtherStatus,
    Id,
    Version,
    Metadata,
    JsonMetadata,
    Part,
];

impl Attribute {
    fn name(self) -> &'static str {
        match self {
            OtherAddresses => "more than one address",
            Weight => "a weight",
            ZeroWeight => "a weight of 0",
            Zone => "a zone",
            Draining => "draining",
            OtherStatus => "a status other than serving and draining",
            Id => "an id",
            Version => "a version",
            Metadata => "metadata",
            JsonMetadata => "metadata that is no text",
            Part => "more than one instance",
        }
    }

    fn is_of(self, instance: &Instance) -> bool {
        match self {
            OtherAddresses => instance.other_addresses().next().is_some(),
            Weight => instance.said_weight().is_some(),
            ZeroWeight => instance.said_weight() == Some(0),
            Zone => instance.zone().is_some(),
            Draining => instance.status() == Status::Draining,
            OtherStatus => !matches!(instance.status(), Status::Serving | Status::Draining),
            Id => instance.id().is_some(),
            Version => instance.version().is_some(),
            Metadata => instance.all_metadata().next().is_some(),
            JsonMetadata => {
                let mut pieces = instance.metadata_values();
                pieces.any(|(_, value)| matches!(value, MetadataValue::Json(_)))
            }
            Part => instance.part().is_some(),
        }
    }
}

/// Refuses an instance of which more is to be said than a format that says `says` can.
pub(crate) fn check(instance: &Instance, says: &[Attribute]) -> Result<(), CodecError> {
    let texts = [instance.id(), instance.version(), instance.zone()];
    if texts.contains(&Some("")) {
        return Err(CodecError::cannot_say("an id, version or zone of no text"));
    }
    let mut unsayable = ALL.iter().filter(|attribute| !says.contains(attribute));
    match unsayable.find(|attribute| attribute.is_of(instance)) {
        Some(attribute) => Err(CodecError::cannot_say(attribute.name())),
        None => Ok(()),
    }
}
