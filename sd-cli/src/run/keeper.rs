//! Does with the registry what was decided, and tells when it is done.

use sd_core::{Edit, Error, ErrorChain, Invalid, Registrar, Status, Updated};
use tokio::sync::{mpsc, watch};

/// What is wanted of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing yet.
    Nothing,
    /// An instance that serves.
    Serving,
    /// One that has no new calls.
    Draining,
    /// No entry any more, after draining or at once.
    Gone { drains: bool },
}

/// What the keeper tells.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is as wanted; in words.
    Done(String),
    /// The registry refused for good.
    Refused(String),
    /// The entry is removed, or could not be in time; in words.
    Gone(String),
}

/// Keeps the registration as it is wanted, until it is to be gone. What is wanted later wins over what is under way.
pub(crate) async fn keep(
    registrar: &Registrar,
    mut wanted: watch::Receiver<Wanted>,
    told: mpsc::Sender<Kept>,
) {
    loop {
        let now = *wanted.borrow_and_update();
        let kept = tokio::select! {
            kept = apply(registrar, now) => kept,
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if let Some(kept) = kept {
            let is_end = matches!(kept, Kept::Gone(_));
            if told.send(kept).await.is_err() || is_end {
                return;
            }
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

async fn apply(registrar: &Registrar, wanted: Wanted) -> Option<Kept> {
    match wanted {
        Wanted::Nothing => None,
        Wanted::Serving => Some(match serve(registrar).await {
            Ok(()) => Kept::Done("serving".to_owned()),
            Err(error) => Kept::Refused(ErrorChain(&error).to_string()),
        }),
        Wanted::Draining => Some(Kept::Done(drain(registrar).await)),
        Wanted::Gone { drains } => {
            let gone = match drains {
                true => registrar.deregister().await,
                false => registrar.deregister_now().await,
            };
            Some(Kept::Gone(match gone {
                Ok(outcome) => format!("{outcome:?}").to_lowercase(),
                Err(error) => ErrorChain(&error).to_string(),
            }))
        }
    }
}

async fn serve(registrar: &Registrar) -> Result<(), Error> {
    // After draining, and nothing to do the first time.
    match registrar.edit(&Edit::new().status(Status::Serving)).await {
        Ok(_) | Err(Error::Invalid(Invalid::Unsayable { .. })) => {}
        Err(error) if error.is_transient() => {}
        Err(error) => return Err(error),
    }
    registrar.register().await
}

/// Where the format cannot say that an instance drains, it is taken out.
async fn drain(registrar: &Registrar) -> String {
    match registrar.edit(&Edit::new().status(Status::Draining)).await {
        Ok(Updated::Remembered) => "draining, as soon as it is registered".to_owned(),
        Ok(_) => "draining".to_owned(),
        Err(error) => {
            let _ = registrar.deregister_now().await;
            match error {
                Error::Invalid(Invalid::Unsayable { .. }) => {
                    "taken out, since the format cannot say that it drains".to_owned()
                }
                other => format!("taken out: {}", ErrorChain(&other)),
            }
        }
    }
}
