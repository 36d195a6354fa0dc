//! How the demo looks: short headings, calm lines, never wider than a page.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use bukti_command::Table;
use bukti_command::show::plain;
use bukti_command::table::terminal_columns;

/// Widest line; longer ones are hard to read.
const COLUMNS_MAX: u16 = 100;

/// Narrowest page that anything is fitted to.
const COLUMNS_MIN: u16 = 60;

/// Everything under a heading stands in by this much.
const INDENT: &str = "   ";

/// How often a pipe is told about progress; a terminal shows every change.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Prints to standard output. A closed pipe ends nothing: the checks still run.
#[derive(Debug)]
pub struct Page {
    columns: u16,
    is_terminal: bool,
    headings: usize,
    /// What stands in the progress line.
    progress: Option<String>,
    told_at: Instant,
}

impl Page {
    /// A page as wide as the terminal, within what reads well.
    pub fn open() -> Self {
        let columns = terminal_columns().unwrap_or(COLUMNS_MAX);
        Self {
            columns: columns.clamp(COLUMNS_MIN, COLUMNS_MAX),
            is_terminal: stdout().is_terminal(),
            headings: 0,
            progress: None,
            told_at: Instant::now(),
        }
    }

    /// The first line.
    pub fn title(&mut self, text: &str) {
        self.print(&format!("{}\n", self.bold(text)));
    }

    /// Begins a part.
    pub fn heading(&mut self, text: &str) {
        self.headings += 1;
        let line = self.bold(&format!("{:<3}{text}", self.headings));
        self.print(&format!("\n{line}\n"));
    }

    /// Sentences, wrapped.
    pub fn text(&mut self, text: &str) {
        let lines = wrap(text, self.width());
        self.indented(lines.iter().map(String::as_str));
    }

    /// A fact with its name before it; what does not fit goes below itself.
    pub fn fact(&mut self, name: &str, text: &str) {
        self.hanging(&format!("{name:<12}"), text);
    }

    /// A statement that was checked, and what contradicts it.
    pub fn claim(&mut self, says: &str, contradicted_by: Option<&str>) {
        match contradicted_by {
            None => self.hanging("✓ ", says),
            Some(seen) => self.hanging("✗ ", &format!("{says}: {seen}")),
        }
    }

    fn hanging(&mut self, name: &str, text: &str) {
        let indent = name.chars().count();
        let wrapped = wrap(text, self.width().saturating_sub(indent));
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        let lines: Vec<String> = names
            .zip(wrapped)
            .map(|(name, line)| format!("{name:<indent$}{line}"))
            .collect();
        self.indented(lines.iter().map(String::as_str));
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.print("\n");
    }

    /// A table, fitted to the page.
    pub fn table(&mut self, table: &Table) {
        let width = u16::try_from(self.width()).unwrap_or(COLUMNS_MIN);
        let drawn = table.draw(Some(width));
        self.indented(drawn.lines());
    }

    /// A line to be copied, whole however long.
    pub fn command(&mut self, line: &str) {
        self.indented(std::iter::once(line));
    }

    /// Says how work stands: in place on a terminal; in a pipe only when it takes long.
    pub fn progress(&mut self, text: &str) {
        if self.is_terminal {
            let cut: String = text.chars().take(self.width()).collect();
            if self.progress.as_deref() != Some(cut.as_str()) {
                write_out(&format!("\r\u{1b}[2K{INDENT}{cut}"));
                self.progress = Some(cut);
            }
        } else if self.told_at.elapsed() >= TELL_EVERY {
            self.print(&format!("{INDENT}{text}\n"));
        }
    }

    /// Takes the progress line away.
    pub fn progress_done(&mut self) {
        if self.progress.take().is_some() && self.is_terminal {
            write_out("\r\u{1b}[2K");
        }
    }

    fn width(&self) -> usize {
        usize::from(self.columns) - INDENT.len()
    }

    fn indented<'l>(&mut self, lines: impl Iterator<Item = &'l str>) {
        let text: String = lines
            .map(|line| format!("{INDENT}{line}").trim_end().to_owned() + "\n")
            .collect();
        self.print(&text);
    }

    fn bold(&self, text: &str) -> String {
        match self.is_terminal {
            true => format!("\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn print(&mut self, text: &str) {
        self.progress_done();
        write_out(text);
        self.told_at = Instant::now();
    }
}

fn write_out(text: &str) {
    let mut out = stdout().lock();
    // Nobody reads on: there is nobody to tell.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Breaks text at blanks into lines of at most `width` characters; line ends in it stay.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in plain(paragraph).split_whitespace() {
            let fits = line.chars().count() + 1 + word.chars().count() <= width;
            if !line.is_empty() && !fits {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_blanks_and_keeps_its_line_ends() {
        let lines = wrap("one two three\n\nfour \u{1b}[1m", 8);
        assert_eq!(lines, ["one two", "three", "", "four", "\u{fffd}[1m"]);
        assert_eq!(
            wrap("a-word-that-is-long b", 6),
            ["a-word-that-is-long", "b"]
        );
    }
}
