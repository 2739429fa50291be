//! go-zero's `core/discov`.

use crate::{names, plain::PlainCodec};
use sd_core::{Advert, Codec, CodecError, Entry, Format, Invalid, Key, OneLevel, Prefix, Service};
use std::sync::Arc;

const TTL: u64 = 10;

/// The format of [go-zero](https://pkg.go.dev/github.com/zeromicro/go-zero/core/discov): the address as it is,
/// under `NAME/LEASE`, where the lease is the decimal number of the provider's lease.
///
/// Consumers take any value below the name for an address, and one that several entries have for one. A
/// registration that has lost its lease has another key on the next one.
///
/// ```
/// use sd_core::{Advert, Format, LeaseId};
/// use sd_formats::GoZero;
///
/// let service = GoZero::default().service("hello.rpc", &Advert::new("10.0.0.1:8080"))?;
/// let lease = LeaseId::from(0x17d3_a1fb_de06_1607);
/// assert_eq!(service.key.under(&lease).as_str(), "hello.rpc/1716893986092094983");
/// # Ok::<(), sd_core::CodecError>(())
/// ```
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port` |
/// | other addresses | no |
/// | a weight | no |
/// | a weight of 0 | no |
/// | a zone | no |
/// | draining | no |
/// | an id | no |
/// | a version | no |
/// | metadata | no |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no: consumers of `a` would see it. A path before the name is given by [`under`](Self::under) |
/// | time to live | 10 s |
#[derive(Debug, Clone, Default)]
pub struct GoZero {
    root: Option<Prefix>,
}

impl GoZero {
    /// All services are below `root`: go-zero's key is `root` and the name.
    #[must_use]
    pub fn under(mut self, root: Prefix) -> Self {
        self.root = Some(root);
        self
    }
}

impl Format for GoZero {
    fn name(&self) -> &str {
        "gozero"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        names::below(self.root.as_ref(), service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(OneLevel::below(prefix, CODEC)))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let key = Key::lease_suffixed(self.prefix(service)?.as_str())?;
        let value = CODEC.encode(&advert.to_instance(key.stem().clone()))?;
        names::service(key, value, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        self.root.clone()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        names::of_one_level(self.root.as_ref(), entry)
    }
}

const CODEC: PlainCodec = PlainCodec { has_urls: false };
