//! The ids of the calls that were executed.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Where a provider writes down what it has executed. Each id is one write, so that none is lost when
/// the process is killed.
pub(super) struct Record(File);

impl Record {
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        Ok(Self(file))
    }

    pub(super) fn write(&self, id: &str) -> io::Result<()> {
        (&self.0).write_all(format!("{id}\n").as_bytes())
    }
}

/// How often each call was executed.
pub(super) struct Records(HashMap<String, u32>);

impl Records {
    /// What is in the files of this directory.
    pub(super) fn read(directory: &Path) -> io::Result<Self> {
        let mut records = HashMap::new();
        for file in fs::read_dir(directory)? {
            for id in fs::read_to_string(file?.path())?.lines() {
                *records.entry(id.to_owned()).or_default() += 1;
            }
        }
        Ok(Self(records))
    }

    /// How often the call was executed.
    pub(super) fn executions(&self, id: &str) -> u32 {
        self.0.get(id).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_execution_counts_whoever_has_written_it_down() {
        let directory = tempfile::tempdir().expect("a directory");
        let record = |name| Record::open(&directory.path().join(name)).expect("a file");
        record("a").write("1").expect("a write");
        let again = record("a");
        again.write("2").expect("a write");
        record("b").write("2").expect("a write");

        let records = Records::read(directory.path()).expect("the files");

        let executions = ["1", "2", "3"].map(|id| records.executions(id));
        assert_eq!(executions, [1, 2, 0]);
    }
}
