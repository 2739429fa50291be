//! What other frameworks register in etcd, read and written: a service in Rust joins the fleet that they built, and
//! both sides see each other.
//!
//! Each type is a [`Format`] of [`sd_core`]: given once to a registrar and to an instancer, it says where the
//! instances of a service are, how they are written, and how long they stay. The page of each has a table of what
//! it can say. What it cannot say is refused ([`CodecError::is_unsayable`](sd_core::CodecError::is_unsayable)), and never
//! dropped.
//!
//! ```
//! # use sd_core::{Advert, Client, Instancer, Registrar, Result};
//! use sd_formats::Kratos;
//!
//! # async fn join(client: impl Client + Clone) -> Result<()> {
//! let kratos = Kratos::default().scheme("grpc");
//! let advert = Advert::new("10.0.0.1:9000").version("v1.4.2").weight(50);
//! let registrar = Registrar::of(client.clone(), &kratos, "hello", &advert)?;
//! registrar.register().await?; // Kratos' clients call it
//!
//! let hello = Instancer::of(client, &kratos, "hello")?; // Kratos' servers, and those in Rust
//! # Ok(())
//! # }
//! ```
//!
//! | type | [name](by_name) | options | key | value |
//! |---|---|---|---|---|
//! | [`DefaultFormat`] | `default` | `root` | `/services/NAME/ADDRESS` | the toolkit's own: an address or JSON |
//! | [`GoKit`] | `gokit` | `root`, `depth` | `/services/NAME/ADDRESS` | the address |
//! | [`GrpcGo`] | `grpc` | `root`, `depth` | `NAME/ADDRESS` | JSON |
//! | [`GoZero`] | `gozero` | `root` | `NAME/LEASE` | the address |
//! | [`Kratos`] | `kratos` | `namespace`, `scheme` | `/microservices/NAME/ID` | JSON |
//! | [`Kitex`] | `kitex` | `root` | `kitex/registry-etcd/NAME/ADDRESS` | JSON |
//! | [`Hertz`] | `hertz` | | `hertz/registry-etcd/NAME/ADDRESS` | JSON |
//! | [`GoMicro`] | `gomicro` | | `/micro/registry/NAME/ID` | JSON, of several instances |
//! | [`DubboApp`] | `dubbo-app` | | `/services/NAME/ADDRESS` | JSON |
//! | [`DubboInterface`] | `dubbo-interface` | `group`, `protocol`, `version` | `/dubbo/NAME/providers/URL` | empty |
//! | [`NodeDirectory`] | `nodes` | `root` | `discovery/NAME/instance_id/ID` | JSON |
//! | [`LeaseNamed`] | `lease-named` | `root` | `NAMELEASE` | the address |
//!
//! # Reading and writing
//! Reading is lenient: only the address is needed, the case of field names does not matter where Go does not mind
//! it, `null` is as nothing, and an attribute that cannot be read costs that attribute. Whatever the fleet's own
//! consumers would read in another way is [said](sd_core::Decoded::ignored), and no provider can register it.
//!
//! Writing is strict: byte for byte what the Go library writes, and nothing that blinds or crashes consumers of
//! this format or of another one.
//!
//! An edit changes what it names. Fields that are not known here, other nodes, other endpoints and their order
//! stay.
//!
//! # Weights and draining
//! An instance of which no weight is said has the weight that its fleet takes for none, 10 or 100: weights are
//! compared within a service. Where the fleet has no place for a weight or a zone but has metadata, they are the
//! pieces `weight` and `zone`.
//!
//! Of these fleets only dubbo's applications have something like draining. No value says it where no consumer would
//! read it: there a provider is removed first, and the time to drain
//! ([`RegistrarBuilder::drain`](sd_core::RegistrarBuilder::drain)) follows.
//!
//! # One service in several formats
//! `gokit`, `dubbo-app` and `default` have the same keys, and so have `grpc` and `gozero` the same prefix. Do not
//! give one service two of these in one registry without another root.

mod address;
mod by_name;
mod cloudwego;
mod dubbo_app;
mod dubbo_interface;
mod dubbo_url;
mod edited;
mod format_error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod go_json;
mod gokit;
mod gomicro;
mod gozero;
mod grpcgo;
mod hertz;
mod ignored;
mod kitex;
mod kratos;
mod lease_named;
mod metadata;
mod names;
mod node_directory;
mod options;
mod plain;
mod says;

pub use by_name::{all, by_name};
pub use dubbo_app::DubboApp;
pub use dubbo_interface::DubboInterface;
pub use format_error::FormatError;
pub use gokit::GoKit;
pub use gomicro::GoMicro;
pub use gozero::GoZero;
pub use grpcgo::GrpcGo;
pub use hertz::Hertz;
pub use kitex::Kitex;
pub use kratos::Kratos;
pub use lease_named::LeaseNamed;
pub use node_directory::NodeDirectory;

/// What every format here is, and the toolkit's own.
pub use sd_core::{DefaultFormat, Format};
