//! From Markdown's events to the page.

use std::collections::BTreeSet;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::Kind;
use super::address::{linkable, told};
use super::page::{Page, Sort, Writer};
use super::table::Table;

/// Shown for a thematic break.
const RULE: &str = "──────────";

/// Renders Markdown without cutting it.
pub(super) fn walk(markdown: &str) -> Page {
    let mut walk = Walk { unused: unused_definitions(markdown), ..Walk::default() };
    for (event, range) in parser(markdown).into_offset_iter() {
        walk.define_before(markdown, range.start);
        walk.event(event);
    }
    walk.define_before(markdown, usize::MAX);
    walk.out.finish()
}

pub(super) fn parser(markdown: &str) -> Parser<'_> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    Parser::new_ext(markdown, options)
}

/// Where link definitions are that no link uses, last first: "[1]: https://…" as a list of sources.
fn unused_definitions(markdown: &str) -> Vec<Range<usize>> {
    let parser = parser(markdown);
    let mut unused: Vec<_> = (parser.reference_definitions().iter())
        .map(|(label, definition)| (folded(label), definition.span.clone()))
        .collect();
    if unused.is_empty() {
        return Vec::new();
    }
    let used: BTreeSet<String> = parser
        .filter_map(|event| match event {
            Event::Start(Tag::Link { id, link_type, .. } | Tag::Image { id, link_type, .. }) => {
                let is_reference =
                    !matches!(link_type, LinkType::Inline | LinkType::Autolink | LinkType::Email);
                is_reference.then(|| folded(&id))
            }
            _ => None,
        })
        .collect();
    unused.retain(|(label, _)| !used.contains(label));
    let mut spans: Vec<_> = unused.into_iter().map(|(_, span)| span).collect();
    spans.sort_by_key(|span| std::cmp::Reverse(span.start));
    spans
}

/// A label as Markdown compares it, or nearly.
fn folded(label: &str) -> String {
    let words: Vec<_> = label.split_whitespace().collect();
    words.join(" ").to_uppercase().to_lowercase()
}

/// What is open at the current event.
#[derive(Debug, Default)]
struct Walk {
    out: Writer,
    /// Blocks and marks that are open.
    depth: usize,
    /// Of each open list the next number; `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Of each open item the indentation to go back to.
    items: Vec<usize>,
    links: Vec<Link>,
    code: Option<(Option<String>, String)>,
    table: Option<Table>,
    /// Definitions still to be shown, last first.
    unused: Vec<Range<usize>>,
}

/// An open link or image.
#[derive(Debug)]
struct Link {
    address: String,
    /// Whether this one opened a mark.
    url: Option<String>,
    /// Where its text begins.
    start: usize,
}

