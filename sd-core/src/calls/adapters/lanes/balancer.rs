//! A balancer over lanes.

use super::{Lane, LaneFallback, Lanes, tables::no_lane};
use crate::{
    calls::{
        balancer::Balancer,
        endpoint_source::EndpointSource,
        no_endpoints::NoEndpoints,
        pick::{Pick, PickContext},
    },
    registry::{ErrorChain, Escaped},
    support::{BackgroundTask, Panicked, Work, catch},
};
use arc_swap::ArcSwap;
use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};
use tokio::sync::watch;

/// Picks an endpoint from the [lane](crate::PickContext::lane) of each call, with a balancer for
/// each lane. Made by [`Lanes::balancer`].
///
/// A call for a lane without endpoints gets the [fallback](LaneFallback), and one without a lane
/// gets the [default lane](crate::LanesBuilder::default_lane), or else all endpoints. The balancer
/// of a lane is dropped when the lane goes, and a new one is made when it returns.
///
/// It follows the lanes until it is [stopped](Self::stop) or dropped; the balancers stay then.
pub struct LaneBalancer<S: EndpointSource, B> {
    lanes: Lanes<S>,
    shared: Arc<Shared<B>>,
    task: BackgroundTask,
}

struct Shared<B> {
    routes: ArcSwap<Routes<B>>,
    /// Changes when a pick may have another result.
    versions: watch::Sender<u64>,
}

/// Which balancer picks for which call.
struct Routes<B> {
    lanes: HashMap<Arc<str>, Arc<B>>,
    /// For calls without a lane.
    default: Option<Arc<B>>,
    /// For calls in a lane that has no endpoints.
    fallback: Option<Arc<B>>,
}

impl<S, B> LaneBalancer<S, B>
where
    S: EndpointSource,
    B: Balancer<Target = S::Target> + 'static,
{
    pub(super) fn spawn(lanes: Lanes<S>, mut make: MakeBalancer<S, B>) -> Self {
        let reaches_all = *lanes.0.tables.fallback() == LaneFallback::All;
        let reaches_all = reaches_all || lanes.0.default_lane.is_none();
        let shared = Arc::new(Shared {
            routes: ArcSwap::default(),
            versions: watch::Sender::new(0),
        });
        let mut task = RouteLanes {
            present: lanes.0.tables.present(),
            all: reaches_all.then(|| Arc::new(make(lanes.all()))),
            lanes: lanes.clone(),
            make,
            shared: shared.clone(),
        };
        task.route();
        Self {
            lanes,
            shared,
            task: BackgroundTask::spawn(task),
        }
    }

    #[cold]
    fn no_lane(&self, context: &PickContext<'_>) -> NoEndpoints {
        let lane = context.lane.or(self.lanes.0.default_lane.as_deref());
        no_lane(lane.unwrap_or_default(), &self.lanes.0.all.endpoints())
    }
}

impl<S: EndpointSource, B> LaneBalancer<S, B> {
    /// The lanes it picks from.
    pub fn lanes(&self) -> &Lanes<S> {
        &self.lanes
    }

    /// Stops following which lanes there are, and waits until that is done. The balancers stay, and
    /// go on picking from their lanes.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.task.stop().await;
    }
}

impl<S, B> Balancer for LaneBalancer<S, B>
where
    S: EndpointSource,
    B: Balancer<Target = S::Target> + 'static,
{
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let routes = self.shared.routes.load();
        let balancer = match context.lane {
            Some(lane) => routes.lanes.get(lane).or(routes.fallback.as_ref()),
            None => routes.default.as_ref(),
        };
        match balancer {
            Some(balancer) => balancer.pick(context),
            None => Err(self.no_lane(context)),
        }
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.shared.versions.subscribe()
    }
}

impl<S: EndpointSource, B> fmt::Debug for LaneBalancer<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneBalancer")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl<B> Default for Routes<B> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            default: None,
            fallback: None,
        }
    }
}

type MakeBalancer<S, B> = Box<dyn FnMut(Lane<S>) -> B + Send>;

/// Makes and drops balancers as lanes come and go.
struct RouteLanes<S: EndpointSource, B> {
    lanes: Lanes<S>,
    present: watch::Receiver<Arc<BTreeSet<Arc<str>>>>,
    make: MakeBalancer<S, B>,
    /// The balancer over all endpoints, if calls can get there.
    all: Option<Arc<B>>,
    shared: Arc<Shared<B>>,
}

impl<S, B> RouteLanes<S, B>
where
    S: EndpointSource,
    B: Balancer<Target = S::Target> + 'static,
{
    fn route(&mut self) {
        let present = self.present.borrow_and_update().clone();
        let mut lanes = self.shared.routes.load().lanes.clone();
        lanes.retain(|lane, _| present.contains(lane));
        for lane in &*present {
            if !lanes.contains_key(lane) {
                lanes.extend(self.balancer(lane).map(|made| (lane.clone(), made)));
            }
        }
        let fallback = match self.lanes.0.tables.fallback() {
            LaneFallback::All => self.all.clone(),
            LaneFallback::Lane(lane) => lanes.get(lane).cloned(),
            LaneFallback::Error => None,
        };
        let default = match &self.lanes.0.default_lane {
            Some(lane) => lanes.get(lane).or(fallback.as_ref()).cloned(),
            None => self.all.clone(),
        };
        self.shared.routes.store(Arc::new(Routes {
            lanes,
            default,
            fallback,
        }));
    }

    /// A new balancer for `lane`. `None` if it cannot be made.
    fn balancer(&mut self, lane: &Arc<str>) -> Option<Arc<B>> {
        let source = self.lanes.lane(lane.clone());
        match catch(|| (self.make)(source)) {
            Ok(balancer) => Some(Arc::new(balancer)),
            Err(why) => {
                tracing::error!(
                    lane = %Escaped(lane),
                    why = %ErrorChain(&why),
                    "the balancer of a lane failed to be made"
                );
                None
            }
        }
    }

    /// What changes when a pick may have another result than now: the versions of the balancers, and
    /// of all endpoints, of which the reason for having none depends.
    fn versions(&self) -> Vec<watch::Receiver<u64>> {
        let routes = self.shared.routes.load();
        let balancers = routes.lanes.values().chain(&self.all);
        let versions = balancers.map(|balancer| balancer.versions());
        versions.chain([self.lanes.0.all.versions()]).collect()
    }
}

async fn changed(mut versions: watch::Receiver<u64>) -> Option<watch::Receiver<u64>> {
    versions.changed().await.ok()?;
    Some(versions)
}

impl<S, B> Work for RouteLanes<S, B>
where
    S: EndpointSource,
    B: Balancer<Target = S::Target> + 'static,
{
    const NAME: &'static str = "lane balancer";

    async fn run(&mut self) {
        loop {
            let changes = self.versions().into_iter().map(changed);
            let mut changes: FuturesUnordered<_> = changes.collect();
            // Also for what changed before.
            self.shared.versions.send_modify(|version| *version += 1);
            loop {
                tokio::select! {
                    _ = self.present.changed() => break,
                    Some(versions) = changes.next() => {
                        self.shared.versions.send_modify(|version| *version += 1);
                        changes.extend(versions.map(changed));
                    }
                }
            }
            self.route();
        }
    }

    /// The last balancers stay.
    fn panicked(&mut self, _why: Panicked) {}
}
