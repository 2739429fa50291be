//! The frameworks, and what is known of their consumers.

/// A framework: the program in Go, and the format here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framework {
    /// For messages.
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// See [`sd_formats::by_name`].
    pub(crate) format: &'static str,
    /// More flags of a provider, and of a consumer.
    pub(crate) register: &'static [&'static str],
    pub(crate) discover: &'static [&'static str],
    pub(crate) weight: Weight,
    pub(crate) draining: bool,
    pub(crate) removals: Removals,
    /// Whether its consumer watches. One that asks again and again sees changes later.
    pub(crate) watches: bool,
}

/// Where the weight of an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The format has no place for it.
    Unsayable,
    /// In the value; the consumer in Go shows it.
    Shown,
    /// In the value; the consumer in Go does not show it.
    Hidden,
    /// In the key: another weight is another entry.
    InKey,
}

/// Which removals the consumer in Go shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removals {
    All,
    /// Not that of the last instance: no instances are an error to it, and it keeps what it had.
    AllButTheLast,
    /// None: the library drops them.
    None,
}

const PLAIN: Framework = Framework {
    name: "",
    program: "",
    format: "",
    // Short, so that a crash is soon over.
    register: &["--ttl", "5"],
    discover: &[],
    weight: Weight::Unsayable,
    draining: false,
    removals: Removals::All,
    watches: true,
};

pub(crate) const GO_KIT: Framework = Framework {
    name: "go-kit",
    program: "gokit",
    format: "gokit",
    ..PLAIN
};

pub(crate) const GRPC_GO: Framework = Framework {
    name: "grpc-go",
    program: "grpcgo",
    format: "grpc",
    weight: Weight::Shown,
    ..PLAIN
};

pub(crate) const GO_ZERO: Framework = Framework {
    name: "go-zero",
    program: "gozero",
    format: "gozero",
    ..PLAIN
};

pub(crate) const KRATOS: Framework = Framework {
    name: "Kratos",
    program: "kratos",
    format: "kratos",
    weight: Weight::Shown,
    ..PLAIN
};

/// What a client of Kitex holds, which asks for the instances again and again.
pub(crate) const KITEX: Framework = Framework {
    name: "Kitex",
    program: "kitex",
    format: "kitex",
    discover: &["--refresh-ms", "100"],
    weight: Weight::Shown,
    removals: Removals::AllButTheLast,
    watches: false,
    ..PLAIN
};

pub(crate) const HERTZ: Framework = Framework {
    name: "Hertz",
    program: "hertz",
    format: "hertz",
    discover: &["--refresh-ms", "100"],
    weight: Weight::Shown,
    watches: false,
    ..PLAIN
};

pub(crate) const GO_MICRO: Framework = Framework {
    name: "go-micro",
    program: "gomicro",
    format: "gomicro",
    weight: Weight::Hidden,
    ..PLAIN
};

/// Its events do not tell of new instances, so that its consumer asks too. Its lease is always 30 s.
pub(crate) const DUBBO_APP: Framework = Framework {
    name: "dubbo-go, applications",
    program: "dubbogo",
    format: "dubbo-app",
    register: &["--mode", "app"],
    discover: &["--mode", "app", "--poll-ms", "20"],
    weight: Weight::Hidden,
    draining: true,
    watches: false,
    ..PLAIN
};

/// Its lease is always 30 s, and its entries stay so long after a deregistration.
pub(crate) const DUBBO_INTERFACE: Framework = Framework {
    name: "dubbo-go, interfaces",
    program: "dubbogo",
    format: "dubbo-interface",
    register: &["--mode", "iface"],
    discover: &["--mode", "iface"],
    weight: Weight::InKey,
    removals: Removals::None,
    ..PLAIN
};
