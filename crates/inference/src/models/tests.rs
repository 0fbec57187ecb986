use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn settings(value: serde_json::Value) -> ModelSettings {
    serde_json::from_value(value).unwrap()
}

fn gpt() -> ModelSettings {
    settings(serde_json::json!({
        "name": "openai/gpt-5.6", "tools": false, "temperature": true,
        "prices": [
            { "from": "2026-09-01", "input": 2.0, "output": 8.0, "cache_read": 0.2 },
            { "from": "2026-07-01", "input": 1.25, "output": 10.0 },
        ],
    }))
}

#[test]
fn catalogue_says_what_a_model_takes() {
    let facts = Models::default().facts("anthropic", "claude-opus-5-5");
    assert_eq!(
        *facts,
        Facts {
            name: Some("anthropic/claude-opus-5-5".to_owned()),
            context_tokens: Some(1_000_000),
            max_output_tokens: Some(128_000),
            takes_tools: Some(true),
            takes_images: Some(true),
            temperature: Takes::Never,
            takes_stop: Some(true),
            takes_forced_tools: Some(false),
            efforts: Some(vec![Effort::Low, Effort::Medium, Effort::High]),
            searches_web: None,
            free: false,
            prices: vec![Price {
                since: None,
                input: 4_000_000,
                output: 20_000_000,
                cache_read: Some(200_000),
                cache_write: Some(5_000_000),
            }],
        }
    );
    let gpt = Models::default().facts("openai", "gpt-5.6");
    assert_eq!(gpt.temperature, Takes::WithoutReasoning);
    assert!(gpt.takes_temperature(Some(Effort::None)) && !gpt.takes_temperature(None));
}

#[test]
fn model_with_a_date_is_the_one_without_it_and_an_unknown_one_takes_everything() {
    let models = Models::default();
    let name = |vendor, model| models.facts(vendor, model).name.clone();
    let some = |name: &str| Some(name.to_owned());
    // In the catalogue itself.
    assert_eq!(
        name("anthropic", "claude-haiku-4-5-20251001"),
        some("anthropic/claude-haiku-4-5-20251001")
    );
    assert_eq!(name("anthropic", "claude-opus-5-5-20260901"), some("anthropic/claude-opus-5-5"));
    assert_eq!(name("openai", "gpt-5.6-2026-06-11"), some("openai/gpt-5.6"));
    for unknown in ["gpt-99", "gpt-5.6-20260", "20260101", ""] {
        assert_eq!(*models.facts("openai", unknown), Facts::default(), "{unknown}");
    }
}

#[test]
fn settings_change_what_they_name_and_nothing_else() {
    let before = Models::default().facts("openai", "gpt-5.6");
    let models = Models::with([&gpt()]);
    let after = models.facts("openai", "gpt-5.6-2026-06-11");
    let mut wanted =
        Facts { takes_tools: Some(false), temperature: Takes::Always, ..Facts::clone(&before) };
    let row = |from: &str, input, output, cache_read| Price {
        since: Some(from.parse().unwrap()),
        input,
        output,
        cache_read,
        cache_write: None,
    };
    wanted.prices.push(row("2026-07-01", 1_250_000, 10_000_000, None));
    wanted.prices.push(row("2026-09-01", 2_000_000, 8_000_000, Some(200_000)));
    assert_eq!(*after, wanted);

    let house = settings(serde_json::json!({ "name": "vllm/house", "images": false, "web": true }));
    let facts = Models::with([&house]).facts("vllm", "house");
    let wanted = Facts {
        name: Some("vllm/house".to_owned()),
        takes_images: Some(false),
        searches_web: Some(true),
        ..Facts::default()
    };
    assert_eq!(*facts, wanted);
}

#[test]
fn price_of_the_day_counts_and_is_named() {
    let facts = Models::with([&gpt()]).facts("openai", "gpt-5.6");
    let usage = Usage { cache_read_tokens: 400_000, ..Usage::of(1_000_000, 100_000) };
    let cost = |day: &str| facts.cost(usage, at(day)).unwrap();
    // 0.6 x 4 + 0.4 x 0.4 + 0.1 x 20 dollars.
    let price = |microusd, price: &str| Cost { microusd, price: price.to_owned() };
    assert_eq!(cost("2026-06-30T23:59:59Z"), price(4_560_000, "openai/gpt-5.6@catalogue-0.44.0"));
    // Cached input without a price of its own is input.
    assert_eq!(cost("2026-07-01T00:00:00Z"), price(2_250_000, "openai/gpt-5.6@2026-07-01"));
    assert_eq!(cost("2027-01-01T00:00:00Z"), price(2_080_000, "openai/gpt-5.6@2026-09-01"));
    // One token of input costs a millionth and a bit more: two.
    assert_eq!(
        facts.cost(Usage::of(1, 0), at("2026-07-01T00:00:00Z")),
        Some(price(2, "openai/gpt-5.6@2026-07-01"))
    );
}

