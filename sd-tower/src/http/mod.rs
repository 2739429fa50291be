//! HTTP on discovered endpoints.
//!
//! [`HttpService`] is a `Caller` of the room `call`, whose protocol is `Http`, over one client of
//! hyper-util for each endpoint, whose connections are opened by a `Connector` of the room
//! `connection`. [`HttpServices`] has one for each name.

mod builder;
mod error;
mod options;
mod protocol;
mod retry_after;
mod service;
mod services;
mod target;
mod upgrade;

pub use builder::HttpServiceBuilder;
pub use error::{HttpError, HttpErrorKind};
pub use options::HttpOptions;
pub use service::{HttpBody, HttpEndpoints, HttpService};
pub use services::{HttpServices, HttpServicesBuilder};
pub use target::HttpTarget;
