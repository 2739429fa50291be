//! Where etcd is, in which format its services are, as whom to come, and how to print: flags, environment, profile.
//!
//! `file` is the configuration file, `password` where a password comes from. Nothing here talks to etcd.

mod file;
mod password;

use crate::{
    failure::{Failure, Outcome},
    output::Output,
};
use clap::Args;
use file::Profile;
use sd_core::{Escaped, Format};
use sd_etcd::{EtcdClient, Tls};
use std::{path::PathBuf, sync::Arc, time::Duration};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What all commands take.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct ConnectionArgs {
    /// Members of etcd, as URLs or host:port; several with commas. Default: http://127.0.0.1:2379
    #[arg(
        long,
        env = "SDCTL_ETCD",
        value_name = "URL",
        value_delimiter = ',',
        global = true
    )]
    pub(crate) etcd: Vec<String>,

    /// The format of the services, with options: `default`, `kratos`, `gokit?root=/svc`, ... Default: default
    #[arg(long, env = "SDCTL_FORMAT", value_name = "FORMAT", global = true)]
    pub(crate) format: Option<String>,

    /// The user of etcd. Its password comes from --password-file, SDCTL_PASSWORD or a prompt, never from an argument
    #[arg(long, env = "SDCTL_USER", value_name = "NAME", global = true)]
    pub(crate) user: Option<String>,

    /// A file with the password in its first line
    #[arg(long, env = "SDCTL_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub(crate) password_file: Option<PathBuf>,

    /// The CA that etcd's certificate is signed by (PEM). Default for https: the system's
    #[arg(long, env = "SDCTL_CA", value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,

    /// The client's certificate (PEM), with --key
    #[arg(long, env = "SDCTL_CERT", value_name = "FILE", global = true)]
    pub(crate) cert: Option<PathBuf>,

    /// The key of the client's certificate (PEM)
    #[arg(long, env = "SDCTL_KEY", value_name = "FILE", global = true)]
    pub(crate) key: Option<PathBuf>,

    /// The name in etcd's certificate, if it is not the host of the URL
    #[arg(long, env = "SDCTL_TLS_NAME", value_name = "NAME", global = true)]
    pub(crate) tls_name: Option<String>,

    /// What stands before every key: `/production`
    #[arg(long, env = "SDCTL_NAMESPACE", value_name = "PATH", global = true)]
    pub(crate) namespace: Option<String>,

    /// How long a request to etcd may take. Default: 5s
    #[arg(long, env = "SDCTL_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration, global = true)]
    pub(crate) timeout: Option<Duration>,

    /// The profile of the configuration file. Default: the one that it names as default, if any
    #[arg(long, env = "SDCTL_PROFILE", value_name = "NAME", global = true)]
    pub(crate) profile: Option<String>,

    /// The configuration file. Default: sdctl/config.toml in XDG_CONFIG_HOME or ~/.config
    #[arg(long, env = "SDCTL_CONFIG", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// How to print: columns, more columns, or JSON (docs/sdctl.md). Default: table
    #[arg(short, long, env = "SDCTL_OUTPUT", value_name = "HOW", global = true)]
    pub(crate) output: Option<Output>,
}

/// What the command line, the environment and the configuration file say together.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<String>,
    pub(crate) format: Arc<dyn Format>,
    /// The format as it was written, with its options.
    pub(crate) format_text: String,
    /// The name and the password.
    pub(crate) user: Option<(String, String)>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) namespace: String,
    pub(crate) timeout: Duration,
    pub(crate) output: Output,
}

/// The files for TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) name: Option<String>,
}

impl Settings {
    /// Puts flags (the environment among them) over the profile over the defaults. May ask for a password.
    pub(crate) fn resolve(args: &ConnectionArgs) -> Outcome<Self> {
        let profile = file::profile(args.config.as_deref(), args.profile.as_deref())?;
        Self::merge(args, profile)
    }

