//! Which addresses are called.

use super::{
    address::{Address, SCHEMES, without_credentials},
    instance::Instance,
};
use crate::registry::Invalid;
use ipnet::IpNet;
use std::{
    net::IpAddr,
    ops::{Bound, RangeBounds, RangeInclusive},
    sync::Arc,
};

/// Which addresses a consumer calls and a provider may register.
///
/// Whoever may write under a prefix directs its traffic. A policy bounds where to: without one, an entry
/// with the address `169.254.169.254:80` makes every consumer call the metadata service of its own
/// cloud, with the credentials that it sends to the service. An [`Instancer`](crate::Instancer) leaves
/// out an entry whose address the policy refuses, as one that cannot be read, and a
/// [`Registrar`](crate::Registrar) does not register it. Give both sides the same policy.
///
/// The default allows what a fleet needs, whichever codec has read it:
///
/// - `host:port`, or a URL of one of the schemes `http`, `https`, `grpc`, `grpcs` and `tcp`. Only `http`
///   and `https` can do without a port;
/// - a host that is an IP address or a name in ASCII (names in other scripts in Punycode). No user name or
///   password;
/// - ports 1 to 65535;
/// - no IP address that is unspecified (`0.0.0.0`), link-local (`169.254.0.0/16`, `fe80::/10`), multicast
///   or broadcast.
///
/// ```
/// use sd_core::{AddressPolicy, Instance, Key};
///
/// let instance = |address| Instance::new(Key::new("/hello/10.1.2.3:8080").unwrap(), address);
/// let policy = AddressPolicy::default();
/// assert!(policy.check(&instance("10.1.2.3:8080")).is_ok());
/// assert!(policy.check(&instance("169.254.169.254:80")).is_err());
///
/// let policy = AddressPolicy::default()
///     .networks(["10.1.0.0/16", "2001:db8::/32"])?
///     .ports(1024..)
///     .schemes(["https"])
///     .key_names_address();
/// assert!(policy.check(&instance("10.1.2.3:8080")).is_ok());
/// for other in ["10.2.0.1:8080", "10.1.2.3:80", "http://10.1.2.3:8080", "10.1.2.3:8081"] {
///     assert!(policy.check(&instance(other)).is_err());
/// }
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// # Limits
/// A policy reads the address and asks no resolver. A name may lead anywhere, also to a link-local
/// address; set [`networks`](Self::networks) where that matters. It does not tell who answers at an
/// address: TLS does.
#[derive(Debug, Clone)]
pub struct AddressPolicy(Option<Rules>);

#[derive(Debug, Clone)]
struct Rules {
    /// `None`: all but those that are refused by default.
    networks: Option<Arc<[IpNet]>>,
    ports: RangeInclusive<u16>,
    /// `None`: those that are called by default.
    schemes: Option<Arc<[Box<str>]>>,
    key_names_address: bool,
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self(Some(Rules {
            networks: None,
            ports: 1..=u16::MAX,
            schemes: None,
            key_names_address: false,
        }))
    }
}

impl AddressPolicy {
    /// Allows any text that the codec takes for an address: for formats whose addresses are something
    /// else than a host and a port, such as the path of a socket. The other methods change nothing then.
    pub fn any() -> Self {
        Self(None)
    }

    /// Allows these networks (`10.1.0.0/16`, or one address) and no others, instead of all that are not
    /// link-local. A host name is refused then, since nobody knows where it leads.
    ///
    /// # Errors
    /// [`Invalid::Config`] if one of them is no network.
    pub fn networks<T: AsRef<str>>(
        mut self,
        networks: impl IntoIterator<Item = T>,
    ) -> Result<Self, Invalid> {
        let parse = |text: T| {
            let text = text.as_ref();
            let one = || text.parse::<IpAddr>().map(IpNet::from);
            let unusable = |_| Invalid::Config(format!("\"{text}\" is no network"));
            text.parse().or_else(|_| one()).map_err(unusable)
        };
        let networks: Result<_, _> = networks.into_iter().map(parse).collect();
        if let Some(rules) = &mut self.0 {
            rules.networks = Some(networks?);
        }
        Ok(self)
    }

