//! Calls to the clients under test. Each must answer within the timeout, or the check fails.

use crate::{
    context::Context,
    error::{CheckError, CheckResult, ensure},
    harness::TestClient,
};
use bytes::Bytes;
use sd_core::{
    Client, Deregistered, Editor, Key, Lost, Prefix, Reclaimed, Registration, Revision, Service,
    Snapshot, Watch,
};
use std::{collections::BTreeMap, sync::Arc};

/// Keys with their values.
pub(crate) type Entries = BTreeMap<Key, Bytes>;

impl Context<'_> {
    /// A new client.
    pub(crate) async fn client(&self) -> CheckResult<Arc<dyn Client>> {
        Ok(self.test_client().await?.client)
    }

    /// A new client that edits what it does not hold. The check is not run if there is none.
    pub(crate) async fn editor(&self) -> CheckResult<Arc<dyn Editor>> {
        let editor = self.test_client().await?.editor;
        editor.ok_or_else(|| CheckError::NotRun("the client is no `Editor`".to_owned()))
    }

    /// A new client, with the ways to end it.
    pub(crate) async fn test_client(&self) -> CheckResult<TestClient> {
        self.harness_call("client", self.harness().client()).await
    }

    pub(crate) async fn snapshot(
        &self,
        client: &dyn Client,
        prefix: &Prefix,
    ) -> CheckResult<Snapshot> {
        Ok(self
            .within("get_entries", client.get_entries(prefix))
            .await??)
    }

    pub(crate) async fn list(&self, client: &dyn Client, prefix: &Prefix) -> CheckResult<Entries> {
        entries_of(&self.snapshot(client, prefix).await?)
    }

    pub(crate) async fn watch(
        &self,
        client: &dyn Client,
        prefix: &Prefix,
        after: &Revision,
    ) -> CheckResult<Watch> {
        let watch = client.watch_prefix(prefix, after);
        Ok(self.within("watch_prefix", watch).await??)
    }

    pub(crate) async fn register(
        &self,
        client: &dyn Client,
        service: &Service,
    ) -> CheckResult<Registration> {
        Ok(self.within("register", client.register(service)).await??)
    }

    pub(crate) async fn deregister(
        &self,
        client: &dyn Client,
        service: &Service,
    ) -> CheckResult<Deregistered> {
        Ok(self
            .within("deregister", client.deregister(service))
            .await??)
    }

    /// Why the registration was lost; it must say so within the timeout.
    pub(crate) async fn lost(&self, registration: &mut Registration) -> CheckResult<Lost> {
        self.within("notice of the loss", registration.lost()).await
    }

    pub(crate) async fn reclaim(
        &self,
        registration: &Registration,
        value: impl Into<Bytes> + Send,
    ) -> CheckResult<Reclaimed> {
        Ok(self
            .within("reclaim", registration.reclaim(value))
            .await??)
    }

    /// The new registration after a reclaim that must succeed.
    pub(crate) async fn reclaim_held(
        &self,
        registration: &Registration,
        value: impl Into<Bytes> + Send,
    ) -> CheckResult<Registration> {
        match self.reclaim(registration, value).await? {
            Reclaimed::Held(registration) => Ok(registration),
            Reclaimed::Taken { value, .. } => Err(CheckError::Failed(format!(
                "reclaim says that the key is taken, by {value:?}"
            ))),
        }
    }
}

/// The entries of a snapshot; fails the check if a key is listed twice.
pub(crate) fn entries_of(snapshot: &Snapshot) -> CheckResult<Entries> {
    let mut listed = Entries::new();
    for entry in &snapshot.entries {
        let before = listed.insert(entry.key.clone(), entry.value.clone());
        ensure!(before.is_none(), "the list shows {} twice", entry.key);
    }
    Ok(listed)
}

/// Fails the check if the registration says that it is lost. `what` names it in the message.
pub(crate) fn ensure_held(registration: &Registration, what: &str) -> CheckResult {
    let loss = registration.loss();
    ensure!(loss.is_none(), "{what} is said to be lost: {loss:?}");
    Ok(())
}