#[test]
fn nobody_knows_the_price_of_an_unknown_model_and_this_machine_charges_nothing() {
    let unknown = Models::default().facts("vllm", "house");
    let now = at("2026-11-20T00:00:00Z");
    assert_eq!(unknown.cost(Usage::of(10, 10), now), None);
    let free = Some(Cost { microusd: 0, price: "local".to_owned() });
    assert_eq!(unknown.on_this_machine().cost(Usage::of(10, 10), now), free);
    let cloud = Models::default().facts("ollama", "deepseek-v4-flash");
    assert_eq!(cloud.on_this_machine().cost(Usage::of(10, 10), now), free);
}

#[test]
fn wrong_settings_are_named() {
    assert_eq!(gpt().problems(), Vec::<String>::new());
    let wrong = settings(serde_json::json!({
        "name": "gpt", "context_tokens": 0,
        "prices": [
            { "from": "2026-07-01", "input": -1.0, "output": 1.0 },
            { "from": "2026-07-01", "input": 1.0, "output": 1.0 },
        ],
    }));
    assert_eq!(
        wrong.problems(),
        [
            "name = \"gpt\" is no model; write it as name = \"vendor/model\"",
            "context_tokens = 0 lets nothing through; leave it out if unknown",
            "the prices from 2026-07-01 on are no amounts between 0 and 1000000 dollars",
            "two prices hold from 2026-07-01 on; keep one",
        ]
    );
    for refused in [
        serde_json::json!({ "name": "a/b", "prices": [{ "from": "July", "input": 1.0, "output": 1.0 }] }),
        serde_json::json!({ "name": "a/b", "vision": true }),
    ] {
        assert!(serde_json::from_value::<ModelSettings>(refused).is_err());
    }
}

#[test]
fn catalogue_is_the_version_that_its_prices_name() {
    let manifest = include_str!("../../../../Cargo.toml");
    let version = price::CATALOGUE.strip_prefix("catalogue-").unwrap();
    assert!(manifest.contains(&format!("rig-core = {{ version = \"={version}\"")));
}

fn any_price() -> impl Strategy<Value = Price> {
    let amount = || prop_oneof![0..50_000_000_u64, any::<u64>()];
    (amount(), amount(), proptest::option::of(amount()), proptest::option::of(amount())).prop_map(
        |(input, output, cache_read, cache_write)| Price {
            since: None,
            input,
            output,
            cache_read,
            cache_write,
        },
    )
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let tokens = || prop_oneof![0..2_000_000_u64, any::<u64>()];
    (tokens(), tokens(), tokens(), tokens()).prop_map(|(input, output, read, written)| Usage {
        cache_read_tokens: read,
        cache_write_tokens: written,
        ..Usage::of(input, output)
    })
}

proptest! {
    #[test]
    fn no_usage_overflows_and_more_tokens_never_cost_less(
        price in any_price(), usage in any_usage(), more in 0..u64::MAX,
    ) {
        let cost = price.of(usage);
        let output = Usage { output_tokens: usage.output_tokens.saturating_add(more), ..usage };
        prop_assert!(price.of(output) >= cost);
        let input = Usage { input_tokens: usage.input_tokens.saturating_add(more), ..usage };
        prop_assert!(price.of(input) >= cost);
    }

    #[test]
    fn cost_is_the_exact_amount_rounded_up(
        price in any_price(), input in 0..4_000_000_000_u64, output in 0..4_000_000_000_u64,
    ) {
        let exact = u128::from(input) * u128::from(price.input)
            + u128::from(output) * u128::from(price.output);
        let wanted = exact.div_ceil(1_000_000);
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        prop_assert_eq!(price.of(Usage::of(input, output)), wanted);
    }
}
