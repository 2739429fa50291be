//! What is wrong with a target, and where.

use super::{
    balancer_kind::BalancerKind,
    options::OptionName,
    parse,
    text::{Located, Part},
};
use sd_core::Escaped;
use std::{fmt, ops::Range};

/// So many characters are shown before the part that is wrong, of it, and after it.
const SHOWN: usize = 80;
const CUT: &str = "…";

/// Why a string is not a [`Target`](crate::Target), and which part of it.
///
/// Its `Display` is one line. The alternate form points at the part:
///
/// ```
/// use sd_tower::{Target, TargetProblem};
///
/// let error = "etcd://10.0.0.1:99999/hello".parse::<Target>().unwrap_err();
/// assert_eq!(error.to_string(), "invalid target: port 99999 is not between 1 and 65535");
/// assert_eq!(error.span(), 16..21);
/// assert!(matches!(error.problem(), TargetProblem::Port { .. }));
/// assert_eq!(
///     format!("{error:#}"),
///     "\
/// invalid target: port 99999 is not between 1 and 65535
///   etcd://10.0.0.1:99999/hello
///                   ^^^^^"
/// );
/// ```
///
/// Neither form repeats credentials, nor the values of options that there are not, since they may be
/// credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetError {
    problem: TargetProblem,
    span: Range<usize>,
    shown: Box<Shown>,
}

/// What can be wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetProblem {
    /// It does not begin with a scheme and `://`.
    #[error("it begins with a scheme, such as etcd://")]
    Scheme,

    /// Somebody may have written a user or a password into it.
    #[error(
        "credentials do not belong into it, since it ends up in logs; give them to what resolves \
         the scheme (elsewhere, an @ is written %40)"
    )]
    Credentials,

    /// There is nothing where a host would be.
    #[error("a host is missing")]
    NoHost,

    /// A host is neither a name nor an address.
    #[error("a host is a name of letters, digits, - and . or an address")]
    Host,

    /// A host ends in a number, as an IPv4 address does, and is none.
    #[error("this is not an IPv4 address")]
    Ipv4,

    /// There is no IPv6 address in the brackets, or something else beside them.
    #[error("this is not an IPv6 address, such as [::1]:2379")]
    Ipv6,

    /// An IPv6 address has no brackets.
    #[error("an IPv6 address is in brackets, such as [::1]:2379")]
    Brackets,

    /// There is nothing where a port would be.
    #[error("a port is missing after the colon")]
    NoPort,

    /// A port is not a number, or out of range.
    #[error("port {} is not between 1 and 65535", Escaped(.port))]
    Port {
        /// What is there instead.
        port: Box<str>,
    },

    /// There is no service.
    #[error("the service is missing, such as /hello")]
    NoService,

    /// The path of the service has a `/` at an end, or two in a row.
    #[error("a part of the service's name is empty")]
    EmptySegment,

    /// A character that has to be percent-encoded.
    #[error("{character:?} is written {}", percent_encoded(*.character))]
    Character {
        /// The character.
        character: char,
    },

    /// A `%` that is not followed by two hexadecimal digits.
    #[error("two hexadecimal digits follow a %, which itself is written %25")]
    Escape,

    /// What is percent-encoded is not UTF-8.
    #[error("this is not percent-encoded UTF-8")]
    NotUtf8,

    /// A percent-encoded control character.
    #[error("a control character is in it")]
    Control,

    /// There is no option of this name.
    #[error("there is no option {}; {}{}", Escaped(.name), options(), advice(.name))]
    UnknownOption {
        /// The name.
        name: Box<str>,
    },

    /// An option is there twice.
    #[error("the option {} is there twice", Escaped(.name))]
    RepeatedOption {
        /// The name.
        name: Box<str>,
    },

    /// An option has no value.
    #[error("the option {} has no value", Escaped(.name))]
    NoValue {
        /// The name.
        name: Box<str>,
    },

    /// There is no such balancer.
    #[error("a balancer is one of {}", BalancerKind::names())]
    Balancer,

    /// There is no such format, or it cannot have this service.
    #[error("{reason}")]
    Format {
        /// Why, in a line.
        reason: Box<str>,
    },

    /// A format is given a prefix beside its own.
    #[error(
        "a format says where its services are; it may have an option for that, as in \
         format=kratos?namespace=/other"
    )]
    PrefixOfFormat,

    /// The size of a subset is not a number of instances.
    #[error("a subset is a number of instances, at least 1")]
    Subset,
}

