//! The text before it is cut, written block by block.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::Kind;

/// Deepest indentation in columns: a phone shows about 35.
const DEEPEST_INDENT: usize = 16;

/// Text and what is marked in it.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// By start, the outer one first. One lies within the other or they are apart, none is empty,
    /// and what they mark begins and ends with something to see.
    pub(super) marks: Vec<Mark>,
}

/// A marked part of the page.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) kind: Kind,
    /// First byte.
    pub(super) start: usize,
    /// After the last byte.
    pub(super) end: usize,
}

impl Page {
    /// A text without marks.
    pub(super) fn plain(text: &str) -> Self {
        Self { text: clean(text, " ").into_owned(), marks: Vec::new() }
    }
}

/// Writes a [`Page`].
#[derive(Debug, Default)]
pub(super) struct Writer {
    page: Page,
    /// Line ends before the next text.
    gap: usize,
    /// Bullets before the next text.
    lead: String,
    /// Columns before each line.
    indent: usize,
    /// Marks that have begun, the outer one first; of each kind only the outermost.
    open: Vec<Open>,
    /// How often each kind has begun and not ended.
    depths: [usize; SORTS],
}

#[derive(Debug)]
struct Open {
    sort: Sort,
    kind: Kind,
    /// `None` until something is written.
    start: Option<usize>,
}

/// Kinds that contain others and end later; none contains its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Bold,
    Italic,
    Strikethrough,
    Blockquote,
    TextLink,
}

const SORTS: usize = 5;

impl Writer {
    /// Bytes so far.
    pub(super) fn position(&self) -> usize {
        self.page.text.len()
    }

    /// What has been written since then.
    pub(super) fn since(&self, position: usize) -> &str {
        self.page.text.get(position..).unwrap_or_default()
    }

    /// At least so many line ends before what comes next.
    pub(super) fn line_ends(&mut self, least: usize) {
        self.gap = self.gap.max(least);
    }

    /// A new line.
    pub(super) fn break_line(&mut self) {
        self.gap += 1;
    }

