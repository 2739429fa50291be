//! The texts of an instance, in one allocation.
//!
//! A process may know 100,000 instances, each with a few short texts. An allocation for each of them, or a tree
//! of metadata, would take several times what the texts take. So they stand one behind the other in one text: as
//! records, each a letter that says which field it is, a length, and so many bytes. A length is written in digits of
//! base 64, the least first, each an ASCII character; all digits but the last have 64 added.
//!
//! Records are in the order of [`Field`], and metadata in the order of its names. So equal texts are equal bytes. A
//! text is found by walking over the records before it, which are few. The order is one in which codecs set them: what
//! is set behind all others moves none.

use super::metadata_value::MetadataValue;
use std::{fmt, ops::Range};

/// Which text it is, in the order of the records. Each has one record at most, but other addresses and metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Field {
    Address = b'A',
    Part = b'B',
    Id = b'C',
    Version = b'D',
    UnknownStatus = b'E',
    OtherAddress = b'F',
    Zone = b'G',
    /// A name, and a value that is text.
    Metadata = b'H',
    /// A name, and a value that is JSON. Among the others in the order of the names.
    JsonMetadata = b'I',
}

/// A piece of metadata.
pub(super) type Piece<'a> = (&'a str, MetadataValue<'a>);

/// All texts of an instance but its key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct InstanceText(String);

/// One text, or a name and its value.
#[derive(Clone, Copy)]
struct Record<'a> {
    field: u8,
    /// Empty, unless it is metadata.
    name: &'a str,
    text: &'a str,
}

impl InstanceText {
    /// These fields, in the order of [`Field`], the address the first of them, and these pieces of metadata, of which the
    /// last with a name counts.
    pub(super) fn new<'a>(
        fields: impl Iterator<Item = (Field, &'a str)> + Clone,
        pieces: &mut Vec<Piece<'a>>,
    ) -> Self {
        debug_assert!(fields.clone().is_sorted_by_key(|(field, _)| field));
        let fields = fields.map(|(field, text)| Record::of(field, text));
        Self(written("", fields.chain(in_order(pieces))))
    }

    /// An address alone, with room for what most instances have beside it.
    pub(super) fn of_address(address: &str) -> Self {
        let address = Record::of(Field::Address, address);
        let mut text = String::with_capacity(address.size() + 80);
        address.write(&mut text);
        Self(text)
    }

    /// Gives back what it has more room than it needs.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// The text of a field that has one record at most.
    pub(super) fn get(&self, field: Field) -> Option<&str> {
        self.all(field).next()
    }

    pub(super) fn address(&self) -> &str {
        self.records().next().map_or("", |record| record.text)
    }

    /// The texts of all records of `field`, which is no metadata.
    pub(super) fn all(&self, field: Field) -> impl Iterator<Item = &str> {
        let records = self.records().skip_while(move |it| it.field < field as u8);
        let records = records.take_while(move |it| it.field == field as u8);
        records.map(|record| record.text)
    }

