//! The toolkit's own format.

use super::*;
use crate::instances::Status;

fn service(name: &str, advert: &Advert) -> Result<Service, CodecError> {
    DefaultFormat::default().service(name, advert)
}

fn registered(advert: &Advert) -> (String, Bytes) {
    let service = service("hello", advert).unwrap();
    (service.key.to_string(), service.value)
}

#[test]
fn a_service_is_named_and_an_instance_has_its_address_for_a_key() {
    for (address, name) in [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("http://10.0.0.1:80/path", "10.0.0.1:80"),
        ("https://[::1]", "[::1]"),
    ] {
        let (key, value) = registered(&Advert::new(address));
        assert_eq!(key, format!("/services/hello/{name}"));
        assert_eq!(value, address);
    }
    let rich = Advert::new("10.0.0.1:80")
        .weight(3)
        .id("h-1")
        .version("1.4")
        .address("http://10.0.0.1:81")
        .metadata("a", "b");
    let (key, value) = registered(&rich);
    let entry = Entry::new(Key::new(key).unwrap(), value);
    let codec = DefaultFormat::default().codec("hello").unwrap();
    let read = codec.decode(&entry).unwrap();
    assert_eq!(read.instances(), [rich.to_instance(entry.key.clone())]);
    assert!(read.ignored().is_none());
    let drained = codec.edit(&entry, &Edit::new().status(Status::Draining));
    let drained = codec.decode(&drained.unwrap()).unwrap();
    assert_eq!(drained.instances()[0].status(), Status::Draining);
}

#[test]
fn what_no_consumer_could_call_or_read_is_no_service() {
    for address in ["", "h", "0.0.0.0:80", "h:0"] {
        let error = service("hello", &Advert::new(address)).unwrap_err();
        assert!(
            error.uncallable().is_some() || address.is_empty(),
            "{error:?}"
        );
    }
    for name in ["", "a/b", "..", "a\n"] {
        assert!(service(name, &Advert::new("h:1")).is_err(), "{name:?}");
        assert!(DefaultFormat::default().codec(name).is_err(), "{name:?}");
    }
}

#[test]
fn what_lies_deeper_is_another_service() {
    let format = DefaultFormat::under(Prefix::raw("/prod/").unwrap());
    let codec = format.codec("demo").unwrap();
    let read = |key| {
        codec
            .decode(&Entry::new(Key::new(key).unwrap(), "h:1"))
            .unwrap()
    };
    assert_eq!(read("/prod/demo/h:1").instances().len(), 1);
    assert!(read("/prod/demo/b/h:1").instances().is_empty());
    let deeper = Instance::new(Key::new("/prod/demo/b/h:1").unwrap(), "h:1");
    assert!(codec.encode(&deeper).is_err());
}
