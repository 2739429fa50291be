//! The configuration file: profiles by name.
//!
//! ```toml
//! default = "staging"
//!
//! [profiles.staging]
//! etcd = ["https://10.0.0.1:2379"]
//! format = "kratos"
//! user = "ops"
//! password-file = "staging.password"
//! ca = "ca.pem"
//! ```
//!
//! Paths are relative to the folder of the file. A password in the file itself is refused, as any other word that
//! it does not know.

use crate::{
    failure::{Failure, Outcome},
    output::Output,
};
use sd_core::Escaped;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile that is taken if none is named.
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// The settings of one profile.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Profile {
    #[serde(default)]
    pub(super) etcd: Vec<String>,
    pub(super) format: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) tls_name: Option<String>,
    pub(super) namespace: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    pub(super) timeout: Option<Duration>,
    pub(super) output: Option<Output>,
}

/// The profile called `name`, or the default one, in the file at `path` or at the usual place. The empty profile if
/// nobody asks for one and there is no file.
pub(super) fn profile(path: Option<&Path>, name: Option<&str>) -> Outcome<Profile> {
    let usual = usual_place();
    let Some(place) = path.or(usual.as_deref()) else {
        return missing(
            name,
            "there is no configuration file, and neither XDG_CONFIG_HOME nor HOME is set",
        );
    };
    let text = match fs::read_to_string(place) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => {
            return missing(
                name,
                &format!("there is no configuration file {}", place.display()),
            );
        }
        Err(error) => return Err(Failure::from(error).of(place.display())),
    };
    choose(&text, name, place.parent().unwrap_or(Path::new("")))
        .map_err(|failure| failure.of(place.display()))
}

fn missing(name: Option<&str>, why: &str) -> Outcome<Profile> {
    match name {
        None => Ok(Profile::default()),
        Some(name) => Err(Failure::new(format!(
            "no profile {:?}: {why}",
            Escaped(name)
        ))),
    }
}

fn usual_place() -> Option<PathBuf> {
    let is_given = |value: &std::ffi::OsString| !value.is_empty();
    let config = env::var_os("XDG_CONFIG_HOME")
        .filter(is_given)
        .map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME").filter(is_given)?).join(".config"));
    Some(config.or_else(home)?.join("sdctl/config.toml"))
}

fn choose(text: &str, name: Option<&str>, folder: &Path) -> Outcome<Profile> {
    // The error of the parser shows the line, in which there may be a password by mistake.
    let mut file: File = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let line = line.map_or(String::new(), |line| format!("line {line}: "));
        let why = error.message();
        let advice = match why.contains("password") {
            true => "a password does not belong into this file: put it into a file of its own, and say password-file",
            false => "docs/sdctl.md has an example",
        };
        Failure::new(format!("{line}{why}")).advice(advice)
    })?;
    let Some(name) = name.or(file.default.as_deref()).map(str::to_owned) else {
        return Ok(Profile::default());
    };
    let Some(mut profile) = file.profiles.remove(&name) else {
        let known: Vec<_> = file.profiles.keys().map(String::as_str).collect();
        let known = match known.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", known.join(", ")),
        };
        return Err(Failure::new(format!(
            "no profile {}; {known}",
            Escaped(&name)
        )));
    };
    let paths = [
        &mut profile.password_file,
        &mut profile.ca,
        &mut profile.cert,
        &mut profile.key,
    ];
    for path in paths.into_iter().flatten() {
        *path = folder.join(&*path);
    }
    Ok(profile)
}

fn duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
default = "staging"
[profiles.staging]
etcd = ["a:1"]
ca = "ca.pem"
timeout = "2s"
[profiles.production]
etcd = ["b:1", "b:2"]
password-file = "/etc/secret"
output = "json"
"#;

    #[test]
    fn a_profile_is_chosen_by_name_or_by_default() {
        let folder = Path::new("/etc/sdctl");
        let staging = choose(FILE, None, folder).unwrap();
        assert_eq!(staging.etcd, ["a:1"]);
        assert_eq!(staging.ca.as_deref(), Some(Path::new("/etc/sdctl/ca.pem")));
        assert_eq!(staging.timeout, Some(Duration::from_secs(2)));
        let production = choose(FILE, Some("production"), folder).unwrap();
        assert_eq!(
            production.password_file.as_deref(),
            Some(Path::new("/etc/secret"))
        );
        assert_eq!(production.output, Some(Output::Json));
        let unknown = choose(FILE, Some("prod"), folder).unwrap_err();
        assert_eq!(
            unknown.message(),
            "no profile prod; it has production, staging"
        );
    }

    #[test]
    fn a_password_in_the_file_is_refused_and_not_repeated() {
        let text = "[profiles.a]\nuser = \"ops\"\npassword = \"hunter2\"\n";
        let refused = choose(text, Some("a"), Path::new("")).unwrap_err();
        assert!(refused.message().starts_with("line 3: "), "{refused:?}");
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        assert!(
            format!("{refused:?}").contains("file of its own"),
            "{refused:?}"
        );
    }
}