    /// Allows ports in this range only. That of a URL without a port is 80 or 443. Port 0 stays refused.
    #[must_use]
    pub fn ports(mut self, ports: impl RangeBounds<u16>) -> Self {
        if let Some(rules) = &mut self.0 {
            let first = match ports.start_bound() {
                Bound::Included(first) => *first,
                Bound::Excluded(before) => before.saturating_add(1),
                Bound::Unbounded => 1,
            };
            let last = match ports.end_bound() {
                Bound::Included(last) => *last,
                Bound::Excluded(after) => after.saturating_sub(1),
                Bound::Unbounded => u16::MAX,
            };
            rules.ports = first..=last;
        }
        self
    }

    /// Allows URLs of these schemes only, in any case. A plain `host:port` has no scheme and stays allowed.
    ///
    /// The [default codec](crate::DefaultCodec) reads the default schemes and no others.
    #[must_use]
    pub fn schemes<T: Into<Box<str>>>(mut self, schemes: impl IntoIterator<Item = T>) -> Self {
        if let Some(rules) = &mut self.0 {
            rules.schemes = Some(schemes.into_iter().map(Into::into).collect());
        }
        self
    }

    /// Allows an address only under a key that names it: `/services/hello/10.0.0.1:8080`, or with more
    /// segments behind. The segment is host and port as the address has them.
    ///
    /// With roles of the registry that let a provider write under its own host only, nobody can register
    /// the address of somebody else.
    #[must_use]
    pub fn key_names_address(mut self) -> Self {
        if let Some(rules) = &mut self.0 {
            rules.key_names_address = true;
        }
        self
    }

    /// Whether the address of `instance` is allowed, for programs that have instances from elsewhere
    /// than an [`Instancer`](crate::Instancer).
    ///
    /// # Errors
    /// [`Invalid::UncallableAddress`], with the reason.
    pub fn check(&self, instance: &Instance) -> Result<(), Invalid> {
        let reason = self.why_refused(instance.address(), Some(instance.key().as_str()));
        reason.map_or(Ok(()), |reason| {
            Err(Invalid::UncallableAddress {
                address: without_credentials(instance.address()),
                reason,
            })
        })
    }

    /// Why `address`, under `key` if that is known, is not allowed.
    pub(crate) fn why_refused(&self, address: &str, key: Option<&str>) -> Option<&'static str> {
        let rules = self.0.as_ref()?;
        match Address::parse(address) {
            Ok(address) => rules.why_refused(&address, key),
            Err(reason) => Some(reason),
        }
    }
}

impl Rules {
    fn why_refused(&self, address: &Address<'_>, key: Option<&str>) -> Option<&'static str> {
        let is_known = |scheme: &str| {
            let is_same = |known: &str| known.eq_ignore_ascii_case(scheme);
            match &self.schemes {
                Some(schemes) => schemes.iter().any(|known| is_same(known)),
                None => SCHEMES.iter().any(|(known, _)| is_same(known)),
            }
        };
        if !address.scheme.is_none_or(is_known) {
            return Some("its scheme is not among those of the address policy");
        }
        if !self.ports.contains(&address.port) {
            return Some("its port is not among those of the address policy");
        }
        match (&self.networks, address.ip) {
            (Some(networks), Some(ip)) if !networks.iter().any(|net| net.contains(&ip)) => {
                return Some("its host is not in the networks of the address policy");
            }
            (Some(_), None) => {
                return Some("its host is a name, and the address policy allows networks only");
            }
            (None, Some(ip)) if is_special(ip) => {
                return Some("it is a link-local, multicast or broadcast address");
            }
            _ => {}
        }
        let is_named = |key: &str| key.split('/').any(|segment| segment == address.authority);
        let is_unnamed = self.key_names_address && !key.is_none_or(is_named);
        is_unnamed.then_some("its key does not name it, as the address policy requires")
    }
}

/// Whether no instance of a fleet has this address.
fn is_special(ip: IpAddr) -> bool {
    ip.is_multicast()
        || match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Key;

    fn why(policy: &AddressPolicy, address: &str) -> &'static str {
        policy.why_refused(address, None).unwrap_or_default()
    }

