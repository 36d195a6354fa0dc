//! Tables for terminals and for pipes.

use comfy_table::{
    Cell, CellAlignment, ContentArrangement, Table as Grid, TableComponent, presets,
};

use crate::show::plain;

/// Rows under headings, with a thin line between. Cells may hold foreign text: it is made harmless.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// One column: its heading, and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    alignment: CellAlignment,
}

impl Column {
    /// A column of words.
    pub fn text(heading: &'static str) -> Self {
        Self {
            heading,
            alignment: CellAlignment::Left,
        }
    }

    /// A column of numbers, which line up at their last digit.
    pub fn number(heading: &'static str) -> Self {
        Self {
            heading,
            alignment: CellAlignment::Right,
        }
    }
}

impl Table {
    /// Starts a table without rows.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each column.
    pub fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| plain(&cell.to_string()))
            .collect();
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
        self
    }

    /// Draws the table to fit `columns` characters of a terminal, wrapping cells that are too long.
    /// Without a terminal (`None`) each row is one line, however long.
    pub fn draw(&self, columns: Option<u16>) -> String {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING)
            .set_style(TableComponent::HeaderLines, '─')
            .set_style(TableComponent::MiddleHeaderIntersections, '─');
        match columns {
            Some(columns) => {
                grid.set_content_arrangement(ContentArrangement::Dynamic);
                grid.set_width(columns);
            }
            None => {
                grid.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        let cell = |text: &str, column: &Column| Cell::new(text).set_alignment(column.alignment);
        grid.set_header(
            self.columns
                .iter()
                .map(|column| cell(column.heading, column)),
        );
        for row in &self.rows {
            grid.add_row(
                row.iter()
                    .zip(&self.columns)
                    .map(|(text, column)| cell(text, column)),
            );
        }
        let last = self.columns.len().saturating_sub(1);
        for (at, column) in grid.column_iter_mut().enumerate() {
            // A gap between columns, none at the edges.
            column.set_padding((u16::from(at > 0), u16::from(at < last)));
        }
        let mut text = String::new();
        for line in grid.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Width of the terminal that standard output goes to, or `None` when it goes elsewhere.
pub fn terminal_columns() -> Option<u16> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _height)| width.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Table {
        let mut table = Table::new([Column::text("Title"), Column::number("Changes")]);
        table.row(["Pengadaan alat kesehatan RSUD", "7"]);
        table.row(["Notulen\u{1b}[31m rapat", "1204"]);
        table
    }

    #[test]
    fn a_table_in_a_pipe_has_one_line_for_each_row() {
        assert_eq!(
            documents().draw(None),
            "Title                           Changes\n\
             ───────────────────────────────────────\n\
             Pengadaan alat kesehatan RSUD         7\n\
             Notulen\u{fffd}[31m rapat                 1204\n"
        );
    }

    #[test]
    fn a_table_on_a_narrow_terminal_wraps_its_cells() {
        let text = documents().draw(Some(26));
        assert!(text.lines().count() > 4, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 26),
            "{text}"
        );
        assert!(text.contains("Pengadaan"));
        assert!(text.contains("1204"));
    }
}
