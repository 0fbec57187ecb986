//! What of a target's messages is kept, and how much of it. Pure: time is passed in.

use std::collections::HashMap;

use nexus_osc_codec::{Argument, Message, Pattern, Timed, coerce};

use super::profile::Subscribe;

/// Values of one target that are remembered.
const REMEMBERED: usize = 4096;

/// One line of a target's `record`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    address: String,
    pattern: Pattern,
    ids: Vec<Argument>,
}

impl Rule {
    /// Reads `PATTERN ID...`.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let address = words.next().unwrap_or_default().to_owned();
        let pattern =
            Pattern::compile(&address).map_err(|error| format!("record {text:?}: {error}"))?;
        let id = |word: &str| {
            word.parse().map_or_else(|_| Argument::String(word.to_owned()), Argument::Int)
        };
        Ok(Self { address, pattern, ids: words.map(id).collect() })
    }

    fn fits(&self, message: &Message) -> bool {
        self.pattern.matches(&message.address) && leads(&self.ids, &message.arguments)
    }

    /// The message that makes the target send this value whenever it changes.
    pub(crate) fn subscription(&self, subscribe: &Subscribe) -> Option<Message> {
        let named = self.pattern.is_literal() && self.address.contains(&subscribe.part);
        let address = self.address.replacen(&subscribe.part, &subscribe.by, 1);
        named.then(|| Message::new(address, self.ids.clone()))
    }
}

/// Whether arguments begin with these ids, whatever types their senders use; `*` is any.
pub(crate) fn leads(ids: &[Argument], arguments: &[Argument]) -> bool {
    let same = |(id, argument): (&Argument, &Argument)| {
        let id = coerce::text(id);
        id.as_deref() == Some("*") || (id.is_some() && id == coerce::text(argument))
    };
    ids.len() <= arguments.len() && ids.iter().zip(arguments).all(same)
}

/// The rules of one target with what they have to remember.
#[derive(Debug)]
pub(crate) struct Recording {
    rules: Vec<Rule>,
    /// By address and ids: what was kept last. Only for values that are subscribed: renewing a
    /// subscription makes the target repeat them.
    last: Option<HashMap<String, Vec<Argument>>>,
    allowance: Allowance,
}

/// What is to be done with a packet's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// Nobody wants it, or it says nothing new.
    Ignore,
    /// More than the target may say.
    Drop,
}

