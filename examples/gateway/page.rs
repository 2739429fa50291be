//! What the gateway serves itself: the page of the services, and the same as JSON.

use crate::{directory::Directory, proxy::Proxy, status::Status};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use http::{
    HeaderMap, StatusCode, Uri,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
};
use std::sync::Arc;

/// The page. It reads the JSON each second, and needs nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// Nothing but what is in the page, and the JSON.
const POLICY: &str = "default-src 'none'; connect-src 'self'; \
                      script-src 'unsafe-inline'; style-src 'unsafe-inline'";

/// The gateway: its own paths, and the proxy for all others.
pub(crate) fn router(directory: Arc<Directory>, proxy: Arc<Proxy>) -> Router {
    let pass_on = move |request: Request<Body>| {
        let proxy = proxy.clone();
        async move { proxy.answer(request).await }
    };
    Router::new()
        .route("/", get(Redirect::temporary("/services")))
        .route("/services", get(services))
        .with_state(directory)
        .fallback(pass_on)
}

async fn services(
    State(directory): State<Arc<Directory>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let common = [(CACHE_CONTROL, "no-store"), (VARY, "accept")];
    if wants_page(&headers, &uri) {
        return (common, [(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response();
    }
    match serde_json::to_vec_pretty(&Status::of(&directory)) {
        Ok(json) => (common, [(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Browsers want the page, unless the query says otherwise.
fn wants_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut query = uri.query().unwrap_or_default().split('&');
    match query.find_map(|pair| pair.strip_prefix("format=")) {
        Some(format) => format == "html",
        None => {
            let mut accepted = headers.get_all(ACCEPT).iter();
            accepted.any(|it| it.to_str().is_ok_and(|it| it.contains("text/html")))
        }
    }
}
