//! The tables of the lanes, and what is in them.

use super::LaneFallback;
use crate::{
    calls::{
        derived::Derive,
        endpoint::Endpoint,
        endpoint_source::EndpointSource,
        endpoint_table::{EndpointTable, Endpoints, TableContents},
        no_endpoints::NoEndpoints,
    },
    registry::Escaped,
    support::LogThrottle,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::watch, time::Instant};

/// A table for each lane that has endpoints, and for each that the program has named.
pub(super) struct LaneTables<E> {
    /// The name of the metadata whose value is the lane.
    metadata: Box<str>,
    fallback: LaneFallback,
    tables: Mutex<Tables<E>>,
    /// The tables of the lanes that the options name.
    _named: Vec<Arc<EndpointTable<E>>>,
    /// The lanes that have endpoints.
    present: watch::Sender<Arc<BTreeSet<Arc<str>>>>,
}

type Tables<E> = BTreeMap<Arc<str>, Arc<EndpointTable<E>>>;

/// The endpoints by their lanes, each in the order of their keys.
type Members<'a, E> = BTreeMap<&'a str, Vec<Arc<Endpoint<E>>>>;

impl<E> LaneTables<E> {
    /// Tables for the lanes in `named`, which are kept.
    pub(super) fn new(
        metadata: Box<str>,
        fallback: LaneFallback,
        named: impl Iterator<Item = Arc<str>>,
    ) -> Self {
        let tables: Tables<E> = named
            .map(|lane| (lane, Arc::new(EndpointTable::new())))
            .collect();
        Self {
            metadata,
            fallback,
            _named: tables.values().cloned().collect(),
            tables: Mutex::new(tables),
            present: watch::Sender::default(),
        }
    }

    pub(super) fn fallback(&self) -> &LaneFallback {
        &self.fallback
    }

    /// Follows which lanes have endpoints. A lane has its endpoints before it is shown here.
    pub(super) fn present(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>> {
        self.present.subscribe()
    }

    /// The table of `lane`, and whether it is new. A new one is filled from `all`, which may be
    /// older than the other tables by now: derive them again.
    pub(super) fn table(
        &self,
        lane: &Arc<str>,
        all: &impl EndpointSource<Target = E>,
    ) -> (Arc<EndpointTable<E>>, bool) {
        if let Some(table) = self.lock().get(lane) {
            return (table.clone(), false);
        }
        let new = Arc::new(EndpointTable::new());
        let endpoints = all.endpoints();
        new.set(self.contents(lane, &self.members(&endpoints), &endpoints));
        // Somebody else may have added it meanwhile. The lock is given back before `new` is dropped.
        let table = self
            .lock()
            .entry(lane.clone())
            .or_insert(new.clone())
            .clone();
        (table, true)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tables<E>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members<'a>(&self, endpoints: &'a [Arc<Endpoint<E>>]) -> Members<'a, E> {
        let mut members = Members::new();
        for endpoint in endpoints {
            if let Some(lane) = endpoint.instance().metadata(&self.metadata) {
                members.entry(lane).or_default().push(endpoint.clone());
            }
        }
        members
    }

    /// What is in the table of `lane`: its endpoints, or its fallback.
    fn contents(
        &self,
        lane: &str,
        members: &Members<'_, E>,
        endpoints: &Endpoints<E>,
    ) -> TableContents<E> {
        let fallback = || match &self.fallback {
            LaneFallback::All => Some(endpoints.to_vec()),
            LaneFallback::Lane(other) => members.get(&**other).cloned(),
            LaneFallback::Error => None,
        };
        match members.get(lane).cloned().or_else(fallback) {
            Some(selected) => TableContents::selected(endpoints, selected),
            None => TableContents::none(no_lane(lane, endpoints)),
        }
    }
}

/// Why there is no endpoint in `lane`: there is none at all, or none in it.
pub(super) fn no_lane<E>(lane: &str, all: &Endpoints<E>) -> NoEndpoints {
    match all.non_empty() {
        Ok(_) => NoEndpoints::NoLane { lane: lane.into() },
        Err(none) => none,
    }
}

/// Fills the tables. Its own table has all endpoints.
pub(super) struct SortLanes<E> {
    tables: Arc<LaneTables<E>>,
    most_lanes: usize,
    /// Whether there are more lanes than that.
    is_over: bool,
    log: LogThrottle,
}

impl<E> SortLanes<E> {
    pub(super) fn new(tables: Arc<LaneTables<E>>, most_lanes: usize) -> Self {
        Self {
            tables,
            most_lanes,
            is_over: false,
            log: LogThrottle::new(1),
        }
    }

    /// Adds the tables of new lanes, up to the limit, and removes those that nobody needs. Returns
    /// all tables, and those that were removed, which must not be dropped under the lock.
    fn update(&mut self, members: &Members<'_, E>, now: Instant) -> (Tables<E>, Tables<E>) {
        let mut tables = self.tables.lock();
        let is_needed =
            |lane: &str, table: &Arc<_>| members.contains_key(lane) || Arc::strong_count(table) > 1;
        let (mut kept, gone): (Tables<E>, Tables<E>) = std::mem::take(&mut *tables)
            .into_iter()
            .partition(|(lane, table)| is_needed(lane, table));
        let present = kept.keys().filter(|lane| members.contains_key(&***lane));
        let room = self.most_lanes.saturating_sub(present.count());
        let new: Vec<_> = members
            .keys()
            .filter(|lane| !kept.contains_key(**lane))
            .collect();
        for lane in new.iter().take(room) {
            kept.insert((**lane).into(), Arc::new(EndpointTable::new()));
        }
        tables.clone_from(&kept);
        drop(tables);
        self.note_limit(new.get(room).map(|lane| **lane), now);
        (kept, gone)
    }

    /// Logs when there begin to be too many lanes, of which this is one.
    fn note_limit(&mut self, over: Option<&str>, now: Instant) {
        let was_over = std::mem::replace(&mut self.is_over, over.is_some());
        if let Some(lane) = over.filter(|_| !was_over && self.log.allows(now)) {
            tracing::warn!(
                metadata = %Escaped(&self.tables.metadata),
                lanes = self.most_lanes,
                lane = %Escaped(lane),
                "too many lanes: endpoints of further ones count as without a lane"
            );
        }
    }
}

impl<E: Send + Sync + 'static> Derive<E> for SortLanes<E> {
    const NAME: &'static str = "lanes";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let members = self.tables.members(endpoints);
        let (tables, gone) = self.update(&members, now);
        drop(gone);
        for (lane, table) in &tables {
            table.set(self.tables.contents(lane, &members, endpoints));
        }
        let present = tables
            .into_keys()
            .filter(|lane| members.contains_key(&**lane));
        let present: BTreeSet<_> = present.collect();
        self.tables.present.send_if_modified(|shown| {
            let differs = **shown != present;
            if differs {
                *shown = Arc::new(present);
            }
            differs
        });
        (TableContents::selected(endpoints, endpoints.to_vec()), None)
    }

    fn ended(&mut self, why: &NoEndpoints) {
        let tables = self.tables.lock().clone();
        for table in tables.values().filter(|table| table.load().is_empty()) {
            table.set(TableContents::none(why.clone()));
        }
    }
}
