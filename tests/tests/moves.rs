//! Moving a fleet from one format to another, and from one registry to another.

use sd_core::{
    Advert, Client, DefaultFormat, Edit, EndpointSource, Endpointer, Error, Format, Instancer,
    InstancerBuilder, MergedInstancer, Need, Prefix, ReadyWhen, Registrar, RegistrarGroup,
    RegistrarStatus, Source, Status, factory_fn,
};
use sd_formats::Kratos;
use sd_memory::Registry;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

const ADDRESS: &str = "10.0.0.1:8080";

fn old() -> DefaultFormat {
    DefaultFormat::under(Prefix::new("/old").unwrap())
}

fn new() -> DefaultFormat {
    DefaultFormat::under(Prefix::new("/new").unwrap())
}

fn registrar(client: impl Client, format: &DefaultFormat, address: &str) -> Registrar {
    Registrar::of(client, format, "hello", &Advert::new(address).weight(3)).unwrap()
}

fn addresses(source: &impl Source) -> Vec<String> {
    let state = source.state().expect("it is known");
    let all = state.instances().iter();
    let mut all: Vec<_> = all.map(|instance| instance.address().to_owned()).collect();
    all.dedup();
    all
}

/// What `wait` gives. On paused time a wait for what never comes would last for ever.
async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = timeout(Duration::from_secs(600), wait).await;
    waited.unwrap_or_else(|_| panic!("not {what} in ten minutes"))
}

/// A provider is in both, leaves one, and no consumer of either is without it.
#[tokio::test(start_paused = true)]
async fn a_provider_of_two_formats_is_seen_in_both_and_leaves_one() {
    let registry = Registry::new();
    let group = RegistrarGroup::new();
    let add = |name: &str, format: DefaultFormat, need| {
        group.add(name, registrar(registry.client(), &format, ADDRESS), need)
    };
    add("old", old(), Need::Required).unwrap();
    add("new", new(), Need::Required).unwrap();
    assert!(
        add("new", new(), Need::Optional).is_err(),
        "the name is taken"
    );
    assert!(!group.is_proven());
    soon("registered", group.register()).await.unwrap();
    assert!(group.is_proven());
    let both =
        [old(), new()].map(|format| Instancer::of(registry.client(), &format, "hello").unwrap());
    for consumer in &both {
        soon("ready", consumer.ready()).await.unwrap();
        assert_eq!(addresses(consumer), [ADDRESS]);
    }
    let edited = group.edit(&Edit::new().status(Status::Draining)).await;
    assert!(
        edited.iter().all(|(_, edited)| edited.is_ok()),
        "{edited:?}"
    );
    for consumer in &both {
        let drained = consumer.until(|event| {
            let mut all = event.instances().iter();
            all.all(|it| it.status() == Status::Draining)
        });
        soon("drained", drained).await.unwrap();
    }
    group.remove("old").await.unwrap().unwrap();
    assert!(group.remove("old").await.is_none());
    let [old, new] = both;
    let empty = old.until(|event| event.instances().is_empty());
    soon("empty", empty).await.unwrap();
    assert_eq!(addresses(&new), [ADDRESS]);
    let ended = group.deregister().await;
    assert_eq!(ended.len(), 1);
    assert!(registry.entries().is_empty() && registry.leases().is_empty());
}

