//! One line says what was expected when a command is called wrongly.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::reply::{Exit, Reply};
use crate::show::plain;

/// What every command takes, before or after its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Common {
    /// Folder that holds everything Bukti keeps
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// The reply to print: the whole text for `--help` and `--version`, else one line on standard error
/// and [`Exit::WrongUse`].
pub fn parse<P: clap::Parser>(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, Reply> {
    let mut command = without_help_as_error(P::command());
    let matches = command
        .try_get_matches_from_mut(args)
        .map_err(|error| reply(&error))?;
    P::from_arg_matches(&matches).map_err(|error| reply(&error.format(&mut command)))
}

/// The reply to a command line that clap did not take.
pub fn reply(error: &clap::Error) -> Reply {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Reply::done(error.render().to_string())
        }
        _ => Reply::error(Exit::WrongUse, one_line(error)),
    }
}

/// Says in one line what was expected.
pub fn one_line(error: &clap::Error) -> String {
    let context = Context(error);
    let argument = context.text(ContextKind::InvalidArg);
    let value = context.text(ContextKind::InvalidValue);
    let line = match error.kind() {
        ErrorKind::MissingSubcommand => format!(
            "expected a command: one of {}",
            context.list(ContextKind::ValidSubcommand)
        ),
        ErrorKind::InvalidSubcommand => format!(
            "'{}' is not a command{}",
            context.text(ContextKind::InvalidSubcommand),
            context.suggestion(ContextKind::SuggestedSubcommand)
        ),
        ErrorKind::UnknownArgument => format!(
            "'{argument}' is not expected here{}",
            context.suggestion(ContextKind::SuggestedArg)
        ),
        ErrorKind::MissingRequiredArgument => format!("expected {argument}"),
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("{argument} expected a value{}", context.valid_values())
        }
        ErrorKind::InvalidValue => {
            format!(
                "'{value}' is not a value of {argument}{}",
                context.valid_values()
            )
        }
        ErrorKind::ValueValidation => {
            let reason = error
                .source()
                .map_or(String::new(), |source| format!(": {source}"));
            format!("'{value}' is not a value of {argument}{reason}")
        }
        ErrorKind::ArgumentConflict => {
            let prior = context.text(ContextKind::PriorArg);
            match prior == argument {
                true => format!("{argument} was given twice, expected once"),
                false => format!("{argument} cannot be used with {prior}"),
            }
        }
        ErrorKind::NoEquals => format!("expected '=' between {argument} and its value"),
        ErrorKind::TooManyValues => format!("'{value}' is one value too many for {argument}"),
        ErrorKind::TooFewValues => format!(
            "{argument} expected {} values, got {}",
            context.text(ContextKind::MinValues),
            context.text(ContextKind::ActualNumValues)
        ),
        ErrorKind::WrongNumberOfValues => format!(
            "{argument} expected {} values, got {}",
            context.text(ContextKind::ExpectedNumValues),
            context.text(ContextKind::ActualNumValues)
        ),
        ErrorKind::InvalidUtf8 => "expected arguments in UTF-8".to_owned(),
        // clap may add kinds; their first line is what it has to say.
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or("wrong use");
            first.trim_start_matches("error: ").to_owned()
        }
    };
    let line = plain(&format!("{line}; see --help"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Context<'a>(&'a clap::Error);

impl Context<'_> {
    fn text(&self, kind: ContextKind) -> String {
        match self.0.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            Some(ContextValue::Strings(texts)) => texts.join(" and "),
            Some(ContextValue::Number(number)) => number.to_string(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    fn list(&self, kind: ContextKind) -> String {
        match self.0.get(kind) {
            Some(ContextValue::Strings(texts)) => {
                let named = texts.iter().filter(|text| *text != "help");
                named.map(String::as_str).collect::<Vec<_>>().join(", ")
            }
            Some(_) | None => self.text(kind),
        }
    }

    fn valid_values(&self) -> String {
        match self.list(ContextKind::ValidValue) {
            none if none.is_empty() => none,
            values => format!(": expected one of {values}"),
        }
    }

    fn suggestion(&self, kind: ContextKind) -> String {
        match self.list(kind) {
            none if none.is_empty() => none,
            near => format!(": expected perhaps {near}"),
        }
    }
}

/// Of a missing command clap would make a page of help; it is wrong use like any other.
fn without_help_as_error(command: clap::Command) -> clap::Command {
    command
        .arg_required_else_help(false)
        .mut_subcommands(without_help_as_error)
}

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand, ValueEnum};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "bukti", version = "1.2.3")]
    struct Line {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, Subcommand)]
    enum Command {
        /// Adds evidence
        Add {
            #[arg(long)]
            title: String,
            #[arg(long, conflicts_with = "title")]
            copy: Option<u32>,
            #[arg(long)]
            kind: Option<Kind>,
        },
        /// Works with devices
        Device {
            #[command(subcommand)]
            command: DeviceCommand,
        },
    }

    #[derive(Debug, Subcommand)]
    enum DeviceCommand {
        /// Lists devices
        List,
    }

    #[derive(Debug, Clone, ValueEnum)]
    enum Kind {
        Photo,
        Letter,
    }

    fn read(line: &str) -> Result<Line, Reply> {
        parse(line.split(' '))
    }

    #[test]
    fn common_options_stand_before_or_after_the_command() {
        let expected = Common {
            data: Some("/d".into()),
            json: true,
        };
        for line in [
            "bukti --data /d --json device list",
            "bukti device --json list --data /d",
            "bukti device list --data /d --json",
        ] {
            let read = read(line).unwrap();
            assert_eq!(read.common, expected, "{line}");
            let Command::Device {
                command: DeviceCommand::List,
            } = read.command
            else {
                panic!("{line}");
            };
        }
    }

    #[test]
    fn wrong_use_is_one_line_that_says_what_was_expected() {
        let lines = [
            (
                "bukti",
                "expected a command: one of add, device; see --help",
            ),
            (
                "bukti device",
                "expected a command: one of list; see --help",
            ),
            (
                "bukti ad",
                "'ad' is not a command: expected perhaps add; see --help",
            ),
            ("bukti add", "expected --title <TITLE>; see --help"),
            (
                "bukti add --titel x",
                "'--titel' is not expected here: expected perhaps --title; see --help",
            ),
            (
                "bukti add --title x y",
                "'y' is not expected here; see --help",
            ),
            (
                "bukti add --title",
                "--title <TITLE> expected a value; see --help",
            ),
            (
                "bukti add --title x --title y",
                "--title <TITLE> was given twice, expected once; see --help",
            ),
            (
                "bukti add --kind map",
                "'map' is not a value of --kind <KIND>: expected one of photo, letter; see --help",
            ),
            (
                "bukti add --copy x",
                "'x' is not a value of --copy <COPY>: invalid digit found in string; see --help",
            ),
            (
                "bukti add --title x --copy 1",
                "--title <TITLE> cannot be used with --copy <COPY>; see --help",
            ),
            (
                "bukti --json=yes device list",
                "'yes' is one value too many for --json; see --help",
            ),
            (
                "bukti \u{1b}[2J\nx",
                "'\u{fffd}[2J x' is not a command; see --help",
            ),
        ];
        for (line, expected) in lines {
            let reply = read(line).unwrap_err();
            assert_eq!(reply.stderr, format!("{expected}\n"), "{line}");
            assert_eq!((reply.exit, reply.stdout.as_str()), (Exit::WrongUse, ""));
        }
    }

    #[test]
    fn help_and_version_print_in_full_and_are_no_failure() {
        let help = read("bukti --help").unwrap_err();
        assert_eq!(help.exit, Exit::Done);
        assert!(help.stdout.contains("--data <DIR>") && help.stdout.contains("device"));
        assert!(help.stderr.is_empty());
        assert_eq!(
            read("bukti --version").unwrap_err(),
            Reply::done("bukti 1.2.3\n")
        );
    }
}
