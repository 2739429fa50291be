//! The user that a client authenticates as.

use super::secret::Secret;
use async_trait::async_trait;
use sd_core::Cause;
use std::{error::Error as StdError, fmt, sync::Arc};

/// A user of etcd, with its password. `Debug` shows the name only.
///
/// Clones share the password, which is wiped from memory with the last of them. Not wiped are the copies
/// that an authentication makes of it: in etcd-client's request, in HTTP/2's and TLS's buffers. Those live
/// until it is answered. A password that is given as `&str` or that reallocates on the way here leaves a copy
/// with whoever made it.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: Secret<String>,
}

impl User {
    /// The user `name` with this password.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: Secret::new(password.into()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn password(&self) -> &str {
        self.password.expose()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A source of credentials, asked at each authentication.
///
/// So a password can be changed under a running client: change it in etcd and in the source, in any
/// order. A closure that returns a future of a [`User`] is a source, and so is a [`User`] itself.
///
/// ```
/// use sd_etcd::{EtcdClient, User};
///
/// # async fn example() -> sd_core::Result<()> {
/// let client = EtcdClient::builder(["http://10.0.0.1:2379"])
///     .credentials(|| async {
///         let password = std::fs::read_to_string("/run/secrets/etcd")?;
///         std::io::Result::Ok(User::new("discovery", password.trim_end()))
///     })
///     .build()?;
/// # client.close().await;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// Returns the user to authenticate as. May wait, for a vault for instance; waiting counts
    /// towards [`authentication_timeout`](crate::EtcdClientBuilder::authentication_timeout).
    ///
    /// # Errors
    /// Any, but none whose text holds the password, since it is logged. The authentication is tried again
    /// after a pause.
    async fn user(&self) -> Result<User, Cause>;
}

#[async_trait]
impl Credentials for User {
    async fn user(&self) -> Result<User, Cause> {
        Ok(self.clone())
    }
}

#[async_trait]
impl<S, F, E> Credentials for S
where
    S: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<User, E>> + Send,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    async fn user(&self) -> Result<User, Cause> {
        self().await.map_err(|error| Arc::from(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closure_and_a_user_are_sources() {
        let user = User::new("discovery", "secret");
        assert_eq!(Credentials::user(&user).await.unwrap(), user);
        let source = || async { std::io::Result::Ok(User::new("discovery", "secret")) };
        assert_eq!(source.user().await.unwrap(), user);
        let broken = || async { Err::<User, _>(std::io::Error::other("no vault")) };
        assert_eq!(broken.user().await.unwrap_err().to_string(), "no vault");
    }

    #[test]
    fn no_password_is_shown() {
        let shown = format!("{:?}", User::new("discovery", "secret"));
        assert!(shown.contains("discovery") && !shown.contains("secret"));
    }
}
