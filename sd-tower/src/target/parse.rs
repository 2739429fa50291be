//! From a string to a target.

use super::{
    Target,
    authority::Authority,
    error::TargetProblem,
    format,
    options::{OptionName, TargetOptions},
    text::{Located, Part},
};
use sd_core::Prefix;

/// Reads a target.
pub(super) fn target(text: &str) -> Result<Target, Located> {
    let whole = Part::whole(text);
    // First, so that no other problem repeats a part of a password.
    if let Some(credentials) = credentials(whole) {
        return Err(credentials.is(TargetProblem::Credentials));
    }
    let Some((scheme, rest)) = split_scheme(whole) else {
        let (beginning, _) = whole.split_before(&[':', '/', '?', '#']);
        return Err(beginning.is(TargetProblem::Scheme));
    };
    let (authorities, path) = rest.split_before(&['/', '?', '#']);
    let authorities = match authorities.text {
        "" => Box::default(),
        _ => authorities
            .split(",")
            .map(Authority::parse)
            .collect::<Result<_, _>>()?,
    };
    let (path, query) = path.split_once("?");
    let service = service(path)?;
    let options = query.map(options).transpose()?.unwrap_or_default();
    let prefix = prefix(&options, &service, path)?;
    Ok(Target {
        scheme: scheme.text.to_ascii_lowercase().into(),
        authorities,
        prefix,
        service: service.into(),
        options,
    })
}

/// What may be a user and a password: all before the last `@`, since passwords may have any
/// character in them.
pub(super) fn credentials(whole: Part<'_>) -> Option<Part<'_>> {
    let rest = split_scheme(whole).map_or(whole, |(_, rest)| rest);
    rest.text.rfind('@').map(|at| rest.to(at))
}

/// The scheme, and what is behind `://`.
fn split_scheme(whole: Part<'_>) -> Option<(Part<'_>, Part<'_>)> {
    let (scheme, rest) = whole.split_once("://");
    Some((scheme, rest.filter(|_| is_scheme(scheme.text))?))
}

/// Whether it is a scheme as RFC 3986 has it.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The prefix of the instances of the service, which is at `path`.
fn prefix(options: &TargetOptions, service: &str, path: Part<'_>) -> Result<Prefix, Located> {
    let Some(format) = options.format() else {
        let prefix = options.prefix_of(service);
        return prefix.map_err(|_| path.is(TargetProblem::NoService));
    };
    let format = format::named(format).map_err(|problem| path.is(problem))?;
    let prefix = format.prefix(service);
    prefix.map_err(|why| {
        let reason = format!("the format {} has no such service: {why}", format.name());
        let reason = reason.into();
        path.is(TargetProblem::Format { reason })
    })
}

/// Reads `/service`.
fn service(path: Part<'_>) -> Result<String, Located> {
    let Some(name) = path.strip_prefix("/").filter(|name| !name.text.is_empty()) else {
        return Err(path.is(TargetProblem::NoService));
    };
    let service = name.decoded()?;
    if service.split('/').any(str::is_empty) {
        return Err(name.is(TargetProblem::EmptySegment));
    }
    Ok(service)
}

/// Reads `name=value&name=value`.
fn options(query: Part<'_>) -> Result<TargetOptions, Located> {
    let mut options = TargetOptions::default();
    if query.text.is_empty() {
        return Ok(options);
    }
    for pair in query.split("&") {
        let (name_part, value_part) = pair.split_once("=");
        let text = name_part.decoded()?;
        let Some(name) = OptionName::new(&text) else {
            let name = text.into();
            return Err(name_part.is(TargetProblem::UnknownOption { name }));
        };
        let value = value_part.map(Part::decoded).transpose()?;
        // Without a prefix, names begin with the service.
        let may_be_empty = name == OptionName::Prefix;
        let Some(value) = value.filter(|value| may_be_empty || !value.is_empty()) else {
            return Err(pair.is(TargetProblem::NoValue { name: text.into() }));
        };
        let is_new = options.set(name, value);
        if !is_new.map_err(|problem| value_part.unwrap_or(pair).is(problem))? {
            return Err(pair.is(TargetProblem::RepeatedOption { name: text.into() }));
        }
    }
    if options.format().is_some() && options.has_prefix() {
        return Err(query.is(TargetProblem::PrefixOfFormat));
    }
    Ok(options)
}
