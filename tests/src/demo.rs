//! The main job, shown for real: officers without a signal, a bad link, a killed server, and
//! everything there in the end.
//!
//! [`story`] tells it with real processes on a [`stage`](stage::Stage), [`page`] prints it, and
//! every statement that is printed as checked is one of the [`claims`].

pub mod claims;
pub mod page;
pub mod stage;
pub mod story;
pub mod words;

use std::fmt;
use std::time::Duration;

use crate::link::Link;

/// What the demo was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// End after the claims were checked instead of waiting for Ctrl-C.
    pub exit: bool,
    /// Leave the folder with everything in it.
    pub keep: bool,
    /// The link of the village.
    pub link: Link,
}

impl Options {
    /// How it is called.
    pub const USAGE: &str = "\
usage: cargo xtask demo [--exit] [--keep]

  --exit   end after the demo's own checks, with status 0 if everything held
  --keep   leave the folder of the server and the devices";

    /// Reads the command line.
    ///
    /// # Errors
    /// One line that says what was expected.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            exit: false,
            keep: false,
            link: Link::FIELD,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exit" => options.exit = true,
                "--keep" => options.keep = true,
                // For tests, which have no minute to spare.
                "--link" => options.link = read_link(&arguments.next().unwrap_or_default())?,
                other => {
                    return Err(format!("'{other}' is no option: expected --exit or --keep"));
                }
            }
        }
        Ok(options)
    }
}

fn read_link(text: &str) -> Result<Link, String> {
    let numbers: Option<Vec<u64>> = text.split(',').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[bits_per_second, round_trip_ms, cut_after_ms]) if bits_per_second > 0 => Ok(Link {
            bits_per_second,
            round_trip: Duration::from_millis(round_trip_ms),
            cut_after: Some(Duration::from_millis(cut_after_ms)),
        }),
        Some(_) | None => Err(format!(
            "'{text}' is no link: expected bits a second, round trip and life in milliseconds, such as 50000,800,6000"
        )),
    }
}

/// Why the demo could not go on, for the person who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped(pub String);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_link_of_the_field_is_shown_unless_a_test_names_another() {
        let options = parse("").unwrap();
        assert_eq!(options.link.bits_per_second, Link::FIELD.bits_per_second);
        assert!(!options.exit && !options.keep);
        let options = parse("--exit --link 400000,50,900 --keep").unwrap();
        assert_eq!(options.link.bits_per_second, 400_000);
        assert_eq!(options.link.cut_after, Some(Duration::from_millis(900)));
        assert!(options.exit && options.keep);
    }

    #[test]
    fn a_wrong_line_is_answered_with_what_was_expected() {
        assert!(parse("--quit").unwrap_err().contains("expected --exit"));
        for wrong in ["--link", "--link 1,2", "--link 0,1,1", "--link a,b,c"] {
            assert!(
                parse(wrong).unwrap_err().contains("expected bits a second"),
                "{wrong}"
            );
        }
    }
}
