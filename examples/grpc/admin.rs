//! What operators ask of a server and tell it, over HTTP.

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use sd_core::{
    Client, Codec, DefaultCodec, ErrorChain, Escaped, Instance, Prefix, Registrar, Updated,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /info` shows what is registered, `PUT /weight?value=` changes it.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Inner>);

struct Inner {
    client: Arc<dyn Client>,
    registrar: Arc<Registrar>,
    /// As it was registered at first. Nothing but its weight changes.
    instance: Instance,
}

/// An error, as its text.
type Refused = (StatusCode, String);

impl Admin {
    pub(crate) fn new(
        client: Arc<impl Client>,
        registrar: Arc<Registrar>,
        instance: Instance,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            registrar,
            instance,
        }))
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/info", get(info))
            .route("/weight", put(set_weight))
            .with_state(self)
    }
}

/// The entry as the registry holds it, which includes an operator's edits there.
#[derive(Serialize)]
struct Info {
    status: String,
    entry: Option<Registered>,
}

#[derive(Serialize)]
struct Registered {
    key: String,
    lease: Option<String>,
    value: Box<RawValue>,
}

async fn info(State(Admin(admin)): State<Admin>) -> Result<Response, Refused> {
    let key = admin.instance.key();
    let prefix = Prefix::raw(key.as_str()).map_err(failed)?;
    let listed = timeout(PATIENCE, admin.client.get_entries(&prefix)).await;
    let listed = listed.map_err(failed)?.map_err(failed)?;
    let entry = listed.entries.into_iter().find(|entry| entry.key == *key);
    let entry = match entry {
        None => None,
        Some(entry) => Some(Registered {
            key: entry.key.to_string(),
            lease: entry.lease.map(|lease| lease.to_string()),
            value: serde_json::from_slice(&entry.value).map_err(failed)?,
        }),
    };
    let status = admin.registrar.status().borrow().to_string();
    let json = serde_json::to_string_pretty(&Info { status, entry }).map_err(failed)?;
    Ok(([(CONTENT_TYPE, "application/json")], json + "\n").into_response())
}

async fn set_weight(
    State(Admin(admin)): State<Admin>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let weight = weight(query.as_deref().unwrap_or_default())?;
    let instance = admin.instance.clone().with_weight(weight);
    let value = DefaultCodec.encode(&instance).map_err(failed)?;
    let later = format!("weight {weight}, as soon as the registry has it\n");
    Ok(
        match timeout(PATIENCE, admin.registrar.update(value)).await {
            Ok(Ok(Updated::Written)) => format!("weight {weight}\n").into_response(),
            Ok(Err(error)) => return Err(failed(error)),
            // The registrar goes on trying.
            Ok(Ok(_)) | Err(_) => (StatusCode::ACCEPTED, later).into_response(),
        },
    )
}

/// The weight in `value=5`.
fn weight(query: &str) -> Result<u32, Refused> {
    let refused = |why: String| (StatusCode::BAD_REQUEST, why + "\n");
    let Some(value) = query.strip_prefix("value=") else {
        return Err(refused("say which weight: PUT /weight?value=5".into()));
    };
    value.parse().map_err(|_| {
        let value = Escaped(value);
        refused(format!(
            "\"{value}\" is no weight, which is a whole number from 0 to {}",
            u32::MAX
        ))
    })
}

fn failed(error: impl std::error::Error + 'static) -> Refused {
    let why = format!("{}\n", ErrorChain(&error));
    (StatusCode::SERVICE_UNAVAILABLE, why)
}
