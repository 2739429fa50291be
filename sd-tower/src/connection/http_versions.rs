//! The versions of HTTP that are spoken to endpoints.

/// The versions of HTTP that are spoken to endpoints. The version of a request does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HttpVersions {
    /// With TLS the one that the server chooses (ALPN): HTTP/2, or else HTTP/1.1. Without TLS
    /// HTTP/1.1, since nothing says what the server speaks.
    #[default]
    Negotiated,
    /// HTTP/1.1: a connection for each request under way.
    Http1,
    /// HTTP/2: one connection for all requests. Without TLS the server must expect it ([prior
    /// knowledge]), as gRPC servers do.
    ///
    /// [prior knowledge]: https://www.rfc-editor.org/rfc/rfc9113#section-3.3
    Http2,
}
