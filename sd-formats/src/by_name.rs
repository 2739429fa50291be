//! Formats by name, for configurations and command lines.

use crate::{
    DubboApp, DubboInterface, GoKit, GoMicro, GoZero, GrpcGo, Hertz, Kitex, Kratos, LeaseNamed,
    NodeDirectory, format_error::FormatError, options::Options,
};
use sd_core::{DefaultFormat, Escaped, Format};
use std::sync::Arc;

/// What makes a format of the options that were given.
type Make = fn(&mut Options) -> Result<Arc<dyn Format>, FormatError>;

/// Every format: its name, its options, and what makes it.
const FORMATS: [(&str, &[&str], Make); 12] = [
    ("default", &["root"], |options| {
        Ok(match options.path("root")? {
            Some(root) => Arc::new(DefaultFormat::under(root)),
            None => Arc::new(DefaultFormat::default()),
        })
    }),
    ("gokit", &["root", "depth"], |options| {
        let mut format = GoKit::default();
        if let Some(root) = options.path("root")? {
            format = format.under(root);
        }
        if options.has_every_depth()? {
            format = format.every_depth();
        }
        Ok(Arc::new(format))
    }),
    ("grpc", &["root", "depth"], |options| {
        let mut format = GrpcGo::default();
        if let Some(root) = options.path("root")? {
            format = format.under(root);
        }
        if options.has_every_depth()? {
            format = format.every_depth();
        }
        Ok(Arc::new(format))
    }),
    ("gozero", &["root"], |options| {
        let mut format = GoZero::default();
        if let Some(root) = options.path("root")? {
            format = format.under(root);
        }
        Ok(Arc::new(format))
    }),
    ("kratos", &["namespace", "scheme"], |options| {
        let mut format = Kratos::default();
        if let Some(namespace) = options.path("namespace")? {
            format = format.namespace(namespace);
        }
        if let Some(scheme) = options.scheme("scheme")? {
            format = format.scheme(scheme);
        }
        Ok(Arc::new(format))
    }),
    ("kitex", &["root"], |options| {
        let mut format = Kitex::default();
        if let Some(root) = options.path("root")? {
            format = format.under(root);
        }
        Ok(Arc::new(format))
    }),
    ("hertz", &[], |_| Ok(Arc::new(Hertz::default()))),
    ("gomicro", &[], |_| Ok(Arc::new(GoMicro::default()))),
    ("dubbo-app", &[], |_| Ok(Arc::new(DubboApp::default()))),
    (
        "dubbo-interface",
        &["group", "protocol", "version"],
        |options| {
            let mut format = DubboInterface::default();
            if let Some(protocol) = options.scheme("protocol")? {
                format = format.protocol(protocol);
            }
            if let Some(group) = options.take("group") {
                format = format.group(group);
            }
            if let Some(version) = options.take("version") {
                format = format.version(version);
            }
            Ok(Arc::new(format))
        },
    ),
    ("nodes", &["root"], |options| {
        let mut format = NodeDirectory::default();
        if let Some(root) = options.path("root")? {
            format = format.under(root);
        }
        Ok(Arc::new(format))
    }),
    ("lease-named", &["root"], |options| {
        let mut format = LeaseNamed::default();
        if let Some(root) = options.path("root")? {
            format = format.under(root);
        }
        Ok(Arc::new(format))
    }),
];

/// The format that `text` names, with its options: `kratos`, or `kratos?scheme=http&namespace=/prod`. Values of
/// options are percent-encoded. The [page of the crate](crate) lists names and options.
///
/// ```
/// use sd_core::Format;
///
/// let format = sd_formats::by_name("kratos?scheme=http")?;
/// assert_eq!(format.name(), "kratos");
///
/// let error = sd_formats::by_name("kratos?schema=http").err().unwrap();
/// assert_eq!(
///     error.to_string(),
///     r#"the format kratos has no option "schema"; it has namespace and scheme"#
/// );
/// # Ok::<(), sd_formats::FormatError>(())
/// ```
///
/// # Errors
/// [`FormatError`], which points at the part that is wrong.
pub fn by_name(text: &str) -> Result<Arc<dyn Format>, FormatError> {
    let (name, query) = text.split_once('?').unwrap_or((text, ""));
    let known = FORMATS.iter().find(|(known, ..)| *known == name);
    let Some((name, options, make)) = known else {
        let name = Escaped(name).to_string();
        let known = FORMATS.iter().map(|(name, ..)| *name).collect();
        return Err(FormatError::UnknownFormat { name, known });
    };
    let mut options = Options::parse(name, options, query)?;
    make(&mut options)
}

/// Every format with its default options, the toolkit's own first. For tools and tests.
///
/// ```
/// use sd_core::Format;
///
/// let formats = sd_formats::all();
/// assert_eq!(formats[0].name(), "default");
/// assert!(formats.iter().any(|format| format.name() == "kratos"));
/// ```
pub fn all() -> Vec<Arc<dyn Format>> {
    let formats = FORMATS.iter().map(|(name, ..)| by_name(name));
    formats.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_the_format_that_has_it() {
        assert_eq!(all().len(), FORMATS.len());
        for (format, (name, options, _)) in all().iter().zip(FORMATS) {
            assert_eq!(format.name(), name);
            for option in options {
                let value = match *option {
                    "depth" => "every",
                    _ => "x",
                };
                by_name(&format!("{name}?{option}={value}"))
                    .map(drop)
                    .unwrap();
            }
        }
    }

    #[test]
    fn options_change_where_and_what() {
        for (text, prefix) in [
            ("default?root=/a", "/a/svc/"),
            ("gokit?root=a%26b", "a&b/svc/"),
            ("grpc?root=a/b", "a/b/svc/"),
            ("gozero?root=a", "a/svc/"),
            ("kratos?namespace=/ns&scheme=http", "/ns/svc/"),
            ("kitex?root=k", "k/svc/"),
            ("nodes?root=/n", "/n/svc/instance_id/"),
            ("lease-named?root=/n", "/n/svc"),
        ] {
            let format = by_name(text).map_err(|error| error.to_string()).unwrap();
            assert_eq!(format.prefix("svc").unwrap().as_str(), prefix, "{text}");
        }
    }

    #[test]
    fn an_error_points_at_the_part_that_is_wrong() {
        for (text, expected) in [
            (
                "",
                "there is no format \"\"; there are default, gokit, grpc,",
            ),
            ("Kratos", "no format \"Kratos\""),
            ("a\nb", r#"no format "a\nb""#),
            (
                "kratos?x",
                "kratos has no option \"x\"; it has namespace and scheme",
            ),
            ("hertz?root=a", "hertz has no option \"root\"; it has none"),
            (
                "grpc?root=a&root=b",
                "root of the format grpc is given twice",
            ),
            ("kratos?scheme=", "kratos cannot have scheme=: it is empty"),
            ("kratos?scheme=a%2Fb", "scheme=a/b: it is no scheme"),
            ("grpc?depth=2", "depth=2: it is neither one nor every"),
            ("kitex?root=%ff", "root=%ff: it is no UTF-8"),
            ("kitex?root=a%0a", r"root=a\n: it is no path"),
        ] {
            let error = by_name(text).err().unwrap().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
