//! Authentication: one token for both connections of a client.
//!
//! An authentication costs etcd about 90 ms of one core (bcrypt at its default cost, 3.4 to 3.7),
//! even if nobody waits for the answer any more. A fleet that gives up too early and authenticates
//! again keeps etcd busy for ever. So
//!
//! - a token is used until etcd refuses it, across reconnects and by both connections;
//! - a client makes one authentication at a time, for all callers. It goes on if the caller that
//!   began it gives up;
//! - an authentication has its own timeout, apart from the one for connecting. It is not begun at a
//!   member that answers nothing;
//! - after an authentication without an answer, the pause is random and about as long as etcd had
//!   requests queued, and the next one may take longer.
//!
//! Credentials that etcd refuses are logged as an error, and sent again after a pause of at most 30 s.
//! Until then every caller gets the refusal.

use super::{
    auth_outcome::Outcome,
    auth_state::{AuthState, Step},
};
use crate::{config::Credentials, errors};
use bytes::Bytes;
use etcd_client::Client;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{HeaderValue, header::InvalidHeaderValue};
use sd_core::{Error, Escaped, Result};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

/// After this time it is said that an authentication is not answered yet.
const SLOW: Duration = Duration::from_secs(3);

/// The token that is sent with every request. `None` before the first authentication, and while etcd
/// has authentication turned off.
///
/// Its `Debug` does not show it, HTTP/2 keeps it out of its tables of headers, and it is wiped with the last
/// request that has it.
#[derive(Default)]
pub(crate) struct Token(RwLock<Option<HeaderValue>>);

