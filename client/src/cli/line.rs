//! The command line as clap reads it.

use std::path::PathBuf;
use std::time::Duration;

use bukti_command::Common;
use bukti_core::framework::FrameworkRef;
use clap::{Args, Parser, Subcommand};

use super::setting::Setting;

/// Collects evidence where there is no signal, and sends it when there is.
///
/// Everything is kept in a data folder on this device before a command ends (--data; else 'bukti'
/// in the system's folder for programs' data), and 'bukti sync' exchanges it with the server. Exit status: 0 done, 1 failed, 2 called wrongly and nothing
/// changed, 3 server not reached and everything kept.
#[derive(Debug, Parser)]
#[command(name = "bukti", version)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Joins this device to a server by an invitation link
    ///
    /// The link is used once. On a device that is enrolled already the new link replaces the
    /// grants; work that was not sent yet stays and is sent next time. A device that was revoked stays
    /// out: give a new data folder with --data, and take along what was refused with
    /// 'bukti quarantine export'.
    Enrol {
        /// The invitation link, whole, as it was handed over
        link: String,
    },
    /// Lists the kinds of evidence, or the fields of one
    Kinds {
        /// Code of a kind such as regulation
        kind: Option<String>,
    },
    /// Shows what every indicator asks for, the evidence there is, and the gaps
    Indicators(Indicators),
    /// Creates, changes and shows evidence
    Evidence {
        #[command(subcommand)]
        command: Evidence,
    },
    /// Lists values that several people wrote at once and that wait for a choice
    Conflicts {
        /// Id of a piece of evidence, or its first characters
        id: Option<String>,
    },
    /// Chooses one of several values that were written at once
    Resolve {
        /// Id of the evidence, or its first characters
        id: String,
        /// The value as 'bukti conflicts' names it, such as title or number
        field: String,
        /// Number of the value in the last listing, or the first characters of its change
        #[arg(long, value_name = "N|HASH")]
        keep: String,
    },
    /// Exchanges everything new with the server
    Sync(Sync),
    /// Shows who this device belongs to, what waits and what was received
    Status,
    /// Shows edits that the server refused, and enters them again
    Quarantine {
        #[command(subcommand)]
        command: Quarantine,
    },
}

