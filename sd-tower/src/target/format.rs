//! The option `format`: in whose way the instances of a target are registered.

use super::error::TargetProblem;
use sd_core::Format;
use std::sync::Arc;

/// The format that `text` names, with its options.
#[cfg(feature = "formats")]
pub(super) fn named(text: &str) -> Result<Arc<dyn Format>, TargetProblem> {
    sd_formats::by_name(text).map_err(|error| TargetProblem::Format {
        reason: error.to_string().into(),
    })
}

/// None without the feature.
#[cfg(not(feature = "formats"))]
pub(super) fn named(_: &str) -> Result<Arc<dyn Format>, TargetProblem> {
    Err(TargetProblem::Format {
        reason: "the option format needs the feature `formats` of sd-tower".into(),
    })
}

#[cfg(all(test, feature = "formats"))]
mod tests {
    use crate::{Resolvers, Target, TargetError};
    use sd_core::{Advert, Format, Registrar, Source};
    use sd_formats::Kratos;
    use sd_memory::Registry;

    fn error(text: &str) -> TargetError {
        text.parse::<Target>().expect_err(text)
    }

    #[test]
    fn a_format_says_where_its_services_are() {
        for (text, prefix) in [
            ("etcd:///hello?format=default", "/services/hello/"),
            ("etcd:///hello?format=kratos", "/microservices/hello/"),
            (
                "etcd:///hello?format=kratos?namespace=/prod",
                "/prod/hello/",
            ),
            (
                "etcd:///hello?format=kratos?scheme=http%26namespace=/prod&zone=a",
                "/prod/hello/",
            ),
            (
                "etcd:///org.Greeter?format=dubbo-interface",
                "/dubbo/org.Greeter/providers/",
            ),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.prefix().as_str(), prefix, "{text}");
            assert!(target.format().is_some());
            assert_eq!(target.to_string().parse(), Ok(target), "{text}");
        }
        let own: Target = "etcd:///hello".parse().unwrap();
        assert!(own.format().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_format_is_said_where_it_is() {
        for (text, place, says) in [
            ("etcd:///a?format=Kratos", "Kratos", "there is no format"),
            (
                "etcd:///a?format=kratos?schema=http",
                "kratos?schema=http",
                "has no option",
            ),
            ("etcd:///a/b?format=kitex", "/a/b", "kitex"),
            (
                "etcd:///a?prefix=/b&format=gokit",
                "prefix=/b&format=gokit",
                "says where its services are",
            ),
            ("etcd:///a?format=", "format=", "no value"),
        ] {
            let error = error(text);
            assert_eq!(&text[error.span()], place, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_reads_what_the_fleet_registers() {
        let registry = Registry::new();
        let kratos = Kratos::default().scheme("http");
        let advert = Advert::new("http://10.0.0.1:8080").weight(3);
        let registrar = Registrar::of(registry.client(), &kratos, "hello", &advert).unwrap();
        registrar.register().await.unwrap();
        let resolvers = Resolvers::new().with("memory", move |target| {
            Ok(target.instancer(registry.client())?)
        });

        let hello = resolvers.resolve("memory:///hello?format=kratos?scheme=http");

        let hello = hello.unwrap();
        hello.ready().await.unwrap();
        let state = hello.state().unwrap();
        let all: Vec<_> = state.instances().iter().collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].address(), all[0].weight()), ("10.0.0.1:8080", 3));
        assert_eq!(kratos.prefix("hello").unwrap(), *hello.target().prefix());
    }
}
