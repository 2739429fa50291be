//! Metadata as fleets write it: a map of texts, among them some that mean more.

use crate::{
    go_json::{self, Text},
    ignored::Ignored,
};
use sd_core::{CodecError, Edit, Instance, JsonObject, MetadataValue};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

/// The piece that is the weight, in fleets that have no other place for it.
const WEIGHT: &str = "weight";
/// The piece that is the zone. Fleets have no place for it; whoever reads metadata can see it.
const ZONE: &str = "zone";

/// What the metadata of a format is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata {
    /// Whether the weight is one of its pieces.
    pub(crate) has_weight: bool,
    /// Whether values may be anything, not text alone.
    pub(crate) has_json: bool,
}

/// The fields of an object, in their order.
pub(crate) struct Object<'a, V>(Vec<(Text<'a>, V)>);

/// Pieces of metadata, each with its name. Read at once, all of them have to be text, as they nearly always are;
/// others are for [`read_pieces`].
pub(crate) type Pieces<'a> = Object<'a, Piece<'a>>;

pub(crate) enum Piece<'a> {
    Text(Cow<'a, str>),
    /// No text.
    Json(&'a str),
}

impl Pieces<'_> {
    fn iter(&self) -> impl Iterator<Item = (&str, MetadataValue<'_>)> + Clone {
        self.0.iter().map(|(name, piece)| match piece {
            Piece::Text(text) => (&*name.0, MetadataValue::Text(text)),
            Piece::Json(json) => (&*name.0, MetadataValue::Json(json)),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Piece<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|text| Self::Text(text.0))
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Object<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Fields<V> {
            type Value = Object<'de, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

impl Metadata {
    /// `instance` with the pieces in `json`, the JSON of a field.
    pub(crate) fn read(
        self,
        instance: Instance,
        field: &str,
        json: Option<&str>,
        ignored: &mut Ignored,
    ) -> Instance {
        let pieces = read_pieces(field, json, ignored);
        self.with(instance, field, pieces, ignored)
    }

    /// `instance` with the pieces of the field called `field`, if there are any.
    pub(crate) fn with(
        self,
        instance: Instance,
        field: &str,
        pieces: Option<Pieces<'_>>,
        ignored: &mut Ignored,
    ) -> Instance {
        let Some(pieces) = &pieces else {
            return instance;
        };
        let pieces = pieces.iter().map(|(name, value)| match value {
            // What Go makes of it.
            MetadataValue::Json("null") if !self.has_json => (name, MetadataValue::Text("")),
            value => (name, value),
        });
        self.with_each(instance, field, pieces, ignored)
    }

    /// `instance` with more pieces, of the field called `field`.
    pub(crate) fn with_each<'p>(
        self,
        mut instance: Instance,
        field: &str,
        pieces: impl Iterator<Item = (&'p str, MetadataValue<'p>)> + Clone,
        ignored: &mut Ignored,
    ) -> Instance {
        let is_weight = |name: &str| name == WEIGHT && self.has_weight;
        let is_zone = |name: &str, value| {
            name == ZONE && matches!(value, MetadataValue::Text(zone) if !zone.is_empty())
        };
        for (name, value) in pieces.clone() {
            if !self.has_json && matches!(value, MetadataValue::Json(_)) {
                ignored.note(format_args!("{field}.{name}"), "it is no text");
            }
            if is_weight(name) {
                match value.as_str().parse() {
                    Ok(weight) => instance = instance.with_weight(weight),
                    Err(_) => ignored.note(name, "it is no whole number"),
                }
            } else if is_zone(name, value) {
                instance = instance.with_zone(value.as_str());
            }
        }
        let others = pieces.filter(|(name, value)| !is_weight(name) && !is_zone(name, *value));
        instance.with_all_metadata(others)
    }

    /// The pieces of `instance` in the order of their names.
    pub(crate) fn written(
        self,
        instance: &Instance,
    ) -> Result<BTreeMap<&str, Written<'_>>, CodecError> {
        let mut pieces = BTreeMap::new();
        for (name, value) in instance.metadata_values() {
            if name == ZONE || name == WEIGHT && self.has_weight {
                let what = format!("metadata called \"{name}\", which is the {name} itself");
                return Err(CodecError::cannot_say(&what));
            }
            let piece = match value {
                MetadataValue::Text(text) => Written::Text(text.into()),
                MetadataValue::Json(json) => {
                    Written::Json(serde_json::from_str(json).map_err(go_json::unwritable)?)
                }
            };
            pieces.insert(name, piece);
        }
        if let Some(zone) = instance.zone() {
            pieces.insert(ZONE, Written::Text(zone.into()));
        }
        if let (true, Some(weight)) = (self.has_weight, instance.said_weight()) {
            pieces.insert(WEIGHT, self.weight(weight));
        }
        Ok(pieces)
    }

    /// What `json` is after `edit`. `None` if it does not change.
    pub(crate) fn edited<'a>(
        self,
        json: Option<&'a str>,
        edit: &Edit,
    ) -> Result<Option<JsonObject<'a>>, CodecError> {
        let weight = edit.weight.filter(|_| self.has_weight);
        if weight.is_none() && edit.metadata.is_empty() {
            return Ok(None);
        }
        let mut pieces = JsonObject::parse(json.unwrap_or("{}").as_bytes()).map_err(|error| {
            CodecError::new("the metadata is no object, and is not replaced").with_source(error)
        })?;
        if let Some(weight) = weight {
            let weight = self.weight(weight);
            pieces.set(WEIGHT, &weight).map_err(go_json::unwritable)?;
        }
        for (name, value) in &edit.metadata {
            match value {
                Some(value) => pieces.set(name, value).map_err(go_json::unwritable)?,
                None => pieces.remove(name),
            }
        }
        Ok(Some(pieces))
    }

    fn weight<'a>(self, weight: u32) -> Written<'a> {
        match self.has_json {
            true => Written::Number(weight),
            false => Written::Text(weight.to_string().into()),
        }
    }
}

/// The pieces in `json`, the JSON of a field.
pub(crate) fn read_pieces<'a>(
    field: &str,
    json: Option<&'a str>,
    ignored: &mut Ignored,
) -> Option<Pieces<'a>> {
    let Ok(Object::<&RawValue>(fields)) = serde_json::from_str(json?) else {
        ignored.note(field, "it is no object");
        return None;
    };
    let piece = |json: &'a RawValue| match go_json::text(json.get()) {
        Some(text) => Piece::Text(text),
        None => Piece::Json(json.get()),
    };
    let pieces = fields.into_iter().map(|(name, json)| (name, piece(json)));
    Some(Object(pieces.collect()))
}

/// A value of metadata, to be written.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Written<'a> {
    Text(Cow<'a, str>),
    Number(u32),
    Json(&'a RawValue),
}

/// Go writes no map at all if it has nothing.
pub(crate) fn unless_empty<'a>(
    pieces: BTreeMap<&'a str, Written<'a>>,
) -> Option<BTreeMap<&'a str, Written<'a>>> {
    (!pieces.is_empty()).then_some(pieces)
}
