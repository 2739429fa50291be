//! HTTP on discovered endpoints.
//!
//! [`HttpService`] is a `Caller` of the room `call`, whose protocol is `Http`, over one client of
//! hyper-util for each endpoint, whose connections are opened by a `Connector` of the room
//! `connection`. [`HttpServices`] has one for each name. `ReqwestService` is a `Caller` over one client
//! of reqwest for each endpoint.

mod builder;
mod error;
mod options;
mod protocol;
#[cfg(feature = "reqwest")]
mod reqwest_service;
pub(crate) mod retry_after;
mod service;
mod services;
mod target;
mod upgrade;

pub use builder::HttpServiceBuilder;
pub use error::{HttpError, HttpErrorKind};
pub use options::HttpOptions;
#[cfg(feature = "reqwest")]
pub use reqwest_service::{ReqwestEndpoints, ReqwestService, ReqwestServiceBuilder, ReqwestTarget};
pub use service::{HttpBody, HttpEndpoints, HttpService};
pub use services::{HttpServices, HttpServicesBuilder};
pub use target::HttpTarget;
