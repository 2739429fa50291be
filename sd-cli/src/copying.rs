//! What the copy of an instance is in another format. Without I/O.

use crate::{failure::Outcome, instances::Reader, settings::Settings};
use sd_core::{Advert, Entry, ErrorChain, Format, Instance, Prefix, Service, Status, Ttl};
use std::{sync::Arc, time::Duration};

/// Reads entries of one side and says what they are on the other.
pub(crate) struct Copies {
    reader: Reader,
    to: Arc<dyn Format>,
    /// Whether both sides have the same format, so that bytes can be copied as they are.
    is_same_format: bool,
    ttl: Option<Ttl>,
}

/// A copy that is wanted.
#[derive(Debug)]
pub(crate) struct Wish {
    /// The identity of what it is a copy of.
    pub(crate) from: String,
    /// What is to be registered, or why it cannot be.
    pub(crate) service: Result<Service, String>,
}

impl Copies {
    pub(crate) fn new(
        from: &Settings,
        to: &Settings,
        service: Option<&str>,
        ttl: Option<Duration>,
    ) -> Outcome<Self> {
        if let Some(service) = service {
            to.format.prefix(service)?;
        }
        Ok(Self {
            reader: Reader::new(&from.format, service)?,
            to: to.format.clone(),
            is_same_format: from.format_text == to.format_text,
            ttl: ttl.map(Ttl::new).transpose()?,
        })
    }

    /// What the keys of all that is copied begin with.
    pub(crate) fn prefix(&self) -> Outcome<Option<Prefix>> {
        self.reader.prefix()
    }

    /// The same for a watch.
    pub(crate) fn watched_prefix(&self) -> Outcome<Prefix> {
        self.reader.watched_prefix()
    }

    /// The copies of what `entry` describes: none, if it is no instance.
    pub(crate) fn of(&mut self, entry: &Entry) -> Vec<Wish> {
        let Some(read) = self.reader.read(entry) else {
            return Vec::new();
        };
        let instances = match read.instances {
            Ok(instances) => instances,
            Err(why) => {
                return vec![Wish {
                    from: entry.key.to_string(),
                    service: Err(why),
                }];
            }
        };
        if self.is_same_format {
            return vec![Wish {
                from: entry.key.to_string(),
                service: self.same(&read.service, entry, &instances),
            }];
        }
        let wishes = instances.iter().map(|instance| Wish {
            from: instance.identity().to_string(),
            service: self.other(&read.service, instance),
        });
        wishes.collect()
    }

    /// The same bytes under the same key, on the format's own time to live.
    fn same(
        &self,
        service: &str,
        entry: &Entry,
        instances: &[Instance],
    ) -> Result<Service, String> {
        let ttl = self.ttl.unwrap_or_else(|| {
            let first = instances.first().map(|first| Advert::new(first.address()));
            let registered = first.and_then(|advert| self.to.service(service, &advert).ok());
            registered.map_or(Ttl::DEFAULT, |registered| registered.ttl)
        });
        let copy = Service::new(entry.key.clone(), entry.value.clone());
        copy.map(|copy| copy.with_ttl(ttl))
            .map_err(|error| ErrorChain(&error).to_string())
    }

    fn other(&self, service: &str, instance: &Instance) -> Result<Service, String> {
        let advert = advert(instance)?;
        let advert = match self.ttl {
            Some(ttl) => advert.ttl(ttl),
            None => advert,
        };
        let copy = self.to.service(service, &advert);
        copy.map_err(|error| format!("{}: {}", self.to.name(), ErrorChain(&error)))
    }
}

/// What an instance says of itself, said again.
fn advert(instance: &Instance) -> Result<Advert, String> {
    let mut advert = Advert::new(instance.address());
    for other in instance.other_addresses() {
        advert = advert.address(other);
    }
    if let Some(weight) = instance.said_weight() {
        advert = advert.weight(weight);
    }
    if let Some(zone) = instance.zone() {
        advert = advert.zone(zone);
    }
    if let Some(id) = instance.id() {
        advert = advert.id(id);
    }
    if let Some(version) = instance.version() {
        advert = advert.version(version);
    }
    match instance.status() {
        Status::Serving => {}
        Status::Draining => advert = advert.status(Status::Draining),
        _ => {
            return Err(format!(
                "its status is {}",
                sd_core::Escaped(instance.status_word())
            ));
        }
    }
    for (name, value) in instance.all_metadata() {
        if instance.is_json_metadata(name) {
            return Err(format!(
                "its metadata {} is no text",
                sd_core::Escaped(name)
            ));
        }
        advert = advert.metadata(name, value);
    }
    Ok(advert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ConnectionArgs;
    use sd_core::Key;

    fn copies(from: &str, to: &str) -> Copies {
        let settings = |format: &str| {
            let args = ConnectionArgs {
                format: Some(format.into()),
                config: Some("/dev/null".into()),
                ..ConnectionArgs::default()
            };
            Settings::resolve(&args).unwrap()
        };
        Copies::new(&settings(from), &settings(to), None, None).unwrap()
    }

    fn entry(key: &str, value: &str) -> Entry {
        Entry::new(Key::new(key).unwrap(), value.to_owned())
    }

    #[test]
    fn a_copy_says_the_same_in_the_other_format() {
        let value = r#"{"address":"10.0.0.1:9000","weight":3,"zone":"eu-1","version":"1.4"}"#;
        let wishes = copies("default", "kratos").of(&entry("/services/hello/a", value));
        let service = wishes[0].service.as_ref().unwrap();
        assert_eq!(
            service.key.to_string(),
            "/microservices/hello/10.0.0.1:9000"
        );
        let said = String::from_utf8(service.value.to_vec()).unwrap();
        assert!(
            said.contains("grpc://10.0.0.1:9000") && said.contains(r#""version":"1.4""#),
            "{said}"
        );
    }

    #[test]
    fn what_the_other_format_cannot_say_is_told() {
        let value = r#"{"address":"10.0.0.1:9000","weight":3}"#;
        let wishes = copies("default", "gozero").of(&entry("/services/hello/a", value));
        assert!(
            wishes[0]
                .service
                .as_ref()
                .unwrap_err()
                .starts_with("gozero: ")
        );
        let wishes = copies("default", "kratos").of(&entry("/services/hello/a", "garbage"));
        assert!(wishes[0].service.is_err());
        assert!(
            copies("default", "kratos")
                .of(&entry("/elsewhere/a", "garbage"))
                .is_empty()
        );
    }

    #[test]
    fn between_two_etcds_the_bytes_stay() {
        let value = r#"{ "address":"10.0.0.1:9000", "unknown":[1] }"#;
        let wishes = copies("default", "default").of(&entry("/services/hello/a", value));
        let service = wishes[0].service.as_ref().unwrap();
        assert_eq!(
            (&*service.value, service.key.to_string()),
            (value.as_bytes(), "/services/hello/a".into())
        );
    }
}
