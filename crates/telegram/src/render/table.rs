//! Tables in columns of equal width.

use pulldown_cmark::Alignment;
use unicode_width::UnicodeWidthStr as _;

/// A table being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    alignments: Vec<Alignment>,
    rows: Vec<Vec<String>>,
    /// Texts and addresses; a monospaced block cannot hold links, so they follow it.
    pub(super) links: Vec<(String, String)>,
}

impl Table {
    pub(super) fn new(alignments: Vec<Alignment>) -> Self {
        Self { alignments, ..Self::default() }
    }

    pub(super) fn begin_row(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(super) fn begin_cell(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.push(String::new());
        }
    }

    /// Adds to the current cell, which is one line.
    pub(super) fn write(&mut self, text: &str) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.extend(text.chars().map(|char| if char.is_whitespace() { ' ' } else { char }));
        }
    }

    /// The current cell so far.
    pub(super) fn cell(&self) -> &str {
        self.rows.last().and_then(|row| row.last()).map_or("", String::as_str)
    }

    /// Notes that the current cell is a link from there on.
    pub(super) fn link(&mut self, start: usize, url: String) {
        let text = self.cell().get(start..).unwrap_or_default().trim().to_owned();
        self.links.push((text, url));
    }

    /// The table as text: `| a | b |`, with a rule below the first row.
    pub(super) fn lay_out(&self) -> String {
        let mut widths = vec![0; self.alignments.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.trim().width().max(*width);
            }
        }
        let content: usize = self.rows.iter().flatten().map(|cell| cell.len() + 3).sum();
        let aligned = (widths.iter().sum::<usize>() + 3 * widths.len()) * (self.rows.len() + 1);
        // One very wide cell would fill every other row with spaces.
        if aligned > 4 * content + 1024 {
            widths.fill(0);
        }
        let mut text = String::with_capacity(aligned.min(4 * content + 1024));
        for (index, row) in self.rows.iter().enumerate() {
            // A short row is filled up with empty cells; a mistaken one might have thousands.
            let filled =
                row.iter().rposition(|cell| !cell.trim().is_empty()).map_or(0, |at| at + 1);
            for (column, cell) in row.iter().take(filled).enumerate() {
                let width = widths.get(column).copied().unwrap_or_default();
                let alignment = self.alignments.get(column).copied().unwrap_or(Alignment::None);
                text.push_str("| ");
                pad(&mut text, cell.trim(), width, alignment);
                text.push(' ');
            }
            text.push_str("|\n");
            if index == 0 {
                for width in &widths {
                    text.push_str("|-");
                    text.extend(std::iter::repeat_n('-', (*width).max(1)));
                    text.push('-');
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

fn pad(text: &mut String, cell: &str, width: usize, alignment: Alignment) {
    let free = width.saturating_sub(cell.width());
    let before = match alignment {
        Alignment::None | Alignment::Left => 0,
        Alignment::Center => free / 2,
        Alignment::Right => free,
    };
    text.extend(std::iter::repeat_n(' ', before));
    text.push_str(cell);
    text.extend(std::iter::repeat_n(' ', free - before));
}
