//! How results reach people and programs: tables that fit the terminal, JSON, plain lines.
//!
//! Everything that others may have written (names, descriptions, addresses, audit details) passes [`clean`] on its
//! way to a terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table};
use serde_json::Value;

use super::context::Environment;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Nobody reads our standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct StdoutClosed;

/// What standard output is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub format: Format,
    /// Columns of the terminal; `None`: not a terminal, lines may be of any length.
    width: Option<u16>,
    colour: bool,
}

impl Output {
    pub(super) fn new(format: Format, environment: &Environment) -> Self {
        let terminal = environment.stdout_is_terminal;
        let width = terminal
            .then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())
            .flatten()
            .map(|size| size.ws_col)
            .filter(|columns| *columns > 0);
        Self { format, width, colour: terminal && environment.variable("NO_COLOR").is_none() }
    }

    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Is this a terminal of fewer columns?
    pub(super) fn is_narrower_than(self, columns: u16) -> bool {
        self.width.is_some_and(|width| width < columns)
    }

    /// A table with a header.
    pub(super) fn table(self, header: &[&str], rows: Vec<Vec<Cell>>) -> anyhow::Result<()> {
        line(&self.render(header, rows))
    }

    /// Two columns: what, and its value. Values that are `None` are left out.
    pub(super) fn fields(self, fields: Vec<(&str, Option<String>)>) -> anyhow::Result<()> {
        let rows = fields
            .into_iter()
            .filter_map(|(what, value)| Some(vec![self.heading(what), Cell::new(clean(&value?))]))
            .collect();
        line(&self.render(&[], rows))
    }

    fn render(self, header: &[&str], rows: Vec<Vec<Cell>>) -> String {
        let mut table = Table::new();
        // Width and colours are decided here alone.
        table.load_style(NOTHING).force_no_tty();
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if self.colour {
            table.enforce_styling();
        }
        if !header.is_empty() {
            table.set_header(header.iter().map(|text| self.heading(text)).collect::<Vec<_>>());
        }
        table.add_rows(rows);
        for (i, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            // An id in two lines cannot be copied.
            if header.get(i) == Some(&"ID") {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut text = String::new();
        for row in table.lines() {
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text.trim_end_matches('\n').to_owned()
    }

    fn heading(self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }

    /// A cell that should catch the eye.
    pub(super) fn marked(self, text: &str, colour: Color) -> Cell {
        let cell = Cell::new(clean(text));
        if self.colour { cell.fg(colour) } else { cell }
    }
}

/// A cell of text that others wrote.
pub(super) fn cell(text: &(impl ToString + ?Sized)) -> Cell {
    Cell::new(clean(&text.to_string()))
}

/// A line on standard output.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => StdoutClosed.into(),
        _ => anyhow::Error::new(e).context("cannot write to standard output"),
    })
}

/// A JSON document on standard output.
pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    line(&escape_json(&serde_json::to_string_pretty(value)?))
}

/// JSON allows DEL, the C1 controls and the like raw; a terminal should not get them.
fn escape_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_dangerous(c) {
            // Of a string, as outside of strings JSON has no such character; all of them are below U+10000.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Text with everything escaped that could move a cursor, change a colour or turn the order of letters round.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_dangerous(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Controls (C0, DEL, C1), line separators, and the bidirectional and zero-width ones (Unicode TR 36, 2.10).
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(width: Option<u16>, colour: bool) -> Output {
        Output { format: Format::Table, width, colour }
    }

    fn rows() -> Vec<Vec<Cell>> {
        let long = "nightly reports for the finance department, which asks for them every morning";
        vec![
            vec![cell(&format!("reports {long}")), cell(&"READONLY"), cell(&"Never")],
            vec![cell(&"ci"), cell(&"ADMIN"), cell(&"2026-01-31 12:00:00")],
        ]
    }

    #[test]
    fn tables_fit_the_terminal() {
        for width in [40, 60, 80, 200] {
            let text = output(Some(width), false).render(&["Name / Desc", "Role", "Last Login"], rows());
            for line in text.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn an_id_is_never_broken() {
        let rows: Vec<Vec<Cell>> = rows()
            .into_iter()
            .map(|mut row| {
                row.insert(1, cell("0123456789ab"));
                row
            })
            .collect();
        for width in 60..120 {
            let text = output(Some(width), false).render(&["Name / Desc", "ID", "Role", "Last Login"], rows.clone());
            assert_eq!(text.matches("0123456789ab").count(), 2, "{width}:\n{text}");
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
        }
    }

    #[test]
    fn elsewhere_a_row_is_a_line() {
        let text = output(None, false).render(&["Name / Desc", "Role", "Last Login"], rows());
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains('\x1b'));
        assert!(text.lines().all(|l| l == l.trim_end()));
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let marked = |colour| {
            let output = output(None, colour);
            output.render(&["State"], vec![vec![output.marked("disabled", Color::Yellow)]])
        };
        assert!(marked(true).contains("\x1b["));
        assert!(!marked(false).contains("\x1b["));
    }

    #[test]
    fn nothing_of_others_moves_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean("two\nlines\u{202e}desrever\u{9b}1m"), "two\\nlines\\u{202e}desrever\\u{9b}1m");
        assert_eq!(clean("Grüße, 世界 🙂"), "Grüße, 世界 🙂");
        let value = serde_json::json!({ "description": "a\u{9b}b\u{7f}c\u{202e}d\x1be\n" });
        let text = escape_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| c != '\n' && is_dangerous(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
