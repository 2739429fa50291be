//! Several registrations of one provider.

use super::{
    registrar::Registrar,
    status::{RegistrarStatus, Updated},
};
use crate::{
    instances::Edit,
    registry::{Deregistered, Error, Escaped, Invalid, Result},
};
use futures::{FutureExt, StreamExt, future, stream::FuturesUnordered};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// One provider in several formats, or in several registries, as long as a fleet moves from one to the other.
///
/// Each member is a [`Registrar`] with a name. The provider is registered when all
/// [required](Need::Required) members are; the others go on trying. Members may be added and removed
/// while it runs.
///
/// ```
/// # use sd_core::*;
/// # async fn provider(client: impl Client + Clone, old: &dyn Format) -> Result<()> {
/// let advert = Advert::new("10.0.0.1:8080").weight(3);
/// let new = DefaultFormat::default();
///
/// let group = RegistrarGroup::new();
/// let registrar = Registrar::of(client.clone(), old, "hello", &advert)?;
/// group.add("old", registrar, Need::Required)?;
/// group.add("new", Registrar::of(client, &new, "hello", &advert)?, Need::Optional)?;
/// group.register().await?;
///
/// // Once all consumers read the new format:
/// group.remove("old").await;
///
/// group.deregister().await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping the group drops its registrars, which deregister in the background.
#[derive(Default)]
pub struct RegistrarGroup {
    members: Mutex<Vec<Member>>,
}

/// Whether a provider counts as registered without a member of its [`RegistrarGroup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It does not.
    Required,
    /// It does: the member is tried beside the others.
    Optional,
}

#[derive(Clone)]
struct Member {
    name: Arc<str>,
    need: Need,
    registrar: Arc<Registrar>,
}

impl RegistrarGroup {
    /// A group without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `registrar` as the member `name`. It is registered with the next [`register`](Self::register).
    ///
    /// # Errors
    /// [`Invalid::Config`] if there is a member of this name.
    pub fn add(
        &self,
        name: impl Into<String>,
        registrar: Registrar,
        need: Need,
    ) -> Result<(), Invalid> {
        let name = name.into();
        let mut members = self.lock();
        if members.iter().any(|member| *member.name == *name) {
            let name = Escaped(&name);
            let taken = format!("the group has a member called {name} already");
            return Err(Invalid::Config(taken));
        }
        members.push(Member {
            name: name.into(),
            need,
            registrar: Arc::new(registrar),
        });
        Ok(())
    }

    /// Registers all members; resolves when all required ones are registered. See [`Registrar::register`]; cancelling stops the
    /// waiting, not the trying.
    ///
    /// # Errors
    /// The error of the first required member that has given up. The other members stay as they are;
    /// [`deregister`](Self::deregister) ends them.
    pub async fn register(&self) -> Result<()> {
        let members = self.members();
        let mut required = FuturesUnordered::new();
        for member in &members {
            match member.need {
                Need::Required => required.push(member.registrar.register()),
                // The first poll leaves the request, and the registrar's task does the rest. Its status says how it
                // fares.
                Need::Optional => drop(member.registrar.register().now_or_never()),
            }
        }
        while let Some(registered) = required.next().await {
            registered?;
        }
        Ok(())
    }

    /// [`register`](Self::register), but waits no longer than `limit`. What is not registered then goes on trying.
    ///
    /// # Errors
    /// Those of `register`. After `limit` the last error of a required member, or [`Error::Timeout`] if there was none.
    pub async fn register_within(&self, limit: Duration) -> Result<()> {
        if let Ok(registered) = timeout(limit, self.register()).await {
            return registered;
        }
        let required = self.members().into_iter();
        let mut required = required.filter(|member| member.need == Need::Required);
        let error = required.find_map(|member| match &*member.registrar.status().borrow() {
            RegistrarStatus::Registering { error, .. }
            | RegistrarStatus::Reclaiming { error, .. } => error.clone(),
            _ => None,
        });
        Err(error.unwrap_or(Error::Timeout {
            operation: "register",
            after: limit,
        }))
    }

    /// Changes attributes of all members ([`Registrar::edit`]). Returns the outcome of each by its name: one
    /// format may have no way to say what the other can.
    pub async fn edit(&self, edit: &Edit) -> Vec<(String, Result<Updated>)> {
        self.each(async |registrar| registrar.edit(edit).await)
            .await
    }

    /// Deregisters all members at the same time, each with its own bound ([`Registrar::deregister`]). Returns the outcome of
    /// each by its name.
    pub async fn deregister(&self) -> Vec<(String, Result<Deregistered>)> {
        self.each(async |registrar| registrar.deregister().await)
            .await
    }

    /// Deregisters the member `name`, and drops it. `None` if there is no such member.
    ///
    /// If the future is dropped, the member deregisters in the background.
    pub async fn remove(&self, name: &str) -> Option<Result<Deregistered>> {
        let removed = {
            let mut members = self.lock();
            let place = members.iter().position(|member| &*member.name == name)?;
            members.remove(place)
        };
        Some(removed.registrar.deregister().await)
    }

    /// The members in the order in which they were added: name, need and status of each.
    pub fn status(&self) -> Vec<(String, Need, RegistrarStatus)> {
        let members = self.members().into_iter();
        let status = members.map(
            |Member {
                 name,
                 need,
                 registrar,
             }| {
                let status = registrar.status().borrow().as_ref().clone();
                (name.as_ref().to_owned(), need, status)
            },
        );
        status.collect()
    }

    /// Whether all required members are registered and proven ([`Registrar::is_proven`]). Not if there is none.
    pub fn is_proven(&self) -> bool {
        let members = self.members();
        let mut required = members
            .iter()
            .filter(|member| member.need == Need::Required)
            .peekable();
        required.peek().is_some() && required.all(|member| member.registrar.is_proven())
    }

    async fn each<T>(
        &self,
        ask: impl AsyncFn(&Registrar) -> Result<T>,
    ) -> Vec<(String, Result<T>)> {
        let members = self.members();
        let answers = members.iter().map(|member| ask(&member.registrar));
        let answers = future::join_all(answers).await;
        let names = members.iter().map(|member| member.name.as_ref().to_owned());
        names.zip(answers).collect()
    }

    fn members(&self) -> Vec<Member> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RegistrarGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members();
        let names = members.iter().map(|member| (&member.name, member.need));
        f.debug_map().entries(names).finish()
    }
}
