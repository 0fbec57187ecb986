//! What a wild model calls never reaches the game unless it was declared and fits.

use super::*;

/// A small generator, so that a failure can be repeated from its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.roll(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(i64::try_from(self.roll(12)).unwrap() - 2),
            3 => json!(self.one(&["north", "south", "up", "", "\u{0}", "🧀"])),
            4 => json!(9_007_199_254_740_993_i64),
            5 => json!(0.5),
            6 => json!("x".repeat(self.roll(20_000))),
            7 => Value::Array((0..self.roll(4)).map(|_| self.value(depth - 1)).collect()),
            _ => self.object(depth - 1),
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let fields = self.roll(4);
        let names = ["to", "steps", "note", "door", "__proto__", "type"];
        Value::Object(
            (0..fields).map(|_| (self.one(&names).to_owned(), self.value(depth))).collect(),
        )
    }

    /// Arguments as a model may write them; every third one fits.
    fn arguments(&mut self) -> String {
        match self.roll(6) {
            0 => json!({ "to": "south", "note": "x".repeat(self.roll(40_000)) }).to_string(),
            1 => json!({ "to": self.one(&["north", "south"]), "steps": self.roll(9) + 1 })
                .to_string(),
            2 => self.value(3).to_string(),
            3 => self.object(3).to_string(),
            4 => {
                let mut text = self.object(2).to_string();
                text.truncate(text.floor_char_boundary(self.roll(text.len() + 1)));
                text
            }
            _ => self
                .one(&[
                    "",
                    "{}",
                    "null",
                    "[]",
                    "{'to':'north'}",
                    "```json\n{}\n```",
                    "{\"to\":\"north\",\"to\":\"up\"}",
                ])
                .to_owned(),
        }
    }
}

/// What the declaration below says, written out by hand.
fn is_valid(name: &str, args: &Value) -> bool {
    let Some(args) = args.as_object() else { return false };
    match name {
        "walk" => {
            let to = args.get("to").and_then(Value::as_str);
            let steps = args.get("steps");
            let known = |name: &String| ["to", "steps", "note"].contains(&name.as_str());
            let is_count = |steps: &Value| {
                steps.as_f64().is_some_and(|n| n.fract() == 0.0 && (1.0..=9.0).contains(&n))
            };
            to.is_some_and(|to| ["north", "south"].contains(&to))
                && steps.is_none_or(is_count)
                && args.get("note").is_none_or(Value::is_string)
                && args.keys().all(known)
        }
        "wave" => args.is_empty(),
        _ => false,
    }
}

#[test]
fn of_10_000_wild_actions_none_that_is_undeclared_or_invalid_is_delivered() {
    let mut game = Game::begin();
    let walk = json!({
        "type": "object", "required": ["to"], "additionalProperties": false,
        "properties": {
            "to": { "enum": ["north", "south"] },
            "steps": { "type": "integer", "minimum": 1, "maximum": 9 },
            "note": { "type": "string" },
        },
    });
    let actions = json!([{ "name": "walk", "args": walk }, { "name": "wave" }]);
    game.says(json!({ "type": "npc.open", "npc": "smith", "actions": actions }));
    let run = game.line("Go wild");
    let offer = game.asked[0].tools.clone().unwrap();
    let (mut dice, mut delivered, mut refused) = (Dice(20_261_120), 0, 0);
    for number in 0..10_000 {
        let name = dice.one(&["walk", "walk", "wave", "Walk", "walk ", "open_door", "", "../walk"]);
        let arguments = dice.arguments();
        let frames = match offer.check(name, &arguments) {
            Ok(arguments) => game.call(run, name, arguments),
            Err(outcome) => {
                assert!(outcome.is_error());
                refused += 1;
                continue;
            }
        };
        for frame in frames {
            assert_eq!(frame["type"], "action");
            let (name, args) = (frame["name"].as_str().unwrap(), &frame["args"]);
            assert!(is_valid(name, args), "call {number}: {name} {args}");
            delivered += 1;
        }
    }
    let too_long = game.answers().len();
    assert_eq!(delivered + refused + too_long, 10_000, "each is delivered or answered");
    assert!(delivered > 500 && refused > 1_000 && too_long > 0, "{delivered} {refused} {too_long}");
}