    /// All metadata, in the order of the names.
    pub(super) fn metadata(&self) -> impl Iterator<Item = Piece<'_>> {
        let pieces = self.records().skip_while(|it| !it.is_metadata());
        pieces.map(|it| match it.field == Field::JsonMetadata as u8 {
            true => (it.name, MetadataValue::Json(it.text)),
            false => (it.name, MetadataValue::Text(it.text)),
        })
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn records(&self) -> Records<'_> {
        Records(&self.0)
    }

    // === Changes ===

    /// Replaces the text of `field`, or removes it.
    pub(super) fn set(&mut self, field: Field, text: Option<&str>) {
        let from = self.position(|it| it.field >= field as u8);
        let old = Records(&self.0[from..]).next();
        let old = old.filter(|it| it.field == field as u8);
        let to = from + old.map_or(0, |old| old.size());
        self.replace(from..to, text.map(|text| Record::of(field, text)));
    }

    /// Adds a text to those of `field`, which may have several.
    pub(super) fn push(&mut self, field: Field, text: &str) {
        let end = self.position(|it| it.field > field as u8);
        self.replace(end..end, Some(Record::of(field, text)));
    }

    /// Replaces the metadata called `name`, or removes it.
    pub(super) fn set_metadata(&mut self, name: &str, value: Option<MetadataValue<'_>>) {
        let from = self.position(|it| it.is_metadata() && it.name >= name);
        let to = self.position(|it| it.is_metadata() && it.name > name);
        self.replace(from..to, value.map(|value| Record::piece(name, value)));
    }

    /// Adds metadata: each of `pieces` replaces the one with its name, if there is one.
    pub(super) fn set_all_metadata<'p>(&mut self, mut pieces: impl Iterator<Item = Piece<'p>>) {
        let mut last = None;
        let has_none = self.metadata().next().is_none();
        let unsorted = pieces.by_ref().find(|(name, value)| {
            let is_next = has_none && last.is_none_or(|last| last < *name);
            if is_next {
                Record::piece(name, *value).write(&mut self.0);
                last = Some(*name);
            }
            !is_next
        });
        let Some(unsorted) = unsorted else { return };
        let mut all: Vec<Piece<'_>> = self.metadata().chain([unsorted]).collect();
        // One by one, as a lifetime is the shorter of two.
        for piece in pieces {
            all.push(piece);
        }
        let fields = self.position(|it| it.is_metadata());
        self.0 = written(&self.0[..fields], in_order(&mut all));
    }

    /// Where the first record begins that `is_it`; the end if there is none.
    fn position(&self, mut is_it: impl FnMut(&Record<'_>) -> bool) -> usize {
        let mut records = self.records();
        loop {
            let rest = records.0.len();
            if records.next().is_none_or(|record| is_it(&record)) {
                return self.0.len() - rest;
            }
        }
    }

    fn replace(&mut self, range: Range<usize>, record: Option<Record<'_>>) {
        if range.start == self.0.len() {
            return record.into_iter().for_each(|it| it.write(&mut self.0));
        }
        let after = self.0.split_off(range.end);
        self.0.truncate(range.start);
        if let Some(record) = record {
            record.write(&mut self.0);
        }
        self.0.push_str(&after);
    }
}

/// The names of the metadata, and no values.
impl fmt::Debug for InstanceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.metadata().map(|(name, _)| name))
            .finish()
    }
}

/// The records of `pieces` in the order of their names, of which each is there once: the last with it counts.
fn in_order<'a>(pieces: &mut Vec<Piece<'a>>) -> impl Iterator<Item = Record<'a>> + Clone {
    if !pieces.is_sorted_by(|(one, _), (next, _)| one < next) {
        pieces.sort_by_key(|(name, _)| *name);
        // Of those with one name, the last is kept in the place of the first.
        pieces.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
    }
    let pieces = pieces.iter();
    pieces.map(|(name, value)| Record::piece(name, *value))
}

/// `before` and the records behind it, in one allocation that has no more room than they need.
fn written<'a>(before: &str, records: impl Iterator<Item = Record<'a>> + Clone) -> String {
    let size: usize = records.clone().map(|record| record.size()).sum();
    let mut text = String::with_capacity(before.len() + size);
    text.push_str(before);
    records.for_each(|record| record.write(&mut text));
    text
}

impl<'a> Record<'a> {
    fn of(field: Field, text: &'a str) -> Self {
        Self {
            field: field as u8,
            name: "",
            text,
        }
    }

    fn piece(name: &'a str, value: MetadataValue<'a>) -> Self {
        let field = match value {
            MetadataValue::Text(_) => Field::Metadata,
            MetadataValue::Json(_) => Field::JsonMetadata,
        };
        Self {
            name,
            ..Self::of(field, value.as_str())
        }
    }

    fn is_metadata(&self) -> bool {
        self.field >= Field::Metadata as u8
    }

    fn size(&self) -> usize {
        let name = match self.is_metadata() {
            true => digits(self.name.len()) + self.name.len(),
            false => 0,
        };
        1 + name + digits(self.text.len()) + self.text.len()
    }

    fn write(&self, to: &mut String) {
        to.push(char::from(self.field));
        if self.is_metadata() {
            write_sized(self.name, to);
        }
        write_sized(self.text, to);
    }
}

/// The records of a text.
#[derive(Clone)]
struct Records<'a>(&'a str);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let mut record = Record {
            field: *self.0.as_bytes().first()?,
            name: "",
            text: "",
        };
        let mut at = 1;
        if record.is_metadata() {
            record.name = read_sized(self.0, &mut at)?;
        }
        record.text = read_sized(self.0, &mut at)?;
        self.0 = &self.0[at..];
        Some(record)
    }
}