/// A registry that is away keeps nobody from being registered in the one that counts.
#[tokio::test(start_paused = true)]
async fn an_optional_registry_is_tried_and_not_waited_for() {
    let (main, other) = (Registry::new(), Registry::new());
    other.freeze();
    let group = RegistrarGroup::new();
    group
        .add(
            "main",
            registrar(main.client(), &old(), ADDRESS),
            Need::Required,
        )
        .unwrap();
    group
        .add(
            "other",
            registrar(other.client(), &old(), ADDRESS),
            Need::Optional,
        )
        .unwrap();
    soon("registered", group.register()).await.unwrap();
    assert!(group.is_proven());
    let status = |name: &str| {
        let mut all = group.status().into_iter();
        all.find(|(member, ..)| member == name).unwrap().2
    };
    assert!(matches!(
        status("other"),
        RegistrarStatus::Registering { .. }
    ));
    other.thaw();
    soon("registered", async {
        while !status("other").is_registered() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    main.freeze();
    group
        .add(
            "third",
            registrar(main.client(), &new(), ADDRESS),
            Need::Required,
        )
        .unwrap();
    let late = group.register_within(Duration::from_secs(10)).await;
    assert!(
        matches!(
            &late,
            Err(Error::Timeout { .. } | Error::Unavailable { .. })
        ),
        "{late:?}"
    );
}

/// Ten instances move from Kratos' format to the toolkit's own, one step after the other. A consumer that follows both
/// never has an empty view, nor two endpoints of one address; one of Kratos' sees all until it ends.
#[tokio::test(start_paused = true)]
async fn ten_instances_move_between_formats_under_the_eyes_of_consumers() {
    let registry = Registry::new();
    let (kratos, own) = (Kratos::default(), DefaultFormat::default());
    let groups: Vec<_> = (0..10).map(|_| RegistrarGroup::new()).collect();
    let register = async |name: &str, format: &dyn Format| {
        for (n, group) in groups.iter().enumerate() {
            let advert = Advert::new(format!("10.0.0.{n}:8080")).weight(3);
            let registrar = Registrar::of(registry.client(), format, "hello", &advert).unwrap();
            group.add(name, registrar, Need::Required).unwrap();
            soon("registered", group.register()).await.unwrap();
        }
    };
    let follow = |format: &dyn Format| Instancer::of(registry.client(), format, "hello").unwrap();
    register("kratos", &kratos).await;
    let of_kratos = follow(&kratos);
    let members = [("kratos", follow(&kratos))];
    let union = Arc::new(MergedInstancer::new(ReadyWhen::Any, members).unwrap());
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Arc::new(Endpointer::new(union.clone(), factory));
    soon("ready", endpointer.ready()).await.unwrap();
    soon("ready", of_kratos.ready()).await.unwrap();
    let watching = tokio::spawn({
        let (endpointer, mut versions) = (endpointer.clone(), endpointer.versions());
        async move {
            while versions.changed().await.is_ok() {
                let endpoints = endpointer.endpoints();
                let different: BTreeSet<_> = endpoints.iter().map(|it| it.target()).collect();
                assert_eq!((endpoints.len(), different.len()), (10, 10));
            }
        }
    });

    let union_shows = async |count| {
        let shown = union.until(|event| event.instances().len() == count);
        soon("shown by the union", shown).await.unwrap();
    };

    // Our consumers read both, our providers write both.
    union.add("own", follow(&own)).unwrap();
    register("own", &own).await;
    union_shows(20).await;
    assert_eq!(endpointer.endpoints().len(), 10);
    assert_eq!(addresses(&of_kratos).len(), 10);

    // The consumers of Kratos end, then the entries, then nobody reads them.
    of_kratos.stop().await;
    for group in &groups {
        group.remove("kratos").await.unwrap().unwrap();
        assert!(group.is_proven());
    }
    assert!(union.remove("kratos"));
    union_shows(10).await;
    assert_eq!(endpointer.endpoints().len(), 10);
    assert_eq!(registry.entries().len(), 10);
    assert!(
        !watching.is_finished(),
        "it has seen other than ten endpoints"
    );
    watching.abort();
}

/// Ten instances move from one registry to the other, one after the other. A consumer that follows both never has
/// an empty view, nor two endpoints of one address.
#[tokio::test(start_paused = true)]
async fn ten_instances_move_between_registries_under_the_eyes_of_a_consumer() {
    let (from, to) = (Registry::new(), Registry::new());
    let address = |n: usize| format!("10.0.0.{n}:8080");
    let groups: Vec<_> = (0..10).map(|_| RegistrarGroup::new()).collect();
    for (n, group) in groups.iter().enumerate() {
        let registrar = registrar(from.client(), &old(), &address(n));
        group.add("from", registrar, Need::Required).unwrap();
        soon("registered", group.register()).await.unwrap();
    }
    let follow = |registry: &Registry| -> InstancerBuilder {
        Instancer::builder_of(registry.client(), &old(), "hello").unwrap()
    };
    let members = [("from", follow(&from).build())];
    let union = Arc::new(MergedInstancer::new(ReadyWhen::Any, members).unwrap());
    let factory = factory_fn(|instance| Ok(instance.address().to_owned()));
    let endpointer = Endpointer::new(union.clone(), factory);
    soon("ready", endpointer.ready()).await.unwrap();
    let watching = tokio::spawn({
        let mut events = union.subscribe();
        async move {
            while let Ok(event) = events.until(|_| true).await {
                let shown = event.instances().len();
                assert!(shown == 10, "{shown} instances: {event}");
            }
        }
    });
    union.add("to", follow(&to).build()).unwrap();
    for (n, group) in groups.iter().enumerate() {
        let registrar = registrar(to.client(), &old(), &address(n));
        group.add("to", registrar, Need::Required).unwrap();
        soon("registered", group.register()).await.unwrap();
        let is_known = || to.entries().len() == n + 1;
        assert!(is_known());
        sleep(Duration::from_millis(10)).await;
        group.remove("from").await.unwrap().unwrap();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(endpointer.endpoints().len(), 10);
    }
    // The old registry goes for good, whatever it said last.
    from.freeze();
    sleep(Duration::from_secs(60)).await;
    assert!(union.remove("from"));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(endpointer.endpoints().len(), 10);
    assert!(union.state().unwrap().health().is_live());
    union.stop().await;
    soon("at an end", watching).await.unwrap();
}
