//! The only door to the terminal: answers go to standard output, notes, progress and errors to standard error.
//!
//! In: words, rows, bytes. Out: text with colours where a terminal reads it, plain lines elsewhere. When the
//! reader of standard output has gone, every method says [`PrintError::ClosedPipe`], and the command ends quietly.

use super::settings::Environment;
use crate::diagnostic::{Diagnostic, Sources, Style, render};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    cell::Cell,
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

#[derive(Debug, Clone)]
pub(super) struct Printer {
    colour_out: bool,
    colour_error: bool,
    terminal_error: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PrintError {
    #[error("nobody reads the output any more")]
    ClosedPipe,
    #[error("the output cannot be written: {0}")]
    Io(io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
    Bold,
}

/// What a progress bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Items,
}

/// Long work on its way: a bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    what: String,
    unit: Unit,
    total: u64,
    done: Cell<u64>,
    bar: Option<ProgressBar>,
    said: Cell<Instant>,
}

/// How long a plain progress stays silent.
const QUIET: Duration = Duration::from_secs(2);

impl Printer {
    pub(super) fn new(environment: &Environment) -> Printer {
        let wanted = environment.get("NO_COLOR").is_none_or(str::is_empty) && environment.get("TERM") != Some("dumb");
        let terminal_error = io::stderr().is_terminal();
        Printer {
            colour_out: wanted && io::stdout().is_terminal(),
            colour_error: wanted && terminal_error,
            terminal_error,
        }
    }

    /// One line of the answer.
    pub(super) fn line(&self, text: impl Display) -> Result<(), PrintError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// A piece of the answer as it is.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), PrintError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => PrintError::ClosedPipe,
            _ => PrintError::Io(error),
        })
    }

    /// Help as clap lays it out.
    pub(super) fn styled(&self, text: &clap::builder::StyledStr) -> Result<(), PrintError> {
        let text = if self.colour_out { text.ansi().to_string() } else { text.to_string() };
        self.bytes(text.as_bytes())
    }

    /// Columns as wide as their widest cell. Prints nothing for no rows but the head.
    pub(super) fn table(&self, head: &[&str], rows: &[Vec<String>]) -> Result<(), PrintError> {
        let cells = |row: &[String]| row.iter().map(|cell| cell.chars().count()).collect::<Vec<_>>();
        let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(cells(row)) {
                *width = (*width).max(cell);
            }
        }
        let layout = |row: Vec<&str>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.line(self.paint(Colour::Bold, &layout(head.to_vec())))?;
        for row in rows {
            self.line(layout(row.iter().map(String::as_str).collect()))?;
        }
        Ok(())
    }

    /// A word for whoever watches, which is no part of the answer.
    pub(super) fn note(&self, text: impl Display) {
        self.to_error_stream(&text.to_string());
    }

    pub(super) fn warning(&self, text: impl Display) {
        let head = paint(self.colour_error, Colour::Yellow, "warning:");
        self.to_error_stream(&format!("{head} {text}"));
    }

    /// Why a command failed, with what caused it.
    pub(super) fn error(&self, text: &str, causes: &[String]) {
        let head = paint(self.colour_error, Colour::Red, "error:");
        self.to_error_stream(&format!("{head} {text}"));
        for cause in causes {
            self.to_error_stream(&format!("  because: {cause}"));
        }
    }

    /// A diagnostic with the lines it is about, on the error stream.
    pub(super) fn diagnostic(&self, diagnostic: &Diagnostic, sources: &Sources<'_>) {
        let style = if self.colour_error { Style::Colour } else { Style::Plain };
        self.to_error_stream(&render(diagnostic, sources, style));
        self.to_error_stream("");
    }

    /// A diagnostic that is the answer: what `check` found.
    pub(super) fn finding(&self, diagnostic: &Diagnostic, sources: &Sources<'_>) -> Result<(), PrintError> {
        let style = if self.colour_out { Style::Colour } else { Style::Plain };
        self.line(format!("{}\n", render(diagnostic, sources, style)))
    }

    /// Colour for a piece of the answer, where a terminal reads it.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        paint(self.colour_out, colour, text)
    }

    /// Begins long work of `total` steps.
    pub(super) fn progress(&self, what: &str, total: u64, unit: Unit) -> Progress {
        let bar = self.terminal_error.then(|| {
            let template = match unit {
                Unit::Bytes => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
                Unit::Items => "{msg} [{bar:30}] {human_pos}/{human_len}",
            };
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.to_owned());
            bar
        });
        if bar.is_none() {
            self.note(format!("{what} ({})", amount(total, unit)));
        }
        let done = Cell::new(0);
        Progress { what: what.to_owned(), unit, total, done, bar, said: Cell::new(Instant::now()) }
    }

    fn to_error_stream(&self, text: &str) {
        // Nobody is left to be told when the error stream itself cannot be written.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

impl Progress {
    /// Says how much is done by now.
    pub(super) fn set(&self, done: u64) {
        self.done.set(done);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.said.get().elapsed() >= QUIET && done < self.total {
            self.said.set(Instant::now());
            let (done, total) = (amount(done, self.unit), amount(self.total, self.unit));
            let _ = writeln!(io::stderr().lock(), "{}: {done} of {total}", self.what);
        }
    }

    pub(super) fn advance(&self, by: u64) {
        self.set(self.done.get() + by);
    }

    /// Takes the bar away; what came of the work is for the caller to say.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn amount(number: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes if number >= 1 << 20 => format!("{} MB", number >> 20),
        Unit::Bytes => format!("{} kB", number >> 10),
        Unit::Items => number.to_string(),
    }
}

fn paint(wanted: bool, colour: Colour, text: &str) -> String {
    let code = match colour {
        Colour::Red => "31;1",
        Colour::Green => "32",
        Colour::Yellow => "33;1",
        Colour::Bold => "1",
    };
    if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