impl Walk {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => {
                self.depth += 1;
                self.start(tag);
            }
            Event::End(tag) => {
                self.depth = self.depth.saturating_sub(1);
                self.end(tag);
            }
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => self.write(&text),
            },
            Event::Code(code) if self.table.is_none() => self.out.code(&code),
            Event::InlineHtml(html) if is_line_break(&html) => self.break_line(),
            Event::Code(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.write(&text),
            Event::SoftBreak | Event::HardBreak => self.break_line(),
            Event::Rule => {
                self.out.begin_block();
                self.out.write(RULE);
                self.out.line_ends(2);
            }
            Event::TaskListMarker(is_done) => self.out.tick(is_done),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => {
                self.out.line_ends(2);
                self.out.open(Sort::Bold, Kind::Bold);
            }
            Tag::BlockQuote(_) => {
                self.out.begin_block();
                self.out.open(Sort::Blockquote, Kind::Blockquote);
            }
            Tag::CodeBlock(kind) => {
                let language = match kind {
                    CodeBlockKind::Fenced(info) => language(&info),
                    CodeBlockKind::Indented => None,
                };
                self.code = Some((language, String::new()));
            }
            Tag::List(first) => {
                self.out.line_ends(1);
                self.lists.push(first);
            }
            Tag::Item => {
                let marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let marker = format!("{number}. ");
                        *number = number.saturating_add(1);
                        marker
                    }
                    Some(None) | None => "• ".to_owned(),
                };
                self.items.push(self.out.begin_item(&marker));
            }
            Tag::Table(alignments) => self.table = Some(Table::new(alignments)),
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.begin_row();
                }
            }
            Tag::TableCell => {
                if let Some(table) = &mut self.table {
                    table.begin_cell();
                }
            }
            Tag::Emphasis => self.out.open(Sort::Italic, Kind::Italic),
            Tag::Strong => self.out.open(Sort::Bold, Kind::Bold),
            Tag::Strikethrough => self.out.open(Sort::Strikethrough, Kind::Strikethrough),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.start_link(&dest_url),
            // Without an effect after a bullet, which is at the start of a line already.
            Tag::Paragraph | Tag::HtmlBlock => self.out.line_ends(1),
            Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.out.line_ends(2),
            TagEnd::Heading(_) => {
                self.out.close(Sort::Bold);
                self.out.line_ends(2);
            }
            TagEnd::BlockQuote(_) => {
                self.out.close(Sort::Blockquote);
                self.out.line_ends(2);
            }
            TagEnd::CodeBlock => {
                if let Some((language, code)) = self.code.take() {
                    self.out.pre(&code, language);
                    self.out.line_ends(2);
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.out.line_ends(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::Item => {
                let indent = self.items.pop().unwrap_or_default();
                self.out.end_item(indent);
            }
            TagEnd::Table => self.end_table(),
            TagEnd::Emphasis => self.out.close(Sort::Italic),
            TagEnd::Strong => self.out.close(Sort::Bold),
            TagEnd::Strikethrough => self.out.close(Sort::Strikethrough),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            TagEnd::TableHead
            | TagEnd::TableRow
            | TagEnd::TableCell
            | TagEnd::FootnoteDefinition
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::MetadataBlock(_) => {}
        }
    }

    fn write(&mut self, text: &str) {
        match &mut self.table {
            Some(table) => table.write(text),
            None => self.out.write(text),
        }
    }

    fn break_line(&mut self) {
        match &mut self.table {
            Some(table) => table.write(" "),
            None => self.out.break_line(),
        }
    }

    fn start_link(&mut self, address: &str) {
        let url = linkable(address).filter(|_| !self.out.is_open(Sort::TextLink));
        let start = match &self.table {
            Some(table) => table.cell().len(),
            None => {
                self.out.begin_line();
                self.out.position()
            }
        };
        if let (Some(url), None) = (&url, &self.table) {
            self.out.open(Sort::TextLink, Kind::TextLink { url: url.clone() });
        }
        self.links.push(Link { address: address.to_owned(), url, start });
    }

    fn end_link(&mut self) {
        let Some(link) = self.links.pop() else { return };
        let text = match &self.table {
            Some(table) => table.cell().get(link.start..).unwrap_or_default(),
            None => self.out.since(link.start),
        };
        let is_blank = text.trim().is_empty();
        let addition = match &link.url {
            Some(url) => is_blank.then(|| url.clone()),
            // A link within a link: the outer one has the mark.
            None if linkable(&link.address).is_some() => None,
            None => told(&link.address, text)
                .map(|address| if is_blank { address.to_owned() } else { format!(" ({address})") }),
        };
        if let Some(addition) = &addition {
            self.write(addition);
        }
        let Some(url) = link.url else { return };
        match &mut self.table {
            Some(table) => table.link(link.start, url),
            None => self.out.close(Sort::TextLink),
        }
    }

    fn end_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        self.out.pre(&table.lay_out(), None);
        for (text, url) in table.links {
            self.out.line_ends(1);
            self.out.open(Sort::TextLink, Kind::TextLink { url });
            self.out.write(&text);
            self.out.close(Sort::TextLink);
        }
        self.out.line_ends(2);
    }

    /// Shows the unused definitions before that byte, between blocks only.
    fn define_before(&mut self, markdown: &str, position: usize) {
        if self.depth > 0 {
            return;
        }
        while let Some(span) = self.unused.pop_if(|span| span.start < position) {
            self.out.line_ends(1);
            self.out.write(markdown.get(span).unwrap_or_default().trim());
            self.out.line_ends(1);
        }
    }
}

/// The language that a fence names.
fn language(info: &CowStr<'_>) -> Option<String> {
    let is_name =
        |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '#' | '-' | '_' | '.');
    let end = info.find(|char| !is_name(char)).unwrap_or(info.len());
    let name = info.get(..end)?;
    (1..=32).contains(&name.len()).then(|| name.to_owned())
}

fn is_line_break(html: &str) -> bool {
    matches!(html.to_ascii_lowercase().as_str(), "<br>" | "<br/>" | "<br />")
}