    /// Text; its further lines get the indentation.
    pub(super) fn write(&mut self, text: &str) {
        let text = clean(text, " ");
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.break_line();
            }
            if !line.is_empty() {
                self.begin();
                self.page.text.push_str(line);
            }
        }
    }

    /// Code within a line.
    pub(super) fn code(&mut self, code: &str) {
        // Where code may not be, what is around it says more.
        if self.is_open(Sort::Blockquote) || self.is_open(Sort::TextLink) {
            return self.write(code);
        }
        self.suspend();
        self.begin_line();
        let start = self.position();
        self.page.text.push_str(&clean(code, " ").replace('\n', " "));
        self.mark(Kind::Code, start);
    }

    /// A block that stays as it is: code or a table.
    pub(super) fn pre(&mut self, text: &str, language: Option<String>) {
        let text = clean(text, "    ");
        let text = text.get(blank_lines(&text)..).unwrap_or_default().trim_end();
        if text.is_empty() {
            return;
        }
        self.begin_block();
        self.suspend();
        let newlines = if self.page.text.is_empty() { 0 } else { self.gap };
        self.page.text.extend(std::iter::repeat_n('\n', newlines));
        self.gap = 0;
        let start = self.position();
        self.page.text.push_str(text);
        self.mark(Kind::Pre { language }, start);
    }

    /// Ends the line, also if there is only a bullet on it.
    pub(super) fn begin_block(&mut self) {
        if !self.lead.is_empty() {
            self.begin_line();
        }
        self.line_ends(1);
    }

    /// Begins a list item and gives the indentation to go back to.
    pub(super) fn begin_item(&mut self, marker: &str) -> usize {
        self.line_ends(1);
        if self.lead.is_empty() {
            self.lead = " ".repeat(self.indent);
        }
        self.lead.push_str(marker);
        let before = self.indent;
        self.indent = (before + marker.chars().count()).min(DEEPEST_INDENT);
        before
    }

    /// Takes a box instead of the bullet.
    pub(super) fn tick(&mut self, is_done: bool) {
        let bullet = self.lead.rfind('•').unwrap_or(self.lead.len());
        self.lead.truncate(bullet);
        self.lead.push_str(if is_done { "☑ " } else { "☐ " });
    }

    /// Ends a list item.
    pub(super) fn end_item(&mut self, indent: usize) {
        if !self.lead.is_empty() {
            self.begin_line();
        }
        self.line_ends(1);
        self.indent = indent;
    }

    /// Whether such a mark has begun.
    pub(super) fn is_open(&self, sort: Sort) -> bool {
        self.open.iter().any(|open| open.sort == sort)
    }

    /// Begins a mark at what is written next.
    pub(super) fn open(&mut self, sort: Sort, kind: Kind) {
        self.depths[sort as usize] += 1;
        if self.depths[sort as usize] == 1 {
            self.open.push(Open { sort, kind, start: None });
        }
    }

    /// Ends the mark that began last.
    pub(super) fn close(&mut self, sort: Sort) {
        let depth = &mut self.depths[sort as usize];
        *depth = depth.saturating_sub(1);
        if *depth > 0 {
            return;
        }
        let Some(at) = self.open.iter().rposition(|open| open.sort == sort) else { return };
        let open = self.open.remove(at);
        if let Some(start) = open.start {
            self.mark(open.kind, start);
        }
    }

    /// The page.
    pub(super) fn finish(mut self) -> Page {
        // Marks were noted when they ended, the inner one first.
        self.page.marks.reverse();
        self.page.marks.sort_by_key(|mark| (mark.start, Reverse(mark.end)));
        self.page
    }

    /// Goes to where the next text belongs.
    pub(super) fn begin_line(&mut self) {
        let is_first = self.page.text.is_empty();
        let is_new = is_first || self.gap > 0;
        if !is_first {
            self.page.text.extend(std::iter::repeat_n('\n', self.gap));
        }
        self.gap = 0;
        self.start_marks(|sort| sort == Sort::Blockquote);
        if !self.lead.is_empty() {
            self.page.text.push_str(&self.lead);
            self.lead.clear();
        } else if is_new {
            self.page.text.extend(std::iter::repeat_n(' ', self.indent));
        }
    }

    fn begin(&mut self) {
        self.begin_line();
        self.start_marks(|_| true);
    }

    fn start_marks(&mut self, is_meant: impl Fn(Sort) -> bool) {
        let here = self.page.text.len();
        for open in self.open.iter_mut().filter(|open| is_meant(open.sort)) {
            open.start.get_or_insert(here);
        }
    }

    /// Ends what is open here and lets it begin again after what may not be within it.
    fn suspend(&mut self) {
        for at in (0..self.open.len()).rev() {
            let Some(open) = self.open.get_mut(at) else { continue };
            let (kind, start) = (open.kind.clone(), open.start.take());
            if let Some(start) = start {
                self.mark(kind, start);
            }
        }
    }

    /// Marks from there to here, without the white space at the ends.
    fn mark(&mut self, kind: Kind, start: usize) {
        let text = self.since(start);
        let end = start + text.trim_end().len();
        let indent = match kind {
            Kind::Pre { .. } => 0,
            Kind::Bold
            | Kind::Italic
            | Kind::Strikethrough
            | Kind::Blockquote
            | Kind::Code
            | Kind::TextLink { .. } => text.len() - text.trim_start().len(),
        };
        let start = start + indent;
        if start < end {
            self.page.marks.push(Mark { kind, start, end });
        }
    }
}

/// Where the first line that is not blank begins.
pub(super) fn blank_lines(text: &str) -> usize {
    let indented = text.trim_start();
    let before = text.len() - indented.len();
    text.get(..before).and_then(|blank| blank.rfind('\n')).map_or(0, |at| at + 1)
}

/// Text as Telegram keeps it: it makes control characters to spaces and takes out line separators.
fn clean<'a>(text: &'a str, tab: &str) -> Cow<'a, str> {
    let is_odd = |char: char| char < ' ' && char != '\n' || matches!(char, '\u{2028}' | '\u{2029}');
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\t' => cleaned.push_str(tab),
            '\r' => {}
            '\u{2028}' | '\u{2029}' => cleaned.push('\n'),
            '\n' => cleaned.push('\n'),
            char if char < ' ' => cleaned.push(' '),
            char => cleaned.push(char),
        }
    }
    Cow::Owned(cleaned)
}