    fn merge(args: &ConnectionArgs, profile: Profile) -> Outcome<Self> {
        let tls = TlsFiles {
            ca: args.ca.clone().or(profile.ca),
            identity: identity(
                args.cert.clone().or(profile.cert),
                args.key.clone().or(profile.key),
            )?,
            name: args.tls_name.clone().or(profile.tls_name),
        };
        let has_tls = tls.ca.is_some() || tls.identity.is_some() || tls.name.is_some();
        let given = match args.etcd.is_empty() {
            false => args.etcd.clone(),
            true => profile.etcd,
        };
        let given = match given.is_empty() {
            false => given,
            true => vec![DEFAULT_ENDPOINT.to_owned()],
        };
        let endpoints: Vec<_> = given.iter().map(|text| url(text, has_tls)).collect();
        let is_https = |endpoint: &String| endpoint.starts_with("https://");
        let is_encrypted = endpoints.iter().any(is_https);
        let format_text = (args.format.clone().or(profile.format)).unwrap_or("default".to_owned());
        let user = args.user.clone().or(profile.user);
        let user = user.map(|name| {
            let file = args
                .password_file
                .as_deref()
                .or(profile.password_file.as_deref());
            password::of(&name, file).map(|password| (name, password))
        });
        Ok(Self {
            format: sd_formats::by_name(&format_text)?,
            format_text,
            user: user.transpose()?,
            tls: (is_encrypted || has_tls).then_some(tls),
            namespace: (args.namespace.clone().or(profile.namespace)).unwrap_or_default(),
            timeout: args.timeout.or(profile.timeout).unwrap_or(DEFAULT_TIMEOUT),
            output: args.output.or(profile.output).unwrap_or_default(),
            endpoints,
        })
    }

    /// The toolkit's client.
    pub(crate) fn client(&self) -> Outcome<EtcdClient> {
        let mut builder = EtcdClient::builder(&self.endpoints)
            .namespace(&self.namespace)
            .request_timeout(self.timeout);
        if let Some((name, password)) = &self.user {
            builder = builder.user(name, password);
        }
        if let Some(files) = &self.tls {
            let mut tls = Tls::new();
            if let Some(ca) = &files.ca {
                tls = tls.ca_file(ca);
            }
            if let Some((cert, key)) = &files.identity {
                tls = tls.identity_files(cert, key);
            }
            if let Some(name) = &files.name {
                tls = tls.domain(name);
            }
            builder = builder.tls(tls);
        }
        Ok(builder.build()?)
    }
}

fn identity(cert: Option<PathBuf>, key: Option<PathBuf>) -> Outcome<Option<(PathBuf, PathBuf)>> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(Failure::new("a certificate without its key").advice("give both: --cert and --key"))
        }
        (None, Some(_)) => {
            Err(Failure::new("a key without its certificate").advice("give both: --cert and --key"))
        }
    }
}

/// `host:port` is a URL too, encrypted if there are options for TLS.
fn url(text: &str, has_tls: bool) -> String {
    match (text.contains("://"), has_tls) {
        (true, _) => text.to_owned(),
        (false, true) => format!("https://{text}"),
        (false, false) => format!("http://{text}"),
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoints", &self.endpoints)
            .field("format", &self.format_text)
            .field("namespace", &Escaped(&self.namespace))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(etcd: &[&str]) -> ConnectionArgs {
        ConnectionArgs {
            etcd: etcd.iter().map(|text| (*text).to_owned()).collect(),
            ..ConnectionArgs::default()
        }
    }

    #[test]
    fn flags_come_before_the_profile_and_that_before_the_defaults() {
        let settings = Settings::merge(&args(&[]), Profile::default()).unwrap();
        assert_eq!(settings.endpoints, [DEFAULT_ENDPOINT]);
        assert_eq!(settings.format.name(), "default");
        let profile = || Profile {
            etcd: vec!["10.0.0.1:2379".into()],
            format: Some("kratos".into()),
            namespace: Some("/prod".into()),
            ..Profile::default()
        };
        let settings = Settings::merge(&args(&[]), profile()).unwrap();
        assert_eq!(settings.endpoints, ["http://10.0.0.1:2379"]);
        assert_eq!(settings.format.name(), "kratos");
        let settings = Settings::merge(&args(&["a:1", "http://b:2"]), profile()).unwrap();
        assert_eq!(settings.endpoints, ["http://a:1", "http://b:2"]);
        assert_eq!(settings.namespace, "/prod");
    }

    #[test]
    fn options_for_tls_make_urls_encrypted() {
        let mut with_ca = args(&["a:1"]);
        with_ca.ca = Some("ca.pem".into());
        let settings = Settings::merge(&with_ca, Profile::default()).unwrap();
        assert_eq!(settings.endpoints, ["https://a:1"]);
        with_ca.cert = Some("cert.pem".into());
        let refused = Settings::merge(&with_ca, Profile::default()).unwrap_err();
        assert!(refused.message().contains("without its key"));
    }
}
