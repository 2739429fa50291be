//! What other frameworks write is read, what is written is what they would write, and nothing else is written.

#![allow(clippy::unwrap_used, reason = "a test")]

mod edits;
mod golden;
mod joined;
mod keys;
mod lenient;
mod one_pass;
mod other_keys;
mod poison;
mod properties;
mod sayable;

use sd_core::{Advert, Bytes, Codec, Decoded, Entry, Format, Instance, Key, LeaseId};
use std::sync::Arc;

/// The format called so, with options.
fn named(text: &str) -> Arc<dyn Format> {
    sd_formats::by_name(text)
        .map_err(|error| error.to_string())
        .unwrap()
}

fn codec(format: &str, service: &str) -> Arc<dyn Codec> {
    named(format).codec(service).unwrap()
}

fn entry(key: &str, value: impl Into<Bytes>) -> Entry {
    Entry::new(Key::new(key).unwrap(), value)
}

/// A lease as etcd grants it, that of go-zero's golden bytes.
fn lease() -> LeaseId {
    LeaseId::from(0x17d3_a1fb_de06_1607)
}

/// The entry of a provider.
fn registered(format: &dyn Format, service: &str, advert: &Advert) -> Entry {
    let service = format.service(service, advert).unwrap();
    Entry::new(service.key.under(&lease()), service.value)
}

/// What is read, which has to be one instance.
fn one(decoded: Decoded) -> Instance {
    let mut instances = decoded.into_iter();
    let instance = instances.next().unwrap();
    assert!(instances.next().is_none(), "more than one instance");
    instance
}
