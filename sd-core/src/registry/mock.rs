//! A client whose answers are scripted call by call.
//!
//! For behaviour over time (leases that expire, watches that end) use the memory registry. Use a
//! mock for answers that no registry gives on demand, and for calls that must not be made.

pub use generated::MockClient;

/// The macro also makes types that `mockall` documents.
#[allow(missing_docs)]
mod generated {
    use crate::registry::{
        client::Client,
        deregistered::Deregistered,
        entry::Snapshot,
        error::Result,
        lease::LeaseId,
        prefix::Prefix,
        registration::Registration,
        revision::Revision,
        service::Service,
        watch::{Watch, WatchError},
    };
    use async_trait::async_trait;

    mockall::mock! {
        /// A scripted [`Client`](crate::Client), made by [mockall](https://docs.rs/mockall). Each
        /// method has an `expect_` method that scripts its answers. An unexpected call panics.
        ///
        /// ```
        /// use sd_core::{Client, Deregistered, Error, Key, MockClient, Registrar, Registration, Service};
        ///
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let mut client = MockClient::new();
        /// // The registry is down for two attempts, and then answers.
        /// client
        ///     .expect_register()
        ///     .times(2)
        ///     .returning(|_| Err(Error::unavailable("connection refused")));
        /// client
        ///     .expect_register()
        ///     .times(1)
        ///     .withf(|service| service.value == "10.0.0.1:8080")
        ///     .returning(|service| {
        ///         let lease = 7.into();
        ///         Ok(Registration::detached(service.key.under(&lease), lease))
        ///     });
        /// client
        ///     .expect_deregister()
        ///     .times(1)
        ///     .returning(|_| Ok(Deregistered::Removed));
        ///
        /// let service = Service::new("/services/hello/10.0.0.1:8080", "10.0.0.1:8080")?;
        /// let registrar = Registrar::new(client, service);
        /// registrar.register().await?;
        /// assert!(registrar.status().borrow().is_registered());
        /// assert_eq!(registrar.deregister().await?, Deregistered::Removed);
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// [`Registration::detached`](crate::Registration::detached) makes a registration that is
        /// never lost. [`Registration::channel`](crate::Registration::channel) makes one that the
        /// test can lose; keep its sender, since dropping it reports
        /// [`Lost::Closed`](crate::Lost::Closed).
        #[derive(Debug)]
        pub Client {}

        #[async_trait]
        impl Client for Client {
            async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot>;
            async fn watch_prefix(
                &self,
                prefix: &Prefix,
                after: &Revision,
            ) -> Result<Watch, WatchError>;
            async fn register(&self, service: &Service) -> Result<Registration>;
            async fn deregister(&self, service: &Service) -> Result<Deregistered>;
            fn lease_id(&self) -> Option<LeaseId>;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{client::Client, error::Error, prefix::Prefix};

    #[tokio::test]
    async fn a_mock_is_a_client_like_any_other() {
        let mut mock = MockClient::new();
        mock.expect_get_entries()
            .withf(|prefix| prefix.as_str() == "/svc/")
            .returning(|_| Err(Error::unavailable("down")));
        mock.expect_lease_id().return_const(None);
        let client: Box<dyn Client> = Box::new(mock);
        let listed = client.get_entries(&Prefix::new("/svc").unwrap()).await;
        assert!(listed.is_err_and(|error| error.is_transient()));
        assert_eq!(client.lease_id(), None);
    }
}
