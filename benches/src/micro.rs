//! The pieces of the toolkit that run for each change or each call, one by one: for `cargo bench`, which times
//! them, and for valgrind, which counts their instructions.

use crate::rounds::Work;
use sd_core::{
    Bytes, Codec, DefaultCodec, EndpointSource, Entry, Event, EventPublisher, FixedEndpointer,
    Instance, InstanceChange, Instances, Key,
};
use std::{fmt, hint::black_box};

/// A piece of the toolkit.
#[derive(Clone, Copy)]
pub struct Piece {
    name: &'static str,
    prepare: fn() -> Work,
}

/// All pieces.
pub const PIECES: [Piece; 9] = [
    Piece::new("publish, N = 10", || publish(10)),
    Piece::new("publish, N = 10000", || publish(10_000)),
    Piece::new("diff, N = 10", || diff(10)),
    Piece::new("diff, N = 10000", || diff(10_000)),
    Piece::new("endpoints, N = 10", || endpoints(10)),
    Piece::new("endpoints, N = 10000", || endpoints(10_000)),
    Piece::new("decode an address", || decode("10.0.0.1:8080".into())),
    Piece::new("decode JSON", || decode(json())),
    Piece::new("encode JSON", encode),
];

impl Piece {
    const fn new(name: &'static str, prepare: fn() -> Work) -> Self {
        Self { name, prepare }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Prepares it. The result does it as often as it is told.
    pub fn prepare(&self) -> Box<dyn FnMut(u64) + Send> {
        (self.prepare)()
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn instance(n: usize, weight: u32) -> Instance {
    let key = Key::new(format!("/services/hello/{n:06}")).expect("a key");
    let [_, a, b, c] = (n as u32).to_be_bytes();
    Instance::new(key, format!("10.{a}.{b}.{c}:8080"))
        .with_weight(weight)
        .with_zone("zone-b")
        .with_metadata("version", "v1.4.2")
}

fn instances(count: usize) -> Instances {
    (0..count).map(|n| instance(n, 1)).collect()
}

/// One instance changes, and the new state goes to a subscriber.
fn publish(count: usize) -> Work {
    let mut instances = instances(count);
    let (publisher, source) = EventPublisher::channel();
    let mut n = 0;
    Box::new(move |times| {
        let _subscribed = &source;
        for _ in 0..times {
            n += 1;
            instances.insert(instance(n % count, 1 + n as u32 % 7));
            publisher.publish(Event::new(0, instances.clone()));
        }
    })
}

/// Two states that differ in one instance are compared.
fn diff(count: usize) -> Work {
    let before = instances(count);
    let mut after = before.clone();
    after.insert(instance(count / 2, 2));
    Box::new(move |times| {
        for _ in 0..times {
            let changes = black_box(&before).diff(black_box(&after));
            let keys = changes.map(|change: InstanceChange| change.key().as_str().len());
            black_box(keys.sum::<usize>());
        }
    })
}

/// The endpoints that there are now.
fn endpoints(count: usize) -> Work {
    let endpoints = (0..count).map(crate::picks::endpoint);
    let source = FixedEndpointer::new(endpoints);
    Box::new(move |times| {
        for _ in 0..times {
            black_box(black_box(&source).endpoints().len());
        }
    })
}

fn json() -> Bytes {
    let written = DefaultCodec.encode(&instance(1, 3));
    written.expect("it can be written")
}

fn decode(value: Bytes) -> Work {
    let key = Key::new("/services/hello/000001").expect("a key");
    let entry = Entry::new(key, value);
    Box::new(move |times| {
        for _ in 0..times {
            let decoded = DefaultCodec.decode(black_box(&entry));
            black_box(decoded.is_ok());
        }
    })
}

fn encode() -> Work {
    let instance = instance(1, 3);
    Box::new(move |times| {
        for _ in 0..times {
            let encoded = DefaultCodec.encode(black_box(&instance));
            black_box(encoded.is_ok());
        }
    })
}