fn percent_encoded(character: char) -> String {
    let mut bytes = [0; 4];
    let bytes = character.encode_utf8(&mut bytes).bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

fn options() -> String {
    format!("the options are {}", OptionName::ALL.join(", "))
}

/// Where the thing belongs that somebody may have meant by an option.
fn advice(name: &str) -> &'static str {
    match name.to_ascii_lowercase().as_str() {
        "user" | "username" | "password" | "token" => {
            ". Credentials do not belong into a target; give them to what resolves the scheme"
        }
        "tls" | "ssl" | "ca" | "cert" | "key" | "insecure" => {
            ". Encryption is set at what resolves the scheme, and at the channel"
        }
        "namespace" => ". A namespace is a part of the prefix",
        _ => "",
    }
}

impl TargetError {
    pub(super) fn new(text: &str, (span, problem): Located) -> Self {
        let shown = Box::new(Shown::new(text, &span));
        Self {
            problem,
            span,
            shown,
        }
    }

    /// What is wrong.
    pub fn problem(&self) -> &TargetProblem {
        &self.problem
    }

    /// The bytes of the string that are wrong. Empty where something is missing.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// `{}` says what is wrong in one line; `{:#}` shows where, in two more.
impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid target: {}", self.problem)?;
        if f.alternate() {
            write!(f, "\n{}", self.shown)?;
        }
        Ok(())
    }
}

/// As [`Display`](fmt::Display) with `{:#}`, so that a `main` that returns it shows where.
impl fmt::Debug for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl std::error::Error for TargetError {}

/// The text in printable characters of one column, without what may be secret.
#[derive(Clone, PartialEq, Eq)]
struct Shown {
    before: String,
    wrong: String,
    after: String,
}

impl Shown {
    fn new(text: &str, span: &Range<usize>) -> Self {
        let secrets = secrets(text);
        let mut shown = Self {
            before: String::new(),
            wrong: String::new(),
            after: String::new(),
        };
        for (at, character) in text.char_indices() {
            let part = match at {
                _ if at < span.start => &mut shown.before,
                _ if at < span.end => &mut shown.wrong,
                _ => &mut shown.after,
            };
            match secrets.iter().find(|secret| secret.contains(&at)) {
                Some(secret) if secret.start == at => part.push_str("***"),
                Some(_) => {}
                None if character.is_ascii_graphic() || character == ' ' => part.push(character),
                None => part.extend(character.escape_default()),
            }
        }
        // All of it is ASCII by now.
        if shown.before.len() > SHOWN {
            let end = shown.before.split_off(shown.before.len() - SHOWN);
            shown.before = format!("{CUT}{end}");
        }
        for part in [&mut shown.wrong, &mut shown.after] {
            if part.len() > SHOWN {
                part.truncate(SHOWN);
                part.push_str(CUT);
            }
        }
        shown
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.chars().count();
        let wrong = self.wrong.chars().count().max(1);
        writeln!(f, "  {}{}{}", self.before, self.wrong, self.after)?;
        write!(f, "  {:before$}{:^<wrong$}", "", "")
    }
}

/// What is not repeated: anything that may be credentials, and the values of unknown options.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let whole = Part::whole(text);
    let credentials = parse::credentials(whole).map(Part::span);
    let query = whole.split_once("?").1;
    let pairs = query.into_iter().flat_map(|query| query.split("&"));
    let values = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once("=");
        let is_known = name
            .decoded()
            .is_ok_and(|name| OptionName::new(&name).is_some());
        value.filter(|_| !is_known).map(Part::span)
    });
    credentials.into_iter().chain(values).collect()
}
