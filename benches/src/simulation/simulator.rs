//! The simulator: moves the time from event to event.

use super::{
    contender::{BoxBalancer, Contender, Source},
    history::{End, Ended, History},
    host::{CallId, Condition, Host},
    scenario::{FAILS_AFTER, Scenario},
};
use fastrand::Rng;
use sd_core::{Endpoint, FixedEndpointer, Instance, Key, Outcome, Pick, PickContext};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::advance;

/// How many different hash keys the calls have.
const HASH_KEYS: u64 = 10_000;

/// A scenario on its way, with one balancer.
pub(super) struct Simulator {
    scenario: Scenario,
    random: Rng,
    endpoints: Vec<Arc<Endpoint<usize>>>,
    source: Source,
    balancer: BoxBalancer,
    hosts: Vec<Host>,
    calls: Vec<Call>,
    now: Duration,
    /// What will happen to calls at hosts, the earliest first. Of those at the same time, the one
    /// that was known first.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    known_events: u64,
    /// When callers give up, in the order of the calls.
    deadlines: VecDeque<(Duration, CallId)>,
}

struct Call {
    arrived: Duration,
    instance: Option<usize>,
    state: CallState,
}

enum CallState {
    /// Its caller waits.
    Open(Pick<usize>),
    Ended {
        latency: Duration,
        end: End,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker has served it.
    Served(CallId),
    /// The host has refused it.
    Refused(CallId),
}

/// The next thing that happens.
enum Step {
    Arrival,
    Event(Event),
    Deadline(CallId),
    /// The instance that is new joins the others.
    Join,
}

impl Simulator {
    pub(super) fn new(scenario: Scenario, contender: &Contender, seed: u64) -> Self {
        let endpoints: Vec<_> = (0..scenario.instances).map(endpoint).collect();
        let source = Arc::new(FixedEndpointer::unknown());
        let exist = (0..)
            .zip(&endpoints)
            .filter(|(n, _)| scenario.exists_at_first(*n));
        source.set_shared(exist.map(|(_, endpoint)| endpoint.clone()));
        let balancer = contender.balancer(source.clone());
        // Preparing a balancer may draw as many numbers as there are processors.
        fastrand::seed(seed);
        Self {
            hosts: (0..scenario.instances)
                .map(|_| Host::new(scenario.workers))
                .collect(),
            scenario,
            random: Rng::with_seed(seed),
            endpoints,
            source,
            balancer,
            calls: Vec::new(),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            known_events: 0,
            deadlines: VecDeque::new(),
        }
    }

    pub(super) async fn run(&mut self) {
        let between = Duration::from_secs_f64(1.0 / self.scenario.arrivals());
        let mut arrival = self.exponential(between);
        let mut join = Some(self.scenario.odd_during.0);
        loop {
            let is_open = arrival < self.scenario.end;
            let steps = [
                is_open.then_some((arrival, Step::Arrival)),
                self.events
                    .peek()
                    .map(|Reverse((at, _, event))| (*at, Step::Event(*event))),
                self.deadlines
                    .front()
                    .map(|(at, call)| (*at, Step::Deadline(*call))),
                join.map(|at| (at, Step::Join)),
            ];
            let next = steps.into_iter().flatten().min_by_key(|(at, _)| *at);
            let Some((at, step)) = next else {
                return;
            };
            // Also lets the tasks of the adapters run.
            advance(at - self.now).await;
            self.now = at;
            match step {
                Step::Arrival => {
                    self.arrive();
                    arrival = at + self.exponential(between);
                }
                Step::Event(event) => {
                    self.events.pop();
                    self.happen(event);
                }
                Step::Deadline(call) => {
                    self.deadlines.pop_front();
                    self.end(call, End::TimedOut);
                }
                Step::Join => {
                    join = None;
                    self.source.set_shared(self.endpoints.iter().cloned());
                }
            }
        }
    }

    fn arrive(&mut self) {
        let call = self.calls.len();
        let hash_key = self.random.u64(..HASH_KEYS).to_le_bytes();
        let context = PickContext::new().with_hash_key(&hash_key);
        let picked = self.balancer.pick(&context);
        let (instance, state) = match picked {
            Ok(pick) => (Some(**pick), CallState::Open(pick)),
            Err(_) => (None, CallState::ended(Duration::ZERO, End::Failed)),
        };
        self.calls.push(Call {
            arrived: self.now,
            instance,
            state,
        });
        let Some(instance) = instance else {
            return;
        };
        self.deadlines
            .push_back((self.now + self.scenario.timeout, call));
        if self.scenario.condition(instance, self.now) == Condition::Failing {
            self.after(FAILS_AFTER, Event::Refused(call));
        } else if self.hosts[instance].arrived(call) {
            self.serve(instance, call);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Refused(call) => self.end(call, End::Failed),
            Event::Served(call) => {
                self.end(call, End::Answered);
                let Some(instance) = self.calls[call].instance else {
                    return;
                };
                let calls = &self.calls;
                let next = self.hosts[instance].free(|call| calls[call].is_open());
                if let Some(next) = next {
                    self.serve(instance, next);
                }
            }
        }
    }

    /// A worker begins to serve a call.
    fn serve(&mut self, instance: usize, call: CallId) {
        let service = self.exponential(self.scenario.service);
        match self.scenario.condition(instance, self.now) {
            Condition::Serving { times } => self.after(service.mul_f64(times), Event::Served(call)),
            // It waited there when the failure began: what is accepted is served.
            Condition::Failing => self.after(service, Event::Served(call)),
        }
    }

    /// The caller has its answer, or gives up.
    fn end(&mut self, call: CallId, end: End) {
        let call = &mut self.calls[call];
        let latency = self.now - call.arrived;
        let ended = CallState::ended(latency, end);
        if let CallState::Open(pick) = &call.state {
            pick.report(match end {
                End::Answered => Outcome::Success,
                End::Failed => Outcome::Failure,
                End::TimedOut => Outcome::TimedOut,
            });
            call.state = ended;
        }
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.known_events += 1;
        let at = self.now + time;
        self.events.push(Reverse((at, self.known_events, event)));
    }

    /// Draws from the exponential distribution with this mean, by inversion.
    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random.f64()).ln())
    }

    pub(super) fn history(self) -> History {
        let ended = self.calls.into_iter().map(|call| match call.state {
            CallState::Ended { latency, end } => Ended {
                arrived: call.arrived,
                instance: call.instance,
                latency,
                end,
            },
            CallState::Open(_) => unreachable!("every call has a deadline"),
        });
        History::new(ended)
    }
}

impl Call {
    fn is_open(&self) -> bool {
        matches!(self.state, CallState::Open(_))
    }
}

impl CallState {
    fn ended(latency: Duration, end: End) -> Self {
        Self::Ended { latency, end }
    }
}

pub(super) fn endpoint(n: usize) -> Arc<Endpoint<usize>> {
    let key = Key::new(format!("/services/hello/{n}")).expect("a key");
    let instance = Instance::new(key, format!("10.0.0.{n}:80"));
    Arc::new(Endpoint::new(instance, n))
}
