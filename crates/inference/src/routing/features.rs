//! What there is to see of a question, as numbers from 0 to 1 with names.

use std::collections::BTreeMap;

use nexus_contracts::{InferenceRequest, Message, Part, Role};

use super::lexicon;

/// By name; what is absent is 0.
pub(super) type Features = BTreeMap<&'static str, f64>;

/// Most bytes of a question that are read: what it wants stands at its ends.
const READ: usize = 16 * 1024;

/// The features of a request: of its last question, and weakly of what went before.
pub(super) fn features(request: &InferenceRequest) -> Features {
    let last = request.messages.iter().rev().find(|message| message.role == Role::User);
    let text = last.map(Message::joined_text).unwrap_or_default();
    let turns = request.messages.iter().filter(|message| message.role == Role::User).count();
    let files = last.map_or(0, |message| {
        message.parts.iter().filter(|part| matches!(part, Part::Attachment { .. })).count()
    });
    let mut features = of_text(&text);
    // 16 tools, 20 turns and 2 files are as many as make a difference.
    for (name, count, most) in [
        ("tools", request.tools.len(), 16.0),
        ("turns", turns.saturating_sub(1), 20.0),
        ("files", files, 2.0),
    ] {
        put(&mut features, name, part_of(count, most));
    }
    features
}

fn of_text(text: &str) -> Features {
    let text = ends(text);
    let (prose, code) = apart(&text);
    let prose = Prose::new(&prose);
    let whole = text.to_lowercase();
    let mut features = Features::new();

    let words = prose.length();
    put(&mut features, "length", 1.0 - (-words / 60.0).exp());
    let code_words = prose.hits(lexicon::CODE);
    put(&mut features, "code", if code { 1.0 } else { part_of(code_words, 2.0) });
    let formulas = formulas(&text);
    put(&mut features, "maths", part_of(prose.hits(lexicon::MATHS) + formulas, 3.0));
    let (reasoning, making) = (prose.hits(lexicon::REASONING), prose.hits(lexicon::MAKING));
    let (depth, proof) = (prose.hits(lexicon::DEPTH), prose.hits(lexicon::PROOF));
    put(&mut features, "reasoning", fading(reasoning));
    put(&mut features, "making", part_of(making, 1.0));
    put(&mut features, "depth", fading(depth));
    put(&mut features, "proof", part_of(proof, 1.0));
    let clauses = prose.lower.matches([',', ';', ':']).count() / 2;
    let items = text.lines().filter(|line| is_item(line)).count();
    let constraints = prose.hits(lexicon::CONSTRAINTS) + clauses + items;
    put(&mut features, "constraints", part_of(constraints, 6.0));
    let questions = text.matches(['?', '？']).count().saturating_sub(1);
    put(&mut features, "questions", part_of(questions, 3.0));
    let small = prose.hits(lexicon::SMALL_TALK) > 0 && reasoning + making + depth + proof == 0;
    put(&mut features, "small_talk", f64::from(u8::from(small)));

    put(
        &mut features,
        "web_url",
        flag(whole.contains("http://") || whole.contains("https://") || whole.contains("www.")),
    );
    put(&mut features, "web_explicit", flag(prose.hits(lexicon::WEB_EXPLICIT) > 0));
    put(&mut features, "web_cites", flag(prose.hits(lexicon::WEB_CITES) > 0));
    put(&mut features, "web_recent", flag(prose.hits(lexicon::WEB_RECENT) > 0));
    put(&mut features, "web_changes", flag(prose.hits(lexicon::WEB_CHANGES) > 0));
    // Code and texts to work on speak of now without meaning it.
    put(&mut features, "web_inside", flag(code));
    features
}

