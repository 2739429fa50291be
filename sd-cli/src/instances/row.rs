//! Instances as they are printed.

use super::Read;
use crate::{
    etcd::{Lease, RawEntry},
    output::{Table, colour},
};
use anstyle::Style;
use sd_core::{Escaped, Instance, Status};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An instance, or an entry that cannot be read: a line of a table, an object of JSON. What is not known is left out.
/// docs/sdctl.md describes the fields; they stay.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) service: String,
    pub(crate) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) metadata: Map<String, Value>,
    /// As etcdctl writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modified_revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) puts: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_revisions: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ignored: Option<String>,
}

impl Row {
    /// What an instance says of itself.
    pub(crate) fn of(service: &str, instance: &Instance) -> Self {
        let metadata = instance.all_metadata().map(|(name, text)| {
            let is_json = instance.is_json_metadata(name);
            let json = is_json.then(|| serde_json::from_str(text).ok()).flatten();
            (name.to_owned(), json.unwrap_or_else(|| Value::from(text)))
        });
        Self {
            service: service.to_owned(),
            key: instance.key().to_string(),
            part: instance.part().map(str::to_owned),
            address: Some(instance.address().to_owned()),
            other_addresses: instance.other_addresses().map(str::to_owned).collect(),
            weight: Some(instance.weight()),
            zone: instance.zone().map(str::to_owned),
            status: Some(instance.status_word().to_owned()),
            id: instance.id().map(str::to_owned),
            version: instance.version().map(str::to_owned),
            metadata: metadata.collect(),
            ..Self::default()
        }
    }

    /// One for each instance of an entry, or one that says why there is none.
    pub(crate) fn of_read(key: &str, read: &Read) -> Vec<Self> {
        let mut rows = match &read.instances {
            Ok(instances) => instances
                .iter()
                .map(|it| Self::of(&read.service, it))
                .collect(),
            Err(why) => vec![Self {
                service: read.service.clone(),
                key: key.to_owned(),
                unreadable: Some(why.clone()),
                ..Self::default()
            }],
        };
        for row in &mut rows {
            row.ignored.clone_from(&read.ignored);
        }
        rows
    }

    /// The same with what etcd knows of the entry at `revision`.
    pub(crate) fn of_entry(
        raw: &RawEntry,
        read: &Read,
        leases: &BTreeMap<i64, Lease>,
        revision: i64,
    ) -> Vec<Self> {
        let mut rows = Self::of_read(raw.entry.key.as_str(), read);
        let lease = leases.get(&raw.lease);
        for row in &mut rows {
            row.lease = (raw.lease != 0).then(|| shown_lease(raw.lease));
            row.ttl_seconds = lease.map(|lease| lease.granted);
            row.left_seconds = lease.map(|lease| lease.left);
            row.created_revision = Some(raw.created);
            row.modified_revision = Some(raw.modified);
            row.puts = Some(raw.puts);
            row.age_revisions = Some((revision - raw.created).max(0));
        }
        rows
    }

    /// The status, and what colour it has.
    fn shown_status(&self) -> (String, Style) {
        match (&self.unreadable, self.status.as_deref()) {
            (Some(_), _) => ("unreadable".to_owned(), colour::BAD),
            (None, None) => (String::new(), Style::new()),
            (None, Some(word)) => {
                let style = match word {
                    _ if word == Status::Serving.as_str() => colour::GOOD,
                    _ => colour::WARNING,
                };
                (Escaped(word).to_string(), style)
            }
        }
    }

    /// What consumers make less of than its provider meant.
    fn note(&self) -> String {
        match (&self.unreadable, &self.ignored) {
            (Some(why), _) => why.clone(),
            (None, Some(why)) => format!("in part: {why}"),
            (None, None) => String::new(),
        }
    }

    fn shown_metadata(&self) -> String {
        let pieces = self.metadata.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        });
        Escaped(pieces.collect::<Vec<_>>().join(",")).to_string()
    }
}

/// The number of a lease as etcdctl writes it.
pub(crate) fn shown_lease(id: i64) -> String {
    format!("{id:x}")
}

/// The table of instances.
pub(crate) fn instance_table(rows: &[Row], is_wide: bool, has_service: bool) -> Table {
    let has_note = rows.iter().any(|row| !row.note().is_empty());
    let service = has_service.then_some("SERVICE");
    let narrow = [
        "ADDRESS", "WEIGHT", "ZONE", "STATUS", "VERSION", "AGE", "TTL", "LEFT", "KEY",
    ];
    let wide = ["ID", "LEASE", "CREATED", "PUTS", "OTHERS", "METADATA"];
    let wide = wide.into_iter().filter(|_| is_wide);
    let headings = service.into_iter().chain(narrow).chain(wide);
    let mut table = Table::new(headings.chain(has_note.then_some("NOTE")));
    let number = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
    let seconds = |secs: Option<i64>| secs.map_or(String::new(), |secs| format!("{secs}s"));
    let text = |text: &Option<String>| {
        let text = text.as_ref().map(|text| Escaped(text).to_string());
        text.unwrap_or_default()
    };
    for row in rows {
        let plain = |text: String| (text, Style::new());
        let is_due = row
            .ttl_seconds
            .zip(row.left_seconds)
            .is_some_and(|(ttl, left)| left * 3 < ttl);
        let left = match is_due {
            true => colour::WARNING,
            false => Style::new(),
        };
        let key = match &row.part {
            Some(part) => format!("{}#{part}", row.key),
            None => row.key.clone(),
        };
        let mut cells = Vec::with_capacity(17);
        if has_service {
            cells.push(plain(Escaped(&row.service).to_string()));
        }
        cells.extend([
            plain(text(&row.address)),
            plain(number(row.weight.map(i64::from))),
            plain(text(&row.zone)),
            row.shown_status(),
            plain(text(&row.version)),
            plain(
                row.age_revisions
                    .map_or(String::new(), |age| format!("{age}rev")),
            ),
            plain(seconds(row.ttl_seconds)),
            (seconds(row.left_seconds), left),
            plain(Escaped(&key).to_string()),
        ]);
        if is_wide {
            cells.extend([
                plain(text(&row.id)),
                plain(text(&row.lease)),
                plain(number(row.created_revision)),
                plain(number(row.puts)),
                plain(Escaped(row.other_addresses.join(",")).to_string()),
                plain(row.shown_metadata()),
            ]);
        }
        if has_note {
            cells.push((row.note(), colour::BAD));
        }
        table.styled_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Key;

    #[test]
    fn a_row_has_what_the_instance_says_and_json_stays_json() {
        let instance = Instance::new(Key::new("/services/hello/a").unwrap(), "10.0.0.1:80")
            .with_weight(3)
            .with_metadata("team", "search")
            .with_json_metadata("shards", "[1,2]");
        let json = serde_json::to_string(&Row::of("hello", &instance)).unwrap();
        let expected =
            r#"{"service":"hello","key":"/services/hello/a","address":"10.0.0.1:80","weight":3,"#
                .to_owned()
                + r#""status":"serving","metadata":{"shards":[1,2],"team":"search"}}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn a_table_shows_why_an_entry_cannot_be_read() {
        let read = Read {
            service: "hello".into(),
            instances: Err("the value is empty".into()),
            ignored: None,
        };
        let rows = Row::of_read("/services/hello/x", &read);
        let lines = instance_table(&rows, false, false).lines();
        let line = anstream::adapter::strip_str(&lines[1]).to_string();
        assert!(
            line.contains("unreadable") && line.ends_with("the value is empty"),
            "{line}"
        );
    }
}