/// How many digits a length has.
fn digits(length: usize) -> usize {
    (length | 1).ilog2() as usize / 6 + 1
}

fn write_sized(text: &str, to: &mut String) {
    let mut length = text.len();
    loop {
        let digit = (length & 63) as u8;
        length >>= 6;
        if length == 0 {
            to.push(char::from(digit));
            break;
        }
        to.push(char::from(digit | 64));
    }
    to.push_str(text);
}

/// The text in `all` whose length stands at `at`, which is behind it then.
#[inline]
fn read_sized<'a>(all: &'a str, at: &mut usize) -> Option<&'a str> {
    let (mut length, mut place) = (0, 0);
    loop {
        let digit = *all.as_bytes().get(*at)?;
        *at += 1;
        length |= usize::from(digit & 63) << place;
        place += 6;
        if digit < 64 {
            break;
        }
    }
    let begin = *at;
    *at += length;
    all.get(begin..*at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, iter};

    fn text() -> impl Strategy<Value = String> {
        let long = (0..20_000_usize).prop_map(|length| "é".repeat(length / 2));
        prop_oneof![4 => "[a-c]{0,2}", 1 => "(?s).{0,70}", 1 => long]
    }

    fn pieces() -> impl Strategy<Value = Vec<(String, bool, String)>> {
        prop::collection::vec(("[a-c]{0,2}", any::<bool>(), text()), 0..6)
    }

    fn value(is_json: bool, text: &str) -> MetadataValue<'_> {
        match is_json {
            true => MetadataValue::Json(text),
            false => MetadataValue::Text(text),
        }
    }

    fn borrowed(pieces: &[(String, bool, String)]) -> Vec<Piece<'_>> {
        let pieces = pieces.iter();
        pieces
            .map(|(name, is_json, text)| (name.as_str(), value(*is_json, text)))
            .collect()
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn what_is_written_is_read_however_it_was_written(
            address in text(),
            zones in prop::collection::vec(prop::option::of(text()), 0..3),
            part in prop::option::of(text()),
            others in prop::collection::vec(text(), 0..3),
            removed in "[a-c]{0,2}",
            first in pieces(),
            then in pieces(),
        ) {
            let mut one_by_one = InstanceText::new(iter::once((Field::Address, "?")), &mut Vec::new());
            for other in &others {
                one_by_one.push(Field::OtherAddress, other);
            }
            let mut known = BTreeMap::new();
            for (name, is_json, text) in first.iter().chain(&then) {
                one_by_one.set_metadata(name, Some(value(*is_json, text)));
                known.insert(name.as_str(), value(*is_json, text));
            }
            for zone in &zones {
                one_by_one.set(Field::Zone, zone.as_deref());
            }
            one_by_one.set(Field::Part, part.as_deref());
            one_by_one.set(Field::Address, Some(&address));

            let zone = zones.last().and_then(Option::as_deref);
            let mut fields = vec![(Field::Address, address.as_str())];
            fields.extend(part.as_deref().map(|part| (Field::Part, part)));
            fields.extend(others.iter().map(|other| (Field::OtherAddress, other.as_str())));
            fields.extend(zone.map(|zone| (Field::Zone, zone)));
            let mut at_once = InstanceText::new(fields.iter().copied(), &mut borrowed(&first));
            at_once.set_all_metadata(borrowed(&then).into_iter());
            prop_assert!(one_by_one == at_once);

            prop_assert_eq!(at_once.address(), &address);
            prop_assert_eq!(at_once.get(Field::Zone), zone);
            prop_assert_eq!(at_once.get(Field::Part), part.as_deref());
            prop_assert_eq!(at_once.get(Field::Id), None);
            prop_assert!(at_once.all(Field::OtherAddress).eq(others.iter().map(String::as_str)));
            prop_assert!(at_once.metadata().eq(known.iter().map(|(name, value)| (*name, *value))));

            at_once.set_metadata(&removed, None);
            known.remove(removed.as_str());
            prop_assert!(at_once.metadata().map(|(name, _)| name).eq(known.keys().copied()));
        }
    }
}
