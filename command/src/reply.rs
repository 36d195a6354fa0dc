//! What a command answers, wherever it ran.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How a command ended, as its exit code tells scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: it failed, or a check found something.
    Failed,
    /// 2: it was called wrongly, and nothing was done.
    WrongUse,
    /// 3: the server was not reached; what was entered is kept.
    ServerNotReached,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUse => 2,
            Self::ServerNotReached => 3,
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        [
            Self::Done,
            Self::Failed,
            Self::WrongUse,
            Self::ServerNotReached,
        ]
        .into_iter()
        .find(|exit| exit.code() == code)
        .ok_or_else(|| format!("{code} is not an exit code: expected 0 to 3"))
    }
}

/// Everything a command has to say at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Text for standard output, as it is to appear.
    pub stdout: String,
    /// Text for standard error, as it is to appear.
    pub stderr: String,
    /// How it ended.
    pub exit: Exit,
}

impl Reply {
    /// Done, with `text` on standard output. A missing line end is added.
    pub fn done(text: impl Into<String>) -> Self {
        Self {
            stdout: whole_lines(text.into()),
            stderr: String::new(),
            exit: Exit::Done,
        }
    }

    /// Done, with exactly one JSON document on standard output.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(text) => Self::done(text),
            Err(error) => Self::error(Exit::Failed, format!("cannot write the answer: {error}")),
        }
    }

    /// Ended otherwise, with `text` on standard error.
    pub fn error(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            stdout: String::new(),
            stderr: whole_lines(text.into()),
            exit,
        }
    }

    /// Keeps the text and ends with `exit`, as a check does that prints what it found.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Prints both texts and gives the exit code. A reader that has gone away, as `head` does, is
    /// no failure; a full disk behind the output is one, and is told on standard error.
    pub fn print(&self) -> ExitCode {
        let written = self.write(&mut io::stdout().lock(), &mut io::stderr().lock());
        match written {
            Ok(()) => self.exit.into(),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.exit.into(),
            Err(error) => {
                let _ = writeln!(io::stderr(), "{}", self.unwritten(&error));
                Exit::Failed.into()
            }
        }
    }

    /// What is said where the output did not go through: what was done stays done.
    fn unwritten(&self, error: &io::Error) -> String {
        let ended = match self.exit {
            Exit::Done => "the command was carried out",
            Exit::Failed | Exit::WrongUse | Exit::ServerNotReached => "the command failed",
        };
        format!("cannot write the output: {error}; {ended}")
    }

    fn write(&self, stdout: &mut impl Write, stderr: &mut impl Write) -> io::Result<()> {
        stderr.write_all(self.stderr.as_bytes())?;
        stdout.write_all(self.stdout.as_bytes())?;
        stdout.flush()
    }
}

fn whole_lines(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_travels_as_its_code_and_no_other_number_is_one() {
        let reply = Reply::error(Exit::ServerNotReached, "no answer");
        let text = serde_json::to_string(&reply).unwrap();
        assert!(text.contains(r#""exit":3"#), "{text}");
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        assert!(serde_json::from_str::<Exit>("4").is_err());
    }

    #[test]
    fn json_is_one_document_and_a_line_end() {
        let reply = Reply::json(&serde_json::json!({"position": 7}));
        assert!(reply.stdout.ends_with("}\n"));
        assert!(!reply.stdout.ends_with("\n\n"));
        let mut documents =
            serde_json::Deserializer::from_str(&reply.stdout).into_iter::<serde_json::Value>();
        assert_eq!(
            documents.next().unwrap().unwrap(),
            serde_json::json!({"position": 7})
        );
        assert!(documents.next().is_none());
    }

    #[test]
    fn each_text_goes_to_its_own_stream() {
        let mut reply = Reply::done("out").with_exit(Exit::Failed);
        reply.stderr = "found 2\n".to_owned();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        reply.write(&mut stdout, &mut stderr).unwrap();
        assert_eq!(
            (stdout.as_slice(), stderr.as_slice()),
            (&b"out\n"[..], &b"found 2\n"[..])
        );
        assert_eq!(reply.exit, Exit::Failed);
    }
}
