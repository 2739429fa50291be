//! The bytes of a snapshot file: a line that says of what it is, a line for each instance, and a checksum.

use crate::{
    instances::{Instance, InstanceRead, InstanceWritten, Instances},
    registry::Prefix,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_128;

/// Of the form of the file. Others are not read.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    snapshot: u32,
    prefix: String,
    format: String,
    instances: usize,
    /// In milliseconds since 1970.
    written: u64,
}

pub(super) struct Contents {
    pub(super) instances: Vec<Instance>,
    pub(super) written: SystemTime,
}

impl Contents {
    /// The bytes of a file that says that these are the instances now.
    pub(super) fn write(
        instances: &Instances,
        prefix: &Prefix,
        format: &str,
        now: SystemTime,
    ) -> serde_json::Result<Vec<u8>> {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since_1970.unwrap_or_default().as_millis();
        let header = Header {
            snapshot: VERSION,
            prefix: prefix.as_str().to_owned(),
            format: format.to_owned(),
            instances: instances.len(),
            written: u64::try_from(millis).unwrap_or(u64::MAX),
        };
        let mut bytes = serde_json::to_vec(&header)?;
        bytes.push(b'\n');
        for instance in instances {
            serde_json::to_writer(&mut bytes, &InstanceWritten::from(&**instance))?;
            bytes.push(b'\n');
        }
        let checksum = checksum(&bytes);
        bytes.extend(checksum.into_bytes());
        Ok(bytes)
    }

    /// # Errors
    /// Why the file cannot be used.
    pub(super) fn read(bytes: &[u8], prefix: &Prefix, format: &str) -> Result<Self, &'static str> {
        const CHANGED: &str = "it was cut short or changed";
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .ok_or(CHANGED)?;
        let (lines, found) = bytes.split_at(end + 1);
        if found != checksum(lines).as_bytes() {
            return Err(CHANGED);
        }
        let mut lines = lines[..end].split(|byte| *byte == b'\n');
        let header: Header = lines
            .next()
            .and_then(|header| serde_json::from_slice(header).ok())
            .ok_or("it is no snapshot")?;
        if header.snapshot != VERSION {
            return Err("it is of another version");
        }
        if header.prefix != prefix.as_str() {
            return Err("it is of another prefix");
        }
        if header.format != format {
            return Err("it is of another format");
        }
        let read = |line| {
            let read: InstanceRead = serde_json::from_slice(line).ok()?;
            let instance = Instance::try_from(read).ok()?;
            prefix.matches(instance.key().as_str()).then_some(instance)
        };
        let instances: Option<Vec<_>> = lines.map(read).collect();
        let instances = instances.filter(|all| all.len() == header.instances);
        let since_1970 = Duration::from_millis(header.written);
        let written = SystemTime::UNIX_EPOCH.checked_add(since_1970);
        match (instances, written) {
            (Some(instances), Some(written)) => Ok(Self { instances, written }),
            _ => Err("it has a line that is no instance under the prefix"),
        }
    }
}

fn checksum(lines: &[u8]) -> String {
    format!("{:032x}", xxh3_128(lines))
}