impl Recording {
    pub(crate) fn new(rules: Vec<Rule>, subscribed: bool, per_second: u32) -> Self {
        let last = subscribed.then(HashMap::new);
        Self { rules, last, allowance: Allowance::new(per_second) }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Judges one packet: the messages that are kept stay in it.
    pub(crate) fn judge(&mut self, messages: &mut Vec<Timed>, now_us: i64) -> Verdict {
        messages.retain(|timed| self.rules.iter().any(|rule| rule.fits(&timed.message)));
        if let Some(last) = &self.last {
            let rules = &self.rules;
            messages.retain(|timed| {
                last.get(&said(rules, &timed.message)) != Some(&timed.message.arguments)
            });
        }
        if messages.is_empty() {
            return Verdict::Ignore;
        }
        if !self.allowance.take(now_us) {
            return Verdict::Drop;
        }
        if let Some(last) = &mut self.last {
            // A set with more values than this is recorded twice at a renewal, and no more.
            if last.len() >= REMEMBERED {
                last.clear();
            }
            for timed in &*messages {
                last.insert(said(&self.rules, &timed.message), timed.message.arguments.clone());
            }
        }
        Verdict::Keep
    }
}

/// The address with the ids of the thing that a message speaks of.
fn said(rules: &[Rule], message: &Message) -> String {
    let fitting = rules.iter().filter(|rule| rule.fits(message));
    let ids = fitting.map(|rule| rule.ids.len()).max().unwrap_or(0);
    let ids = message.arguments.iter().take(ids).filter_map(coerce::text);
    ids.fold(message.address.clone(), |said, id| said + " " + &id)
}

/// A bucket of tokens that fills with time.
#[derive(Debug)]
struct Allowance {
    per_second: f64,
    tokens: f64,
    at_us: Option<i64>,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second, at_us: None }
    }

    #[allow(clippy::cast_precision_loss, reason = "microseconds between two packets")]
    fn take(&mut self, now_us: i64) -> bool {
        let passed = now_us - self.at_us.unwrap_or(now_us);
        self.at_us = Some(now_us);
        let gained = passed.max(0) as f64 / 1e6 * self.per_second;
        self.tokens = (self.tokens + gained).min(self.per_second);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use nexus_osc_codec::TimeTag;

    use super::*;

    fn packet(address: &str, arguments: &[Argument]) -> Vec<Timed> {
        let message = Message::new(address, arguments.to_vec());
        vec![Timed { due: TimeTag::IMMEDIATE, message }]
    }

    fn recording(rules: &[&str], subscribed: bool, per_second: u32) -> Recording {
        let rules = rules.iter().map(|rule| Rule::read(rule).unwrap()).collect();
        Recording::new(rules, subscribed, per_second)
    }

    #[test]
    fn rules_name_addresses_and_ids() {
        let mut recording = recording(&["/fader/*", "/live/track/get/volume 1"], false, 50);
        for (address, arguments, verdict) in [
            ("/fader/a", vec![], Verdict::Keep),
            ("/fader/a", vec![], Verdict::Keep),
            ("/fader", vec![], Verdict::Ignore),
            ("/live/track/get/volume", vec![Argument::Int(1), 0.5.into()], Verdict::Keep),
            ("/live/track/get/volume", vec![Argument::Float(1.0), 0.5.into()], Verdict::Keep),
            ("/live/track/get/volume", vec![Argument::Int(2), 0.5.into()], Verdict::Ignore),
            ("/live/track/get/volume", vec![], Verdict::Ignore),
        ] {
            let judged = recording.judge(&mut packet(address, &arguments), 0);
            assert_eq!(judged, verdict, "{address} {arguments:?}");
        }
        assert!(Rule::read("no").unwrap_err().contains("begin with '/'"));
    }

    #[test]
    fn a_subscribed_value_is_kept_once_until_it_changes() {
        let mut recording = recording(&["/v *"], true, 50);
        let says = |track: i32, value: f32| packet("/v", &[track.into(), value.into()]);
        let verdicts = [(1, 0.5), (1, 0.5), (2, 0.5), (1, 0.6), (2, 0.5), (1, 0.5)]
            .map(|(track, value)| recording.judge(&mut says(track, value), 0));
        use Verdict::{Ignore, Keep};
        assert_eq!(verdicts, [Keep, Ignore, Keep, Keep, Ignore, Keep]);
    }

    #[test]
    fn a_target_may_say_so_much_in_a_second() {
        let mut recording = recording(&["//"], false, 2);
        let verdicts = [0, 0, 0, 499_999, 500_000, 1_000_000, 60_000_000, 60_000_000, 60_000_000]
            .map(|at| recording.judge(&mut packet("/a", &[]), at));
        use Verdict::{Drop, Keep};
        assert_eq!(verdicts, [Keep, Keep, Drop, Drop, Keep, Keep, Keep, Keep, Drop]);
    }

    #[test]
    fn a_literal_address_is_subscribed_by_the_profile_s_rule() {
        let subscribe = Subscribe {
            part: "/get/".to_owned(),
            by: "/start_listen/".to_owned(),
            renew: std::time::Duration::from_secs(60),
        };
        let message = |text| Rule::read(text).unwrap().subscription(&subscribe);
        let expected = Message::new("/live/track/start_listen/volume", vec![Argument::Int(0)]);
        assert_eq!(message("/live/track/get/volume 0"), Some(expected));
        assert_eq!(message("/live/track/get/*"), None);
        assert_eq!(message("/live/song/beat"), None);
    }
}
