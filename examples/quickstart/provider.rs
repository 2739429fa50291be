//! A provider: answers calls, and is registered while it does.

use crate::{SERVICE, TTL};
use sd_core::{BoxError, Client, Codec, DefaultCodec, Instance, Key, Registrar, Service, Ttl};
use std::{io, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpListener};

/// Serves under `name` until `leave` resolves, and deregisters before it stops serving.
pub(crate) async fn provide(
    client: impl Client,
    name: &str,
    leave: impl Future<Output = ()>,
) -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();

    // An instance with more than an address can announce that it leaves, so that consumers do not
    // take its removal for an accident.
    let key = Key::new(format!("{SERVICE}{name}"))?;
    let instance = Instance::new(key.clone(), address).with_metadata("name", name);
    let service =
        Service::new(key, DefaultCodec.encode(&instance)?)?.with_ttl(Ttl::from_secs(TTL)?);
    let registrar = Registrar::new(client, service);
    registrar.register_within(Duration::from_secs(5)).await?;

    let deregistered = async {
        leave.await;
        registrar.deregister().await
    };
    tokio::select! {
        served = serve(&listener, name) => Ok(served?),
        deregistered = deregistered => {
            deregistered?;
            Ok(())
        }
    }
}

/// Sends its name to every caller.
async fn serve(listener: &TcpListener, name: &str) -> io::Result<()> {
    loop {
        let (mut caller, _) = listener.accept().await?;
        // Fails if the caller is gone.
        let _ = caller.write_all(name.as_bytes()).await;
    }
}