fn put(features: &mut Features, name: &'static str, value: f64) {
    if value > 0.0 {
        // Three digits are enough to see why, and to compute the same again.
        features.insert(name, (value * 1000.0).round() / 1000.0);
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn part_of(count: usize, most: f64) -> f64 {
    (f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / most).min(1.0)
}

/// The first says most: 0, 1/2, 3/4, 7/8, ...
fn fading(count: usize) -> f64 {
    1.0 - 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Beginning and end of a long text, cut between characters.
fn ends(text: &str) -> String {
    if text.len() <= READ {
        return text.to_owned();
    }
    let floor = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (head, tail) = (floor(READ / 2), floor(text.len() - READ / 2));
    format!("{}\n{}", text.get(..head).unwrap_or(""), text.get(tail..).unwrap_or(""))
}

/// The text without code and quotations, and whether there was code.
fn apart(text: &str) -> (String, bool) {
    let mut prose = String::with_capacity(text.len());
    let mut code = false;
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 1 {
            code = true;
            continue;
        }
        for (index, part) in part.split('`').enumerate() {
            if index % 2 == 1 {
                code = true;
                prose.push(' ');
            } else {
                prose.push_str(&unquoted(part));
            }
        }
    }
    let marks = ["();", "{\n", " => ", "def ", "fn ", "SELECT ", "#include", "</"];
    code |= marks.iter().any(|mark| text.contains(mark));
    (prose, code)
}

/// A text without what stands between quotation marks on one line, nor after a colon that ends a
/// demand to translate or rewrite.
fn unquoted(text: &str) -> String {
    let mut rest = String::with_capacity(text.len());
    let mut close = None;
    for character in text.chars() {
        match close {
            Some(end) if character == end || character == '\n' => close = None,
            Some(_) => {}
            None => {
                close = match character {
                    '"' => Some('"'),
                    '“' => Some('”'),
                    '„' => Some('“'),
                    '«' => Some('»'),
                    '「' => Some('」'),
                    _ => None,
                };
                rest.push(if close.is_some() { ' ' } else { character });
            }
        }
    }
    let worked_on =
        ["translat", "rewrite", "übersetz", "traduis", "traduce", "turn ", "fix ", "put "];
    match rest.split_once(": ") {
        Some((demand, _)) if worked_on.iter().any(|verb| demand.to_lowercase().contains(verb)) => {
            demand.to_owned()
        }
        _ => rest,
    }
}

/// Signs that stand in formulas and seldom elsewhere.
fn formulas(text: &str) -> usize {
    let signs = text.matches(['^', '∫', '∑', '√', '≤', '≥', '∀', '∃', '\\']).count();
    signs + text.matches(" = ").count()
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    let numbered = line.split_once(['.', ')']).is_some_and(|(number, _)| {
        !number.is_empty() && number.len() < 3 && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    line.starts_with("- ") || line.starts_with("* ") || numbered
}

/// A text and its words, in lower case.
struct Prose {
    lower: String,
    words: Vec<String>,
}

impl Prose {
    fn new(text: &str) -> Self {
        let lower = text.to_lowercase();
        let apart = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '\'' | '+');
        let words = lower.split(apart).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Self { lower, words }
    }

    /// Words; in scripts without spaces, half of the characters.
    fn length(&self) -> f64 {
        let spaceless = self.lower.chars().filter(|character| is_spaceless(*character)).count();
        f64::from(u32::try_from(self.words.len() + spaceless / 2).unwrap_or(u32::MAX))
    }

    /// How many of the entries there are.
    fn hits(&self, entries: &[&str]) -> usize {
        entries.iter().filter(|entry| self.has(entry)).count()
    }

    fn has(&self, entry: &&str) -> bool {
        let (stem, is_stem) = match entry.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (*entry, false),
        };
        if stem.contains(' ') || stem.chars().any(is_spaceless) {
            return self.lower.contains(stem);
        }
        self.words.iter().any(|word| word == stem || (is_stem && word.starts_with(stem)))
    }
}

/// Of Chinese or Japanese.
fn is_spaceless(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str) -> f64 {
        of_text(text).get(name).copied().unwrap_or(0.0)
    }

    #[test]
    fn quotations_and_code_do_not_speak_of_now() {
        for (text, wanted) in [
            ("What is the weather today?", 1.0),
            ("Translate \"the weather today\" into French", 0.0),
            ("Übersetze ins Englische: Heute ist ein schöner Tag.", 0.0),
            ("Explain `today()`", 0.0),
            ("Explain\n```\nlet today = now();\n```\nplease", 0.0),
        ] {
            assert_eq!(of(text, "web_recent"), wanted, "{text}");
        }
    }

    #[test]
    fn scripts_without_spaces_are_read() {
        assert_eq!(of("今天北京天气怎么样？", "web_recent"), 1.0);
        assert!(of("证明任意连续函数在闭区间上一致连续", "depth") > 0.0);
        assert!(of("证明任意连续函数在闭区间上一致连续", "length") > 0.1);
    }

    #[test]
    fn long_text_is_read_at_its_ends() {
        let text = format!("Summarise this: {} and cite it", "ü".repeat(100_000));
        assert_eq!((of(&text, "reasoning") > 0.0, of(&text, "web_cites")), (true, 1.0));
    }

    #[test]
    fn no_text_has_no_features() {
        assert_eq!(of_text(""), Features::new());
    }
}
