#[cfg(test)]
mod tests;

/// Longest pattern: matching costs pattern times address, so a sender must not choose both.
const LONGEST: usize = 1024;

/// An address pattern: `?`, `*`, `[a-z]`, `[!a]` and `{one,two}` within one part of an address, and
/// OSC 1.1's `//` for any number of parts.
///
/// `*` stands for no character too, so `/a*` matches `/a`. `//b` matches `/b` and `/a/a/b`; `//` at
/// the end stands for everything below. Matching keeps the set of places that it may be at, so its
/// cost is at most pattern times address, whatever the pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Any number of parts.
    Descend,
    /// No special characters.
    Name(String),
    Glob(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    One,
    Many,
    Class { negated: bool, ranges: Vec<(char, char)> },
    Either(Vec<String>),
}

/// Why a pattern is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("an address pattern has to begin with '/'")]
    Address,
    #[error("an address pattern has at most {LONGEST} bytes")]
    Long,
    #[error("{0:?} has no partner in its part of the pattern")]
    Unpaired(char),
    #[error("[] and [!] name no character")]
    Empty,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when it does not begin with `/`, is too long, or has a bracket or brace
    /// without its partner.
    pub fn compile(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > LONGEST {
            return Err(PatternError::Long);
        }
        let rest = pattern.strip_prefix('/').ok_or(PatternError::Address)?;
        let mut parts = Vec::new();
        let mut names = rest.split('/').peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            if !name.is_empty() || (last && parts.last() != Some(&Part::Descend)) {
                parts.push(part(name)?);
            } else if last {
                // `//` at the end.
                parts.push(Part::Glob(vec![Piece::Many]));
            } else if parts.last() != Some(&Part::Descend) {
                parts.push(Part::Descend);
            }
        }
        Ok(Self { parts })
    }

    /// Whether it names one address only.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Name(_)))
    }

    /// Whether the address is one of those that it names.
    #[must_use]
    pub fn matches(&self, address: &str) -> bool {
        let Some(address) = address.strip_prefix('/') else { return false };
        let names: Vec<&str> = address.split('/').collect();
        // How many names may be used up by now, ascending.
        let mut places = vec![0];
        for part in &self.parts {
            match part {
                Part::Descend => {
                    let first = places.first().copied().unwrap_or(names.len());
                    places = (first..names.len()).collect();
                }
                Part::Name(name) => advance(&mut places, &names, |found| found == name),
                Part::Glob(pieces) => advance(&mut places, &names, |found| matches(pieces, found)),
            }
            if places.is_empty() {
                return false;
            }
        }
        places.last() == Some(&names.len())
    }
}

/// Goes one name on from every place whose name fits.
fn advance(places: &mut Vec<usize>, names: &[&str], fits: impl Fn(&str) -> bool) {
    places.retain_mut(|place| {
        let fitting = names.get(*place).is_some_and(|name| fits(name));
        *place += 1;
        fitting
    });
}

fn matches(pieces: &[Piece], name: &str) -> bool {
    // Byte offsets that may be reached by now, ascending.
    let mut places = vec![0];
    for piece in pieces {
        let rest = |place: usize| name.get(place..).unwrap_or_default();
        match piece {
            Piece::Literal(literal) => places.retain_mut(|place| {
                let fitting = rest(*place).starts_with(literal);
                *place += literal.len();
                fitting
            }),
            Piece::One => take_char(&mut places, name, |_| true),
            Piece::Class { negated, ranges } => take_char(&mut places, name, |char| {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&char));
                inside != *negated
            }),
            Piece::Many => {
                let first = places.first().copied().unwrap_or(name.len());
                places = (first..=name.len()).filter(|end| name.is_char_boundary(*end)).collect();
            }
            Piece::Either(words) => {
                let ends = |place: usize| {
                    let fitting = words.iter().filter(move |word| rest(place).starts_with(*word));
                    fitting.map(move |word| place + word.len())
                };
                places = places.iter().flat_map(|place| ends(*place)).collect();
                places.sort_unstable();
                places.dedup();
            }
        }
        if places.is_empty() {
            return false;
        }
    }
    places.last() == Some(&name.len())
}

/// Goes one character on from every place whose character fits.
fn take_char(places: &mut Vec<usize>, name: &str, fits: impl Fn(char) -> bool) {
    places.retain_mut(|place| {
        let Some(char) = name.get(*place..).and_then(|rest| rest.chars().next()) else {
            return false;
        };
        *place += char.len_utf8();
        fits(char)
    });
}

fn part(name: &str) -> Result<Part, PatternError> {
    if !name.contains(['?', '*', '[', ']', '{', '}']) {
        return Ok(Part::Name(name.to_owned()));
    }
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        let after = rest.get(char.len_utf8()..).unwrap_or_default();
        rest = match char {
            '?' => {
                pieces.push(Piece::One);
                after
            }
            '*' => {
                if pieces.last() != Some(&Piece::Many) {
                    pieces.push(Piece::Many);
                }
                after
            }
            '[' => {
                let (inside, after) = after.split_once(']').ok_or(PatternError::Unpaired('['))?;
                pieces.push(class(inside)?);
                after
            }
            '{' => {
                let (inside, after) = after.split_once('}').ok_or(PatternError::Unpaired('{'))?;
                if inside.contains('{') {
                    return Err(PatternError::Unpaired('{'));
                }
                pieces.push(Piece::Either(inside.split(',').map(str::to_owned).collect()));
                after
            }
            ']' | '}' => return Err(PatternError::Unpaired(char)),
            _ => {
                let end = rest.find(['?', '*', '[', ']', '{', '}']).unwrap_or(rest.len());
                let (literal, after) = rest.split_at(end);
                pieces.push(Piece::Literal(literal.to_owned()));
                after
            }
        };
    }
    Ok(Part::Glob(pieces))
}

/// What stands between brackets: `-` between two characters is a range, elsewhere itself.
fn class(inside: &str) -> Result<Piece, PatternError> {
    let (negated, inside) = match inside.strip_prefix('!') {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let mut ranges = Vec::new();
    let mut chars = inside.chars().peekable();
    while let Some(first) = chars.next() {
        let mut ahead = chars.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) => {
                chars = ahead;
                ranges.push((first.min(last), first.max(last)));
            }
            _ => ranges.push((first, first)),
        }
    }
    if ranges.is_empty() { Err(PatternError::Empty) } else { Ok(Piece::Class { negated, ranges }) }
}