#[derive(Debug, Args)]
pub(super) struct Indicators {
    /// Code of a component, an indicator or a row: lists its rows with their evidence
    pub(super) code: Option<String>,
    /// Framework, where several are in use
    #[arg(long, value_name = "ID[@VERSION]")]
    pub(super) framework: Option<FrameworkRef>,
    /// Only evidence of this region or agency and everything below
    #[arg(long, value_name = "SCOPE")]
    pub(super) region: Option<String>,
    /// Only evidence of this year [default: the latest that has any]
    #[arg(long, value_name = "YEAR", allow_negative_numbers = true)]
    pub(super) cycle: Option<i32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Evidence {
    /// Starts a piece of evidence as a draft and prints its id
    New(New),
    /// Changes the title, fields, narrative or rows
    Edit(Edit),
    /// Declares evidence ready for review
    Ready {
        /// Id of the evidence, or its first characters
        id: String,
    },
    /// Takes evidence back to draft
    Draft {
        /// Id of the evidence, or its first characters
        id: String,
    },
    /// Withdraws evidence: it is hidden from lists of what counts and never deleted
    Withdraw {
        /// Id of the evidence, or its first characters
        id: String,
        /// Why, for everybody to read
        #[arg(long)]
        reason: String,
    },
    /// Lists the evidence on this device with its state and delivery
    List,
    /// Shows one piece of evidence
    Show {
        /// Id of the evidence, or its first characters
        id: String,
    },
    /// Shows who changed what and when
    ///
    /// A time that cannot be right, before 2020 or after the server received the change, is marked
    /// with 'clock?'.
    History {
        /// Id of the evidence, or its first characters
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// Code of a kind; 'bukti kinds' lists them
    #[arg(long)]
    pub(super) kind: String,
    /// One line that says what it is
    #[arg(long)]
    pub(super) title: String,
    /// Indicator that it supports as a whole; may be given several times
    #[arg(long = "indicator", value_name = "CODE")]
    pub(super) indicators: Vec<String>,
    /// Row that it supports; may be given several times
    #[arg(long = "row", value_name = "CODE")]
    pub(super) rows: Vec<String>,
    /// Region or agency it belongs to [default: the scope of the only grant]
    #[arg(long, value_name = "SCOPE")]
    pub(super) region: Option<String>,
    /// Framework [default: the only one in use for such a unit]
    #[arg(long, value_name = "ID[@VERSION]")]
    pub(super) framework: Option<FrameworkRef>,
    /// Year of the programme's cycle [default: the current year by the server's clock]
    #[arg(long, value_name = "YEAR", allow_negative_numbers = true)]
    pub(super) cycle: Option<i32>,
    /// Value of a field; 'bukti kinds KIND' lists the fields
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(super) settings: Vec<Setting>,
    /// Text file with the narrative
    #[arg(long, value_name = "FILE")]
    pub(super) narrative_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Edit {
    /// Id of the evidence, or its first characters
    pub(super) id: String,
    /// One line that says what it is
    #[arg(long)]
    pub(super) title: Option<String>,
    /// Value of a field; FIELD= clears it
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(super) settings: Vec<Setting>,
    /// Text file with the whole narrative
    #[arg(long, value_name = "FILE")]
    pub(super) narrative_file: Option<PathBuf>,
    /// Row or indicator that it supports as well
    #[arg(long = "add-row", value_name = "CODE")]
    pub(super) add_rows: Vec<String>,
    /// Row or indicator that it does not support
    #[arg(long = "remove-row", value_name = "CODE")]
    pub(super) remove_rows: Vec<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Sync {
    /// Stays connected, and sends and receives as changes come, until Ctrl-C
    ///
    /// All other commands work meanwhile, and what they enter is sent at once.
    #[arg(long, conflicts_with = "timeout")]
    pub(super) watch: bool,
    /// Gives up after this long in all; what came through stays, and the next sync goes on there
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "600")]
    pub(super) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(super) enum Quarantine {
    /// Lists what the server refused, and why
    List,
    /// Shows one refused run with its readable edits
    Show {
        /// Its number in the list, or its id
        #[arg(value_name = "NUMBER|RUN")]
        entry: String,
    },
    /// Enters the readable edits of a refused run again, as new ones
    ///
    /// Refused runs that it builds on, or that build on it, are entered with it. They stay in
    /// quarantine, marked as entered again.
    Reenter {
        /// Its number in the list, or its id
        #[arg(value_name = "NUMBER|RUN")]
        entry: String,
    },
    /// Writes everything in quarantine to a new JSON file
    Export {
        /// The file; it must not exist yet
        file: PathBuf,
    },
}

const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

fn seconds(typed: &str) -> Result<Duration, String> {
    let seconds = typed
        .parse()
        .ok()
        .filter(|seconds| TIMEOUT_SECONDS.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let (first, last) = TIMEOUT_SECONDS.into_inner();
        format!("expected whole seconds from {first} to {last}")
    })
}

#[cfg(test)]
mod tests {
    use bukti_command::{Exit, Reply, parse};
    use clap::CommandFactory;

    use super::*;

    fn read(line: &str) -> Result<Line, Reply> {
        parse(line.split(' '))
    }

    #[test]
    fn the_command_line_is_defined_without_contradictions() {
        Line::command().debug_assert();
    }

    #[test]
    fn new_evidence_takes_several_rows_and_fields() {
        let line = read(
            "bukti evidence new --kind regulation --title Perdes --row I.1.3 --row I.1.4 \
             --set year=2025 --set number=4 --cycle 2025 --framework desa-antikorupsi@2025 --json",
        )
        .unwrap();
        assert!(line.common.json);
        let Command::Evidence {
            command: Evidence::New(new),
        } = line.command
        else {
            panic!("expected new evidence");
        };
        assert_eq!(new.rows, ["I.1.3", "I.1.4"]);
        assert_eq!(new.settings.len(), 2);
        assert_eq!(new.cycle, Some(2025));
        assert_eq!(new.framework.unwrap().version(), Some("2025"));
    }

    #[test]
    fn a_wrong_line_is_answered_in_one_line_with_what_was_expected() {
        let lines = [
            (
                "bukti evidence new --kind photo",
                "expected --title <TITLE>; see --help",
            ),
            (
                "bukti evidence edit abc --set year",
                "'year' is not a value of --set <FIELD=VALUE>: expected field=value such as year=2025; see --help",
            ),
            (
                "bukti evidence new --kind photo --title x --framework A",
                "'A' is not a value of --framework <ID[@VERSION]>: 'A' is not a framework: expected ID or \
                 ID@VERSION such as desa-antikorupsi@2021+checklist-2025; see --help",
            ),
            (
                "bukti sync --timeout 0",
                "'0' is not a value of --timeout <SECONDS>: expected whole seconds from 1 to 86400; see --help",
            ),
            (
                "bukti evidence withdraw abcdef",
                "expected --reason <REASON>; see --help",
            ),
            (
                "bukti resolve abcdef title",
                "expected --keep <N|HASH>; see --help",
            ),
            ("bukti enrol", "expected <LINK>; see --help"),
        ];
        for (line, expected) in lines {
            let reply = read(line).unwrap_err();
            assert_eq!(reply.stderr, format!("{expected}\n"), "{line}");
            assert_eq!((reply.exit, reply.stdout.as_str()), (Exit::WrongUse, ""));
        }
    }

    #[test]
    fn the_help_tells_of_exit_statuses_defaults_and_entering_again() {
        let help = |line| read(line).unwrap_err().stdout;
        let text = help("bukti --help");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains("3 server not reached"), "{text}");
        assert!(help("bukti sync --help").contains("[default: 600]"));
        assert!(help("bukti quarantine --help").contains("reenter"));
    }
}
