//! The addresses behind the name of an endpoint.

use crate::{config::Resolve, support::run_detached};
use async_trait::async_trait;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{
    collections::{HashMap, HashSet},
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Lookup = Shared<BoxFuture<'static, Result<Vec<SocketAddr>, Arc<io::Error>>>>;

/// The system's resolver.
///
/// It blocks, for half a minute where no name server answers, and cannot be cancelled. So each
/// lookup has a thread of its own, which holds up nobody; and there is one lookup for a name at a
/// time, however often it is asked for meanwhile.
#[derive(Default)]
pub(crate) struct SystemResolver {
    under_way: Mutex<HashMap<(String, u16), Lookup>>,
}

impl SystemResolver {
    fn under_way(&self) -> MutexGuard<'_, HashMap<(String, u16), Lookup>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the answer to `lookup`, or to the same lookup that is under way.
    async fn share(
        &self,
        host: &str,
        port: u16,
        lookup: impl FnOnce(&(String, u16)) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let name = (host.to_owned(), port);
        let answer = self
            .under_way()
            .entry(name.clone())
            .or_insert_with(|| {
                let name = name.clone();
                let answer = async move {
                    let answer = run_detached("sd-etcd-resolver", move || lookup(&name)).await;
                    answer.and_then(|answer| answer).map_err(Arc::new)
                };
                answer.boxed().shared()
            })
            .clone();
        let result = answer.clone().await;
        let mut under_way = self.under_way();
        if under_way.get(&name).is_some_and(|it| it.ptr_eq(&answer)) {
            under_way.remove(&name);
        }
        result.map_err(|error| io::Error::new(error.kind(), error))
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.share(host, port, |(host, port)| {
            Ok((host.as_str(), *port).to_socket_addrs()?.collect())
        })
        .await
    }
}

/// Returns the addresses in the order in which they are tried: one family after the other, as they
/// came, and shuffled within each, so that a fleet spreads over the members behind one name.
pub(crate) fn in_order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv4) else {
        return addresses;
    };
    let mut known = HashSet::new();
    addresses.retain(|address| known.insert(*address));
    fastrand::shuffle(&mut addresses);
    addresses.sort_by_key(|address| address.is_ipv4() != first);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, time::Duration};

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_keep_their_order_and_addresses_do_not() {
        let given = addresses(&["[::1]:1", "10.0.0.1:1", "10.0.0.2:1", "[::2]:1", "[::1]:1"]);
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let tried = in_order(given.clone());
            assert!(tried[..2].iter().all(SocketAddr::is_ipv6));
            assert_eq!(tried.len(), 4);
            seen.insert(tried);
        }
        assert_eq!(seen.len(), 4);
    }

    /// Row 44: a resolver that answers nobody costs one thread, not one for each attempt.
    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time() {
        let resolver = SystemResolver::default();
        let (answer, question) = mpsc::channel();
        let one = resolver.share("etcd", 1, move |_| Ok(question.recv().unwrap_or_default()));
        let given_up = tokio::time::timeout(Duration::from_millis(10), one).await;
        assert!(given_up.is_err());

        let two = resolver.share("etcd", 1, |_| panic!("asked twice"));
        answer.send(addresses(&["10.0.0.1:1"])).unwrap();
        assert_eq!(two.await.unwrap(), addresses(&["10.0.0.1:1"]));

        let three = resolver.share("etcd", 1, |_| Err(io::Error::other("gone")));
        assert_eq!(three.await.unwrap_err().to_string(), "gone");
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let found = SystemResolver::default().resolve("localhost", 7).await;
        let found = found.unwrap();
        assert!(
            found
                .iter()
                .all(|it| it.ip().is_loopback() && it.port() == 7)
        );
        assert!(!found.is_empty());
    }
}
