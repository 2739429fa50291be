//! The command lines of this package's programs.
//!
//! Each program has its own options, and all report `--help` and mistakes in the same way.
//!
//! ```no_run
//! use lexopt::ValueExt;
//! use std::process::ExitCode;
//!
//! fn seed() -> Result<u64, ExitCode> {
//!     sd_tests::cli::parse("usage: draw [--seed N]", 1, |seed, name, parser| {
//!         match name {
//!             "seed" => *seed = parser.value()?.parse()?,
//!             _ => return Ok(false),
//!         }
//!         Ok(true)
//!     })
//! }
//! ```

use lexopt::{Arg, Parser};
use std::{error::Error, process::ExitCode};

/// Whether a program has an option, or why its value is wrong.
pub type OptionResult = Result<bool, Box<dyn Error>>;

/// Returns `options` with the changes from the command line.
///
/// `set` is called for each `--name`. It changes the options, takes the value, if there is one,
/// from the parser, and returns whether the program has such an option.
///
/// # Errors
/// The exit code with which the program has to end: 0 after `--help`, or 2 after a mistake, which
/// is printed to stderr. Prints `usage` in both cases.
pub fn parse<O>(
    usage: &str,
    options: O,
    set: impl FnMut(&mut O, &str, &mut Parser) -> OptionResult,
) -> Result<O, ExitCode> {
    match parse_from(Parser::from_env(), options, set) {
        Ok(Some(options)) => Ok(options),
        Ok(None) => {
            println!("{usage}");
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}\n{usage}");
            Err(ExitCode::from(2))
        }
    }
}

/// `None` after `--help`.
fn parse_from<O>(
    mut parser: Parser,
    mut options: O,
    mut set: impl FnMut(&mut O, &str, &mut Parser) -> OptionResult,
) -> Result<Option<O>, Box<dyn Error>> {
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long(name) => {
                let name = name.to_owned();
                if !set(&mut options, &name, &mut parser)? {
                    return Err(Arg::Long(&name).unexpected().into());
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lexopt::ValueExt;

    fn number(arguments: &[&str]) -> Result<Option<u32>, String> {
        let parser = Parser::from_args(arguments);
        let options = parse_from(parser, 7, |number, name, parser| match name {
            "number" => {
                *number = parser.value()?.parse()?;
                Ok(true)
            }
            _ => Ok(false),
        });
        options.map_err(|error| error.to_string())
    }

    #[test]
    fn an_option_is_what_the_command_line_says_or_else_its_default() {
        assert_eq!(number(&[]), Ok(Some(7)));
        assert_eq!(number(&["--number", "8"]), Ok(Some(8)));
        assert_eq!(number(&["--number=8", "--help"]), Ok(None));
    }

    #[test]
    fn a_mistake_is_told() {
        let mistakes = [
            (&["--numbers=8"][..], "invalid option '--numbers'"),
            (&["--number"], "missing argument for option '--number'"),
            (&["8"], "unexpected argument \"8\""),
        ];
        for (arguments, told) in mistakes {
            assert_eq!(number(arguments), Err(told.to_owned()));
        }
        let told = number(&["--number=x"]).unwrap_err();
        assert!(told.contains("\"x\""), "{told}");
    }
}
