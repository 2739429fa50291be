//! Options in the name of a format: `scheme=http&namespace=/prod`.

use crate::format_error::FormatError;
use percent_encoding::percent_decode_str;
use sd_core::{Address, Escaped, Prefix};

/// The options that were given to a format and are not used yet.
pub(crate) struct Options {
    format: &'static str,
    given: Vec<(&'static str, String)>,
}

impl Options {
    pub(crate) fn parse(
        format: &'static str,
        known: &[&'static str],
        query: &str,
    ) -> Result<Self, FormatError> {
        let mut given = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(option) = known.iter().copied().find(|known| *known == name) else {
                let option = Escaped(name).to_string();
                let known = known.to_vec();
                return Err(FormatError::UnknownOption {
                    format,
                    option,
                    known,
                });
            };
            if given.iter().any(|(given, _)| *given == option) {
                return Err(FormatError::RepeatedOption { format, option });
            }
            match percent_decode_str(value).decode_utf8() {
                Ok(value) if !value.is_empty() => given.push((option, value.into_owned())),
                Ok(_) => return Err(unusable(format, option, value, "it is empty")),
                Err(_) => return Err(unusable(format, option, value, "it is no UTF-8")),
            }
        }
        Ok(Self { format, given })
    }

    pub(crate) fn take(&mut self, option: &str) -> Option<String> {
        let at = self.given.iter().position(|(name, _)| *name == option)?;
        Some(self.given.swap_remove(at).1)
    }

    pub(crate) fn path(&mut self, option: &'static str) -> Result<Option<Prefix>, FormatError> {
        let Some(value) = self.take(option) else {
            return Ok(None);
        };
        let is_hidden = Escaped(&value).to_string() != value;
        match Prefix::new(&value) {
            Ok(path) if !is_hidden => Ok(Some(path)),
            _ => Err(unusable(self.format, option, &value, "it is no path")),
        }
    }

    pub(crate) fn scheme(&mut self, option: &'static str) -> Result<Option<String>, FormatError> {
        let Some(value) = self.take(option) else {
            return Ok(None);
        };
        let url = format!("{value}://h:1");
        let is_scheme = Address::try_from(&*url).is_ok_and(|url| url.scheme() == Some(&*value));
        match is_scheme {
            true => Ok(Some(value)),
            false => Err(unusable(
                self.format,
                option,
                &value,
                "it is no scheme, such as grpc",
            )),
        }
    }

    pub(crate) fn has_every_depth(&mut self) -> Result<bool, FormatError> {
        match self.take("depth").as_deref() {
            None | Some("one") => Ok(false),
            Some("every") => Ok(true),
            Some(value) => Err(unusable(
                self.format,
                "depth",
                value,
                "it is neither one nor every",
            )),
        }
    }
}

fn unusable(
    format: &'static str,
    option: &'static str,
    value: &str,
    reason: &'static str,
) -> FormatError {
    let value = Escaped(value).to_string();
    FormatError::UnusableOption {
        format,
        option,
        value,
        reason,
    }
}
