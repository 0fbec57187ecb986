use super::*;

const PATIENCE: Patience = Patience { default_ms: 2_000, most_ms: 30_000 };

fn declared(value: Value) -> Vec<Declaration> {
    serde_json::from_value(value).unwrap()
}

fn offer(value: Value) -> Result<Offer, BadTool> {
    Offer::new(declared(value), PATIENCE, Numbers::Any)
}

fn code(outcome: ToolOutcome) -> String {
    match outcome {
        ToolOutcome::Failed { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tool_is_offered_as_it_was_declared() {
    let parameters = json!({ "type": "object", "properties": { "to": { "type": "string" } } });
    let offer = offer(json!([
        { "name": "walk", "description": "Walks.", "parameters": parameters, "effect": "read", "timeout_ms": 90_000 },
        { "name": "wave" },
    ]))
    .unwrap();
    let specs = offer.specs("device:phone");
    let walk = ToolSpec {
        name: "walk".to_owned(),
        description: "Walks.".to_owned(),
        parameters,
        effect: Effect::Read,
        timeout_ms: 30_000,
        client: Some("device:phone".to_owned()),
    };
    assert_eq!(specs[0], walk);
    assert_eq!((specs[1].effect, specs[1].timeout_ms), (Effect::Write, 2_000));
    assert_eq!(offer.check("wave", ""), Ok(json!({})));
    assert_eq!(code(offer.check("wave", r#"{"at":1}"#).unwrap_err()), "invalid_arguments");
    assert_eq!(code(offer.check("dance", "{}").unwrap_err()), "tool_not_declared");
}

#[test]
fn a_tool_that_cannot_be_offered_is_refused_with_the_reason() {
    let name = |name: &str| offer(json!([{ "name": name }])).unwrap_err();
    for wrong in ["", "a b", "ä", "a.b", &"x".repeat(65)] {
        assert_eq!(name(wrong), BadTool::Name { name: wrong.to_owned() });
    }
    let twice = offer(json!([{ "name": "a" }, { "name": "a" }])).unwrap_err();
    assert_eq!(twice, BadTool::Twice { name: "a".to_owned() });
    let many: Vec<Value> = (0..129).map(|n| json!({ "name": format!("t{n}") })).collect();
    assert_eq!(offer(json!(many)).unwrap_err(), BadTool::TooMany { count: 129 });
    for schema in [
        json!(true),
        json!({}),
        json!({ "type": "string" }),
        json!({ "type": "object", "required": 3 }),
    ] {
        let refused = offer(json!([{ "name": "a", "parameters": schema }])).unwrap_err();
        assert!(matches!(refused, BadTool::Schema { .. }), "{schema}: {refused}");
    }
}

#[test]
fn a_schema_that_leads_elsewhere_is_refused() {
    for place in ["http://127.0.0.1:1/x", "https://example.com/x.json", "file:///etc/passwd"] {
        let schema = json!({ "type": "object", "properties": { "a": { "$ref": place } } });
        let refused = offer(json!([{ "name": "a", "parameters": schema }]));
        assert!(matches!(refused, Err(BadTool::Schema { .. })), "{place}");
    }
}

#[test]
fn a_game_is_sent_no_integer_beyond_32_bits() {
    let tools = json!([{ "name": "pay", "args": { "type": "object" } }]);
    let small = Offer::new(declared(tools.clone()), PATIENCE, Numbers::Small).unwrap();
    for fits in [r#"{"a":2147483647,"b":[-2147483648],"c":1e300}"#, r#"{"a":"9007199254740993"}"#] {
        assert!(small.check("pay", fits).is_ok(), "{fits}");
    }
    for wide in
        [r#"{"a":2147483648}"#, r#"{"a":[{"b":-2147483649}]}"#, r#"{"a":18446744073709551615}"#]
    {
        assert_eq!(code(small.check("pay", wide).unwrap_err()), "invalid_arguments", "{wide}");
        assert!(offer(tools.clone()).unwrap().check("pay", wide).is_ok(), "{wide}");
    }
}
