//! The processes that are killed.

use super::{PREFIX, PROVIDE, PROVIDERS, records::Records};
use crate::{
    etcd::Etcd,
    eventually::{PATIENCE, eventually},
    network::free_ports,
    process::Process,
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// All providers, each on a port of its own. Killed when dropped.
pub(super) struct Providers {
    program: PathBuf,
    endpoint: String,
    addresses: [String; PROVIDERS],
    processes: [Option<Process>; PROVIDERS],
    /// A file for each provider.
    records: TempDir,
    log: TempDir,
}

impl Providers {
    /// Returns when all are registered.
    pub(super) async fn start(program: &Path, etcd: &Etcd) -> Self {
        let mut providers = Self {
            program: program.to_owned(),
            endpoint: etcd.endpoint(),
            addresses: free_ports::<PROVIDERS>().map(|port| format!("127.0.0.1:{port}")),
            processes: [const { None }; PROVIDERS],
            records: TempDir::with_prefix("sd-kills-").expect("a directory"),
            log: TempDir::with_prefix("sd-kills-").expect("a directory"),
        };
        for index in 0..PROVIDERS {
            providers.start_again(index);
        }
        let keys = || etcd.keys(PREFIX);
        let are_all = |keys: &Vec<String>| keys.len() == PROVIDERS;
        eventually(PATIENCE, "all providers", keys, are_all).await;
        providers
    }

    pub(super) fn addresses(&self) -> [String; PROVIDERS] {
        self.addresses.clone()
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, index: usize) {
        self.processes[index] = None;
    }

    /// Does not wait until it is registered.
    pub(super) fn start_again(&mut self, index: usize) {
        let address = &self.addresses[index];
        let record = self.records.path().join(index.to_string());
        let record = record.to_str().expect("the path is text");
        let arguments = [PROVIDE, &self.endpoint, address, record].map(str::to_owned);
        let log = self.log.path().join(index.to_string());
        self.processes[index] = Some(Process::spawn(&self.program, &arguments, &log));
    }

    /// What they have executed.
    pub(super) fn records(&self) -> Records {
        Records::read(self.records.path()).expect("the files can be read")
    }
}
