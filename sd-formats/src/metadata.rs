//! Metadata as fleets write it: a map of texts, among them some that mean more.

use crate::{go_json, ignored::Ignored};
use sd_core::{CodecError, Edit, Instance, JsonObject, MetadataValue};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

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

/// A value of metadata.
pub(crate) enum Piece<'a> {
    Text(Cow<'a, str>),
    /// No text.
    Json(&'a str),
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
        let Some(json) = json else { return instance };
        let Ok(pieces) = JsonObject::parse(json.as_bytes()) else {
            ignored.note(field, "it is no object");
            return instance;
        };
        let mut read = Vec::new();
        for (name, value) in pieces.iter() {
            let piece = match go_json::text(value) {
                Some(text) => Piece::Text(text),
                // What Go makes of it.
                None if value == "null" && !self.has_json => Piece::Text("".into()),
                None => Piece::Json(value),
            };
            if !self.has_json && matches!(piece, Piece::Json(_)) {
                ignored.note(format_args!("{field}.{name}"), "it is no text");
            }
            read.push((name, piece));
        }
        self.with_pieces(instance, &read, ignored)
    }

    /// `instance` with more pieces.
    pub(crate) fn with_pieces(
        self,
        mut instance: Instance,
        pieces: &[(&str, Piece<'_>)],
        ignored: &mut Ignored,
    ) -> Instance {
        let mut others = Vec::with_capacity(pieces.len());
        for (name, piece) in pieces {
            match (*name, piece) {
                (WEIGHT, piece) if self.has_weight => {
                    let said = match piece {
                        Piece::Text(Cow::Borrowed(text)) | Piece::Json(text) => text.parse().ok(),
                        Piece::Text(Cow::Owned(_)) => None,
                    };
                    match said {
                        Some(weight) => instance = instance.with_weight(weight),
                        None => ignored.note(name, "it is no whole number"),
                    }
                }
                (ZONE, Piece::Text(zone)) if !zone.is_empty() => {
                    instance = instance.with_zone(zone);
                }
                (name, Piece::Text(text)) => others.push((name, MetadataValue::Text(text))),
                (name, Piece::Json(json)) => others.push((name, MetadataValue::Json(json))),
            }
        }
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
