use super::*;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn error(text: &str) -> TargetError {
    text.parse::<Target>().unwrap_err()
}

#[test]
fn a_target_names_registry_service_and_options() {
    let target = target(
        "etcd://10.0.0.1:2379,Etcd-2.local,[::1]:4000/team/hello?balancer=least_loaded\
         &metadata.tenant=a%26b&prefix=/other&subset=20&version=v1&zone=north",
    );
    assert_eq!(target.scheme(), "etcd");
    let authorities = target.authorities().iter();
    let authorities: Vec<_> = authorities
        .map(|it| (it.host(), it.port(), it.or_port(2379)))
        .collect();
    assert_eq!(
        authorities,
        [
            ("10.0.0.1", Some(2379), "10.0.0.1:2379".into()),
            ("etcd-2.local", None, "etcd-2.local:2379".into()),
            ("::1", Some(4000), "[::1]:4000".into()),
        ]
    );
    assert_eq!(target.service(), "team/hello");
    assert_eq!(target.prefix().as_str(), "/other/team/hello/");
    let options = target.options();
    assert_eq!(options.balancer(), Some(BalancerKind::LeastLoaded));
    let metadata = options.metadata().iter();
    let metadata: Vec<_> = metadata.map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(metadata, [("tenant", "a&b"), ("version", "v1")]);
    assert_eq!(
        (options.subset(), options.zone()),
        (Some(20), Some("north"))
    );
}

#[test]
fn the_prefix_is_the_toolkits_layout_or_another() {
    for (text, prefix) in [
        ("memory:///hello", "/services/hello/"),
        ("memory:///team/hello", "/services/team/hello/"),
        ("memory:///team%2Fhello", "/services/team/hello/"),
        ("memory:///hello?prefix=/other", "/other/hello/"),
        ("memory:///hello?prefix=/other/", "/other/hello/"),
        ("memory:///hello?prefix=/", "/hello/"),
        ("memory:///hello?prefix=", "hello/"),
        ("memory:///Gr%C3%BC%C3%9Fe", "/services/Grüße/"),
    ] {
        assert_eq!(target(text).prefix().as_str(), prefix, "{text}");
    }
}

#[test]
fn one_target_has_one_text() {
    for (text, normal) in [
        ("ETCD://Host:2379/Hello", "etcd://host:2379/Hello"),
        ("etcd://[0:0::1]/hello?", "etcd://[::1]/hello"),
        ("etcd://a/b%2Fc%41?zone=x%79", "etcd://a/b/cA?zone=xy"),
        ("etcd://a/b?zone=n&version=1", "etcd://a/b?version=1&zone=n"),
        ("etcd://a/b?metadata.version=1", "etcd://a/b?version=1"),
        (
            "etcd://a/b?metadata.a%3Db=1=2",
            "etcd://a/b?metadata.a%3Db=1%3D2",
        ),
    ] {
        assert_eq!(target(text).to_string(), normal);
        assert_eq!(format!("{:?}", target(text)), format!("{normal:?}"));
        assert_eq!(target(normal), target(text));
    }
}

