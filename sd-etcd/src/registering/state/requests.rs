//! Requests: accepted, deferred or answered at once.

use super::{InFlight, SessionState};
use crate::registering::{
    actions::QueuedPut,
    contenders::Stage,
    ledger::{Decision, Held},
    requests::{PutRequest, RemovalReply, Request, Scope},
    write::Guard,
};
use sd_core::{Deregistered, Error, Lost, ServiceKey};

impl SessionState {
    pub(in crate::registering) fn accept(&mut self, request: Request) {
        self.settle();
        if self.has_to_wait(&request) {
            if let Request::Remove {
                service,
                scope,
                why,
                ..
            } = &request
            {
                self.cancel_puts(service, *scope, why);
            }
            return self.deferred.push(request);
        }
        match request {
            Request::Put(request) => match self.decide(&request, None) {
                Decision::Send(_) | Decision::Look(_) | Decision::Keep(_) => {
                    self.queue.push_back(QueuedPut {
                        request,
                        learned: None,
                        attempts: 0,
                        is_look: false,
                        is_alone: false,
                    })
                }
                Decision::Answer(answer) => request.answer(answer),
            },
            Request::Remove {
                service,
                scope,
                why,
                reply,
            } => self.remove(&service, scope, why, reply),
            Request::RemoveUnleased {
                service,
                id,
                value,
                reply,
            } => {
                let held = self.ledger.get(&service).filter(|held| held.id() == id);
                let found = held.and_then(|held| Some((held, held.found.as_ref()?)));
                match found {
                    Some((held, found)) if found.lease == 0 && found.value == value => {
                        let (key, owner) = (held.key.clone(), Some(held.owner));
                        self.remove_key(key, found.lease, found.guard(), owner, reply);
                    }
                    _ => {
                        if let Some(reply) = reply {
                            reply.send(Ok(Deregistered::NotOurs));
                        }
                    }
                }
            }
            Request::Dropped { service, id } => {
                let is_held = self.ledger.get(&service).is_some_and(|it| it.id() == id);
                if is_held && let Some(held) = self.ledger.remove(&service) {
                    self.lost_leases.forget(&service);
                    let guard = held.guard();
                    self.remove_key(held.key, held.lease, guard, Some(held.owner), None);
                }
            }
        }
    }

    /// Whether a request concerns a put in flight: only its answer says whose the key is. A new put
    /// has to wait only behind a request that waits.
    fn has_to_wait(&self, request: &Request) -> bool {
        let InFlight::Puts(services) = &self.in_flight else {
            return false;
        };
        let service = request.service();
        services.contains_key(service)
            && match request {
                Request::Remove { .. }
                | Request::RemoveUnleased { .. }
                | Request::Dropped { .. } => true,
                Request::Put(_) => self.deferred.iter().any(|it| it.service() == service),
            }
    }

    /// Decides whether to send a put, and with which guard: what was `learned` of its key, or what
    /// the ledger says.
    pub(super) fn decide(&self, request: &PutRequest, learned: Option<Guard>) -> Decision {
        let contenders = &self.shared.contenders;
        if contenders.newer_than(&request.service, request.id) == Some(Stage::Held) {
            return Decision::Answer(Err(Error::Superseded));
        }
        let held = self.ledger.get(&request.service);
        if let Some(id) = request.reclaims {
            match held {
                // It was deregistered, or its handle dropped.
                None => return Decision::Answer(Err(Error::Closed)),
                Some(held) if held.id() != id => {
                    return Decision::Answer(Err(Error::Superseded));
                }
                Some(held) if learned.is_none() => {
                    return held.reclaim(&request.value, self.lease(), &self.shared);
                }
                Some(_) => {}
            }
        }
        Decision::Send(learned.unwrap_or_else(|| held.map_or(Guard::Absent, Held::guard)))
    }

    fn remove(
        &mut self,
        service: &ServiceKey,
        scope: Scope,
        why: Lost,
        reply: Option<RemovalReply>,
    ) {
        self.cancel_puts(service, scope, &why);
        if let Some(mut held) = self.ledger.remove_within(service, scope) {
            self.lost_leases.forget(service);
            let guard = held.guard();
            held.lose(why);
            self.remove_key(held.key, held.lease, guard, Some(held.owner), reply);
        } else if let Some(reply) = reply {
            // Its removal may be pending already.
            let key = self.full_key(service, self.lease().unwrap_or_default());
            if let Err(reply) = self.removals.join(&key, scope, reply) {
                reply.send(Ok(Deregistered::NotOurs));
            }
        }
    }

    /// Cancels the puts of `service` within `scope` that wait: a deregistration wins against every
    /// put before it. A put in flight is waited for, and its entry removed.
    fn cancel_puts(&mut self, service: &ServiceKey, scope: Scope, why: &Lost) {
        let is_meant = |put: &PutRequest| scope.includes(put.id, put.owner);
        for put in self.queue.remove(service, is_meant) {
            put.request.answer(Err(match why {
                Lost::Superseded => Error::Superseded,
                _ => Error::Closed,
            }));
        }
    }
}
