//! Why a command ends without doing what it was asked, in one line.

use std::fmt;

use bukti_command::show::plain;
use bukti_command::{Exit, Reply};
use bukti_core::causes::{WHERE_FULL, is_for_want_of_space, with_causes};

/// A command that was not carried out. What was kept before stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Somebody has to write the command differently: exit status 2.
    Wrong(String),
    /// It could not be done here: exit status 1.
    Failed(String),
    /// The server was not reached, and everything entered is kept: exit status 3.
    NotReached(String),
}

impl Failure {
    pub(super) fn wrong(text: impl fmt::Display) -> Self {
        Self::Wrong(text.to_string())
    }

    /// An error with everything that caused it.
    pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        let text = with_causes(error);
        Self::Failed(match is_for_want_of_space(error) {
            true => format!("{text}; {WHERE_FULL}"),
            false => text,
        })
    }

    pub(super) fn reply(&self) -> Reply {
        let (exit, text) = match self {
            Self::Wrong(text) => (Exit::WrongUse, text),
            Self::Failed(text) => (Exit::Failed, text),
            Self::NotReached(text) => (Exit::ServerNotReached, text),
        };
        Reply::error(exit, one_line(text))
    }
}

/// Goes on from what was said, in a sentence of its own where that was one.
pub(super) fn going_on(said: &str, more: &str) -> String {
    let mut letters = more.chars();
    match letters.next().filter(|_| said.ends_with('.')) {
        Some(first) => format!("{said} {}{}.", first.to_uppercase(), letters.as_str()),
        None => format!("{said}; {more}"),
    }
}

fn one_line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_harmless_line_with_its_exit_status() {
        let cases = [
            (Failure::Wrong("a\nb\u{1b}[2J".into()), Exit::WrongUse),
            (Failure::Failed("a b\u{1b}[2J".into()), Exit::Failed),
            (
                Failure::NotReached("a  b\u{1b}[2J".into()),
                Exit::ServerNotReached,
            ),
        ];
        for (failure, exit) in cases {
            let reply = failure.reply();
            assert_eq!(reply.stderr, "a b\u{fffd}[2J\n");
            assert_eq!((reply.exit, reply.stdout.as_str()), (exit, ""));
        }
    }

    #[test]
    fn what_goes_on_from_a_sentence_is_one_and_from_a_clause_a_clause() {
        let kept = "everything entered is kept";
        let said = going_on("it was cut: the line is gone", kept);
        assert_eq!(
            said,
            "it was cut: the line is gone; everything entered is kept"
        );
        let said = going_on("it was cut: The server stops.", kept);
        assert_eq!(
            said,
            "it was cut: The server stops. Everything entered is kept."
        );
    }

    #[test]
    fn a_cause_is_told_behind_what_it_caused() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the letter")]
        struct Unreadable(#[source] std::io::Error);
        let error = Unreadable(std::io::Error::other("the disk is gone"));
        assert_eq!(
            Failure::failed(&error),
            Failure::Failed("cannot read the letter: the disk is gone".into())
        );
        let full = Unreadable(std::io::ErrorKind::StorageFull.into());
        let Failure::Failed(text) = Failure::failed(&full) else {
            panic!("it was not called wrongly")
        };
        assert!(text.ends_with("so free some space and try again"), "{text}");
    }
}
