//! What is wrong with the name of a format.

/// Why a text names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There is no format of this name.
    #[error("there is no format \"{name}\"; there are {}", listed(.known))]
    UnknownFormat {
        /// The name, escaped and shortened.
        name: String,
        /// The names that there are.
        known: Vec<&'static str>,
    },

    /// The format has no option of this name.
    #[error("the format {format} has no option \"{option}\"; it has {}", listed(.known))]
    UnknownOption {
        /// The format.
        format: &'static str,
        /// The option, escaped and shortened.
        option: String,
        /// The options that it has.
        known: Vec<&'static str>,
    },

    /// An option is given twice.
    #[error("the option {option} of the format {format} is given twice")]
    RepeatedOption {
        /// The format.
        format: &'static str,
        /// The option.
        option: &'static str,
    },

    /// An option has a value that it cannot have.
    #[error("the format {format} cannot have {option}={value}: {reason}")]
    UnusableOption {
        /// The format.
        format: &'static str,
        /// The option.
        option: &'static str,
        /// The value, escaped and shortened.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}