impl Token {
    pub(crate) fn get(&self) -> Option<HeaderValue> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, token: Option<HeaderValue>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

/// The member that an authentication is put to.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    /// The connection, unique among those of a client.
    pub(crate) connection: (&'static str, u64),
    pub(crate) endpoint: &'a str,
    pub(crate) client: &'a Client,
}

/// Why there is no token.
pub(crate) struct NoToken {
    pub(crate) error: Error,
    /// Another member may serve better than the one that was named.
    pub(crate) is_member_fault: bool,
}

/// An authentication that is under way.
#[derive(Clone)]
struct Attempt {
    number: u64,
    connection: (&'static str, u64),
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

/// What to do for a caller that needs a token.
enum Next {
    Use,
    UseAfter(Duration),
    Fail(Error),
    Wait(Attempt),
}

/// Authenticates a client.
pub(crate) struct Authenticator {
    credentials: Arc<dyn Credentials>,
    /// An etcd without users is refused.
    is_required: bool,
    dial_timeout: Duration,
    token: Arc<Token>,
    state: Mutex<Inner>,
}

struct Inner {
    state: AuthState,
    attempt: Option<Attempt>,
    attempts: u64,
}

impl Authenticator {
    pub(crate) fn new(
        credentials: Arc<dyn Credentials>,
        is_required: bool,
        timeout: Duration,
        dial_timeout: Duration,
    ) -> Self {
        Self {
            credentials,
            is_required,
            dial_timeout,
            token: Arc::default(),
            state: Mutex::new(Inner {
                state: AuthState::new(timeout),
                attempt: None,
                attempts: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn token(&self) -> Arc<Token> {
        self.token.clone()
    }

    /// Returns the number of the token, which changes with each that etcd grants.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().state.generation()
    }

    /// Returns the name of the user that was authenticated last.
    pub(crate) fn user(&self) -> Option<String> {
        self.lock().state.user().map(ToOwned::to_owned)
    }

    /// Notes that etcd served a request with token `generation`.
    pub(crate) fn accepted(&self, generation: u64) {
        self.lock().state.accepted(generation);
    }

    /// Drops what is under way.
    pub(crate) fn stop(&self) {
        self.lock().attempt = None;
    }

    /// Makes sure that there is a token, or that none is needed. Cancellation safe; an
    /// authentication that was begun goes on.
    ///
    /// # Errors
    /// At once while the pause after a failure lasts.
    pub(crate) async fn ensure(&self, member: Member<'_>) -> Result<(), NoToken> {
        self.obtain(member, None).await
    }

    /// The same after etcd refused token `generation`: gets another, unless there is one already.
    pub(crate) async fn renew(&self, member: Member<'_>, generation: u64) -> Result<(), NoToken> {
        self.obtain(member, Some(generation)).await
    }

    async fn obtain(&self, member: Member<'_>, refused: Option<u64>) -> Result<(), NoToken> {
        let attempt = match self.next(member, refused) {
            Next::Use => return Ok(()),
            Next::UseAfter(delay) => {
                sleep(delay).await;
                return Ok(());
            }
            Next::Fail(error) => {
                return Err(NoToken {
                    error,
                    is_member_fault: false,
                });
            }
            Next::Wait(attempt) => attempt,
        };
        let outcome = attempt.outcome.await;
        self.finish(attempt.number, &outcome);
        match outcome {
            Outcome::Granted(..) | Outcome::Disabled => Ok(()),
            Outcome::Refused(_, error) => Err(NoToken {
                error,
                is_member_fault: false,
            }),
            Outcome::Failed {
                error,
                is_member_fault,
                ..
            } => Err(NoToken {
                error,
                is_member_fault: is_member_fault && attempt.connection == member.connection,
            }),
        }
    }

    /// Returns what to do next, and begins an attempt if one is due and none is under way.
    fn next(&self, member: Member<'_>, refused: Option<u64>) -> Next {
        let mut inner = self.lock();
        let within = match inner.state.next(refused, Instant::now()) {
            Step::Use => return Next::Use,
            Step::UseAfter(delay) => return Next::UseAfter(delay),
            Step::Fail(error) => return Next::Fail(error),
            Step::Authenticate { within } => within,
        };
        if let Some(attempt) = &inner.attempt {
            return Next::Wait(attempt.clone());
        }
        // A member that refused a token just now is there.
        let probe = refused.is_none().then_some(self.dial_timeout);
        let outcome = authenticate(
            self.credentials.clone(),
            member.client.clone(),
            member.endpoint.to_owned(),
            self.is_required,
            probe,
            within,
        );
        inner.attempts += 1;
        inner.state.begun(Instant::now());
        let attempt = Attempt {
            number: inner.attempts,
            connection: member.connection,
            outcome: outcome.boxed().shared(),
        };
        Next::Wait(inner.attempt.insert(attempt).clone())
    }

    /// Notes the result of attempt `number`, once.
    fn finish(&self, number: u64, outcome: &Outcome) {
        let mut inner = self.lock();
        if inner.attempt.as_ref().is_none_or(|it| it.number != number) {
            return;
        }
        inner.attempt = None;
        match outcome {
            Outcome::Granted(_, token) => self.token.set(Some(token.clone())),
            Outcome::Disabled => self.token.set(None),
            Outcome::Refused(..) | Outcome::Failed { .. } => {}
        }
        inner.state.finished(outcome, Instant::now());
    }
}

async fn authenticate(
    credentials: Arc<dyn Credentials>,
    client: Client,
    endpoint: String,
    is_required: bool,
    probe: Option<Duration>,
    within: Duration,
) -> Outcome {
    if let Some(probe) = probe
        && let Err(error) = answers(&client, &endpoint, probe).await
    {
        return Outcome::Failed {
            error,
            is_member_fault: true,
            was_asked: false,
        };
    }
    let user = match timeout(within, credentials.user()).await {
        Ok(Ok(user)) => user,
        Ok(Err(cause)) => return no_credentials(format!("{cause}"), Some(cause)),
        Err(_) => return no_credentials(format!("no answer within {within:?}"), None),
    };
    let mut auth = client.auth_client();
    let asking = auth.authenticate(user.name().into(), user.password().into());
    let user = user.name().to_owned();
    let asking = async {
        let mut asking = std::pin::pin!(timeout(within, asking));
        tokio::select! {
            answer = &mut asking => return answer,
            () = sleep(SLOW) => tracing::warn!(
                member = %Escaped(&endpoint), user = %Escaped(&user), waited = ?SLOW,
                "etcd has not answered to an authentication yet, waiting"
            ),
        }
        asking.await
    };
    match asking.await {
        Ok(Ok(answer)) => match header(answer.0.token) {
            Ok(token) => Outcome::Granted(user, token),
            Err(_) => Outcome::Failed {
                error: Error::unavailable(format!("{endpoint}: a token that cannot be sent")),
                is_member_fault: true,
                was_asked: true,
            },
        },
        Ok(Err(error)) if errors::is_auth_disabled(&error) && is_required => {
            let message =
                format!("{endpoint}: etcd says that it has no users, and one is required");
            let source = None;
            Outcome::Refused(user, Error::Unauthenticated { message, source })
        }
        Ok(Err(error)) if errors::is_auth_disabled(&error) => {
            tracing::warn!(
                member = %Escaped(&endpoint),
                "etcd has no users, and serves the one that was given as everybody"
            );
            Outcome::Disabled
        }
        Ok(Err(error)) => {
            let is_member_fault = errors::is_member_fault(&error);
            let error = errors::translate_at(&endpoint, false, error);
            if error.is_transient() {
                Outcome::Failed {
                    error,
                    is_member_fault,
                    was_asked: true,
                }
            } else {
                Outcome::Refused(user, error)
            }
        }
        Err(_) => Outcome::Failed {
            error: Error::Timeout {
                operation: "authenticate",
                after: within,
            },
            is_member_fault: true,
            was_asked: true,
        },
    }
}

/// The token as the value of a header, which all requests share.
fn header(token: String) -> Result<HeaderValue, InvalidHeaderValue> {
    let token = Zeroizing::new(token.into_bytes());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(token))?;
    header.set_sensitive(true);
    Ok(header)
}

fn no_credentials(why: String, source: Option<sd_core::Cause>) -> Outcome {
    Outcome::Failed {
        error: Error::Backend {
            message: format!("the source of credentials failed: {why}"),
            transient: true,
            source,
        },
        is_member_fault: false,
        was_asked: true,
    }
}

/// Checks that the member answers anything, be it an error. A frozen member accepts connections too,
/// and must not be waited for as long as an authentication may take.
async fn answers(client: &Client, endpoint: &str, within: Duration) -> Result<()> {
    let mut maintenance = client.maintenance_client();
    match timeout(within, maintenance.status()).await {
        Ok(Err(error)) if !errors::is_answer(&error) => {
            Err(errors::translate_at(endpoint, true, error))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Timeout {
            operation: "status",
            after: within,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hostile row 11
    #[test]
    fn a_token_is_kept_once_and_not_shown() {
        let token = "NcSgbeYKwpvQFUJL.9".to_owned();
        let place = token.as_ptr();
        let header = header(token).unwrap();
        assert_eq!(header.as_bytes().as_ptr(), place, "it was copied");
        assert_eq!(header.clone().as_bytes().as_ptr(), place);
        assert!(header.is_sensitive());
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert!(super::header("a\nb".into()).is_err());
    }
}