#[test]
fn an_error_points_at_the_part_that_is_wrong() {
    for text in [
        "<>10.0.0.1:2379/hello",
        "<10.0.0.1>:2379/hello",
        "<etcd>:/hello",
        "<1>://a/hello",
        "etcd://a,<>,b/hello",
        "etcd://a:<>/hello",
        "etcd://10.0.0.1:<99999>/hello",
        "etcd://a:<0>/hello",
        "etcd://a:<+1>/hello",
        "etcd://a:1,b:<2379x>/hello",
        "etcd://<10.0.0.256>:1/hello",
        "etcd://a,<b c>/hello",
        "etcd://<a..b>/hello",
        "etcd://<::1>/hello",
        "etcd://<[::g]:1>/hello",
        "etcd://<[::1>/hello",
        "etcd://<[::1]x:1>/hello",
        "etcd://a<>",
        "etcd://a</>",
        "etcd://a<>?zone=n",
        "etcd://a/<b//c>",
        "etcd://a/<b/>",
        "etcd://a/b<ü>",
        "etcd://a/b<#>c",
        "etcd://a/b<%>",
        "etcd://a/b<%1ü>?zone=n",
        "etcd://a/<b%ff>",
        "etcd://a/<b%0A>",
        "etcd://a/b?<verson>=1",
        "etcd://a/b?<metadata.>=1",
        "etcd://a/b?zone=n&<>",
        "etcd://a/b?<zone>",
        "etcd://a/b?version=1&<zone=>",
        "etcd://a/b?zone=n&<zone=m>&version=1",
        "etcd://a/b?version=1&<metadata.version=1>",
        "etcd://a/b?balancer=<best>",
        "etcd://a/b?subset=<0>&zone=n",
        "etcd://a/b?zone=<ü>",
    ] {
        let (start, rest) = text.split_once('<').unwrap();
        let (wrong, end) = rest.split_once('>').unwrap();
        let given = if text.starts_with("<>") {
            // Without a scheme, its first part is what is wrong.
            format!("{wrong}{end}")
        } else {
            format!("{start}{wrong}{end}")
        };
        let span = error(&given).span();
        if text.starts_with("<>") {
            assert_eq!(&given[span], "10.0.0.1", "{text}");
        } else {
            assert_eq!((span.start, &given[span]), (start.len(), wrong), "{text}");
        }
    }
}

#[test]
fn an_error_shows_where_it_is() {
    let shown = |text: &str| format!("{:#}", error(text));
    assert_eq!(
        shown("etcd://10.0.0.1:2379/hello?verson=v1&zone=north"),
        "\
invalid target: there is no option verson; the options are balancer, format, metadata.NAME, prefix, subset, version, zone
  etcd://10.0.0.1:2379/hello?verson=***&zone=north
                             ^^^^^^"
    );
    assert_eq!(
        shown("etcd://10.0.0.1:2379"),
        "\
invalid target: the service is missing, such as /hello
  etcd://10.0.0.1:2379
                      ^"
    );
    assert_eq!(
        shown("etcd://a/grüße\n\u{202e}"),
        "\
invalid target: 'ü' is written %C3%BC
  etcd://a/gr\\u{fc}\\u{df}e\\n\\u{202e}
             ^^^^^^"
    );
    let long = "x".repeat(1000);
    let lines = shown(&format!("etcd://a/{long}?zone=&version={long}"));
    assert!(
        lines.lines().skip(1).all(|line| line.chars().count() < 200),
        "{lines}"
    );
}

#[test]
fn credentials_are_refused_and_not_repeated() {
    for text in [
        "etcd://root:s3cret@10.0.0.1:2379/hello",
        "etcd://s3cret@10.0.0.1:2379,10.0.0.2:x/hello",
        "etcd://a:1,root:s3cret@b:2/hello",
        "etcd://root:s3c/s3cret@10.0.0.1/hello",
        "etcd://root:s3c?s3cret@10.0.0.1/hello",
        "etcd://root:s3c@s3cret@10.0.0.1/hello",
        "root:s3cret@10.0.0.1/hello",
        "root:s3cret://s3cret@10.0.0.1/hello",
        "etcd://a/hello?password=s3cret",
        "etcd://a/hello?zone=&password=s3cret",
        "etcd://a/hello?PASSWORD=s3cret&zone=n",
        "etcd://a/hello?tls=s3cret&%zz=s3cret",
    ] {
        let error = error(text);
        for shown in [
            format!("{error}"),
            format!("{error:#}"),
            format!("{error:?}"),
        ] {
            assert!(!shown.contains("s3c"), "{shown}");
        }
        let is_credentials = matches!(error.problem(), TargetProblem::Credentials);
        assert_eq!(is_credentials, text.contains('@'), "{text}");
    }
    let advised = error("etcd://a/hello?password=x").to_string();
    assert!(
        advised.contains("give them to what resolves the scheme"),
        "{advised}"
    );
}