    /// Hostile row 8: the default keeps consumers from hosts that no fleet has.
    #[test]
    fn the_default_refuses_special_hosts_and_other_schemes() {
        let policy = AddressPolicy::default();
        for (address, part) in [
            ("169.254.169.254:80", "link-local"),
            ("http://169.254.169.254/", "link-local"),
            ("[::ffff:169.254.169.254]:80", "link-local"),
            ("[fe80::1]:8080", "link-local"),
            ("224.0.0.1:80", "multicast"),
            ("[ff02::1]:80", "multicast"),
            ("255.255.255.255:80", "broadcast"),
            ("gopher://127.0.0.1:6379/_FLUSHALL", "scheme"),
            ("javascript://x:1", "scheme"),
            ("unix:///var/run/docker.sock", "no host"),
            ("file:///etc/passwd", "no host"),
        ] {
            let why = why(&policy, address);
            assert!(why.contains(part), "{address}: {why}");
        }
        for address in [
            "127.0.0.1:22",
            "[::1]:80",
            "localhost:2379",
            "HTTPS://h/x",
            "tcp://h:1",
        ] {
            assert_eq!(why(&policy, address), "", "{address}");
        }
    }

    /// Hostile row 8: a policy allows what it names.
    #[test]
    fn networks_ports_and_schemes_are_those_that_are_named() {
        let policy = AddressPolicy::default();
        let near = policy
            .clone()
            .networks(["10.1.0.0/16", "169.254.7.7", "fd00::/8"]);
        let near = near.unwrap();
        for address in [
            "10.1.255.1:1",
            "169.254.7.7:1",
            "[fd00::1]:1",
            "[::ffff:10.1.0.1]:1",
        ] {
            assert_eq!(why(&near, address), "", "{address}");
        }
        assert!(why(&near, "10.2.0.1:1").contains("not in the networks"));
        assert!(why(&near, "10.1.0.1.example:1").contains("a name"));
        assert!(policy.clone().networks(["10.1.0.0/33"]).is_err());

        let ports = policy.clone().ports(1000..2000);
        assert!(why(&ports, "h:999").contains("port") && why(&ports, "h:2000").contains("port"));
        assert!(why(&ports, "http://h/").contains("port"), "80");
        assert_eq!(why(&ports, "h:1999"), "");
        assert!(why(&policy.clone().ports(..), "h:0").contains("port 0"));

        let schemes = policy.schemes(["ws"]);
        assert!(why(&schemes, "http://h:1").contains("scheme"));
        assert_eq!((why(&schemes, "WS://h:1"), why(&schemes, "h:1")), ("", ""));
    }

    /// Hostile row 8: nobody registers the address of somebody else, where roles go by keys.
    #[test]
    fn a_key_can_have_to_name_its_address() {
        let policy = AddressPolicy::default().key_names_address();
        let is_allowed = |key: &str, address: &str| {
            let instance = Instance::new(Key::new(key).unwrap(), address);
            policy.check(&instance).is_ok()
        };
        assert!(is_allowed("/hello/10.0.0.1:80", "10.0.0.1:80"));
        assert!(is_allowed(
            "/hello/10.0.0.1:80/7587",
            "http://10.0.0.1:80/x"
        ));
        assert!(!is_allowed("/hello/10.0.0.1:80", "10.0.0.2:80"));
        assert!(!is_allowed("/hello/110.0.0.1:80", "10.0.0.1:80"));
    }

    #[test]
    fn any_address_can_be_allowed() {
        for address in ["node-7", "unix:///run/hello.sock", "0.0.0.0:0", ""] {
            assert_eq!(why(&AddressPolicy::any().ports(1..2), address), "");
        }
    }

    #[test]
    fn a_refusal_is_a_short_line() {
        let key = Key::new("/hello/a").unwrap();
        let instance = Instance::new(key, "x\n".repeat(10_000));
        let refusal = AddressPolicy::default()
            .check(&instance)
            .unwrap_err()
            .to_string();
        assert!(
            !refusal.contains('\n') && refusal.chars().count() < 400,
            "{refusal}"
        );
    }
}
