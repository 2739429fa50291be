//! Flags, environment, profiles, passwords, TLS, namespaces.

use crate::support::{on, run, sdctl};
use sd_tests::{Ca, Etcd};
use std::fs;

const KEY: &str = "/services/hello/10.0.0.1:80";

#[tokio::test]
async fn a_profile_and_the_environment_say_where_etcd_is() {
    let etcd = Etcd::start().await;
    etcd.put(format!("/prod{KEY}"), "10.0.0.1:80").await;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sdctl")).unwrap();
    let file = format!(
        "default = \"prod\"\n[profiles.prod]\netcd = [\"{}\"]\nnamespace = \"/prod\"\noutput = \"json\"\n",
        etcd.endpoint()
    );
    fs::write(dir.path().join("sdctl/config.toml"), file).unwrap();
    let mut command = sdctl(&["list", "hello"]);
    command.env("XDG_CONFIG_HOME", dir.path());
    let listed = run(command).await.succeeded().json();
    assert_eq!(listed[0]["key"], KEY);

    let mut command = sdctl(&["list"]);
    command
        .env("SDCTL_ETCD", etcd.endpoint())
        .env("SDCTL_NAMESPACE", "/prod")
        .env("SDCTL_OUTPUT", "jsonl");
    let listed = run(command).await.succeeded();
    assert!(listed.line("hello").contains(r#""instances":1"#));

    let mut command = sdctl(&["list", "--profile", "staging"]);
    command.env("XDG_CONFIG_HOME", dir.path());
    let refused = run(command).await.failed();
    assert!(
        refused.err.contains("no profile staging; it has prod"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_password_comes_from_a_file_or_the_environment_and_is_never_printed() {
    let etcd = Etcd::start().await;
    etcd.put(KEY, "10.0.0.1:80").await;
    etcd.enable_auth().await;
    etcd.add_user("ops", "hunter2", "/services/").await;
    let endpoint = etcd.endpoint();
    let arguments = ["--etcd", &endpoint, "--user", "ops", "list", "hello"];

    let nobody = on(&etcd, &["list"]).await.failed();
    assert!(nobody.err.contains("--user"), "{nobody:?}");
    let unasked = run(sdctl(&arguments)).await.failed();
    assert!(
        unasked.err.contains("no password of the user ops"),
        "{unasked:?}"
    );
    let mut command = sdctl(&arguments);
    command.env("SDCTL_PASSWORD", "hunter2");
    run(command).await.succeeded();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    let mut command = sdctl(&arguments);
    command.args(["--password-file"]).arg(&file);
    run(command).await.succeeded();
    let mut command = sdctl(&arguments);
    command
        .env("SDCTL_PASSWORD", "hunter3")
        .env("RUST_LOG", "trace");
    let wrong = run(command).await.failed();
    assert!(
        wrong.err.contains("check --user and its password"),
        "{wrong:?}"
    );
    assert!(!wrong.err.contains("hunter3") && !wrong.out.contains("hunter3"));
    let refused = run(sdctl(&["--user", "ops:hunter2", "list"]))
        .await
        .failed();
    assert!(
        refused.err.contains("never an argument") && !refused.err.contains("hunter2"),
        "{refused:?}"
    );

    // What the user may not read.
    let mut command = sdctl(&arguments[..4]);
    command
        .args(["--format", "kratos", "list"])
        .env("SDCTL_PASSWORD", "hunter2");
    let denied = run(command).await.failed();
    assert!(denied.err.contains("lacks a right"), "{denied:?}");
    etcd.disable_auth().await;
    // A user is no harm where there are none.
    let mut command = sdctl(&arguments);
    command.env("SDCTL_PASSWORD", "hunter2");
    run(command).await.succeeded();
}

#[tokio::test]
async fn certificates_are_used() {
    let ca = Ca::new();
    let etcd = Etcd::setup().tls(&ca).client_certificates().start().await;
    etcd.put(KEY, r#"{"address":"10.0.0.1:80"}"#).await;
    let dir = tempfile::tempdir().unwrap();
    let client = ca.client("ops");
    for (name, pem) in [
        ("ca.pem", ca.pem()),
        ("cert.pem", client.certificate),
        ("key.pem", client.key),
    ] {
        fs::write(dir.path().join(name), pem).unwrap();
    }
    let file = format!(
        "[profiles.a]\netcd = [\"{}\"]\nca = \"ca.pem\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n",
        etcd.endpoint()
    );
    let config = dir.path().join("config.toml");
    fs::write(&config, file).unwrap();
    for arguments in [&["list", "hello"][..], &["drain", KEY]] {
        let mut command = sdctl(&["--profile", "a"]);
        command.arg("--config").arg(&config).args(arguments);
        run(command).await.succeeded();
    }
    let without = on(
        &etcd,
        &[
            "--timeout",
            "2s",
            "--ca",
            dir.path().join("ca.pem").to_str().unwrap(),
            "list",
        ],
    )
    .await;
    without.failed();
}
