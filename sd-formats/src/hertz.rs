//! Hertz' `registry/etcd`.

use crate::{cloudwego::CloudWeGoCodec, names};
use sd_core::{Advert, Codec, CodecError, Entry, Format, Invalid, OneLevel, Prefix, Service};
use std::sync::Arc;

const ROOT: &str = "hertz/registry-etcd";
const TTL: u64 = 60;

/// The format of [Hertz](https://pkg.go.dev/github.com/hertz-contrib/registry/etcd):
/// `{"network":"tcp","address":"10.0.0.1:8888","weight":10,"tags":null}` under
/// `hertz/registry-etcd/NAME/ADDRESS`.
///
/// Consumers list the prefix every 5 s.
///
/// | it can say | |
/// |---|---|
/// | an address | `host:port`, which is written with an IPv6 address in brackets and read without them too |
/// | other addresses | no |
/// | a weight | yes; 10 if none is said |
/// | a weight of 0 | no: it is read as 10 |
/// | a zone | yes: the tag `zone`. A convention |
/// | draining | no |
/// | an id | no |
/// | a version | no |
/// | metadata | yes: tags |
/// | metadata that is no text | no |
/// | several instances in an entry | no |
/// | a service called `a/b` | no: consumers name a service as the host of a URL |
/// | time to live | 60 s |
#[derive(Debug, Clone, Copy, Default)]
pub struct Hertz(());

impl Format for Hertz {
    fn name(&self) -> &str {
        "hertz"
    }

    fn prefix(&self, service: &str) -> Result<Prefix, Invalid> {
        Prefix::new(ROOT)?.child(service)
    }

    fn codec(&self, service: &str) -> Result<Arc<dyn Codec>, Invalid> {
        let prefix = self.prefix(service)?;
        Ok(Arc::new(OneLevel::below(prefix, CloudWeGoCodec)))
    }

    fn service(&self, service: &str, advert: &Advert) -> Result<Service, CodecError> {
        let key = self.prefix(service)?.key(advert.main_address())?;
        let value = CloudWeGoCodec.encode(&advert.to_instance(key.clone()))?;
        names::service(key, value, advert, TTL)
    }

    fn root(&self) -> Option<Prefix> {
        Prefix::new(ROOT).ok()
    }

    fn service_of(&self, entry: &Entry) -> Option<String> {
        names::of_one_level(self.root().as_ref(), entry)
    }
}
