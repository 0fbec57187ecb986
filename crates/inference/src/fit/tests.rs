use std::num::NonZeroU8;

use nexus_contracts::{Attachment, AttachmentKind, Message, Role, ToolSpec};
use proptest::prelude::*;

use super::*;
use crate::models::Takes;

fn request(text: &str) -> InferenceRequest {
    InferenceRequest {
        model: "default".to_owned(),
        messages: vec![Message::text(Role::User, text)],
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: Default::default(),
        number: 1,
        start_within_ms: 1,
        timeout_ms: 1,
    }
}

fn tool() -> ToolSpec {
    ToolSpec {
        name: "clock".to_owned(),
        description: "Tells the time.".to_owned(),
        parameters: serde_json::json!({ "type": "object" }),
        effect: nexus_contracts::Effect::Read,
        timeout_ms: 1,
        client: None,
    }
}

fn wishes() -> Sampling {
    Sampling {
        max_output_tokens: NonZeroU32::new(5_000),
        temperature: Some(0.7),
        top_p: Some(0.9),
        seed: Some(1),
        stop: vec!["END".to_owned()],
        reasoning: Some(Effort::High),
        ..Sampling::default()
    }
}

fn fitted(request: &InferenceRequest, facts: &Facts) -> Result<Sampling, Unfit> {
    fit(request, &Files::default(), facts).map(|fitted| fitted.sampling.clone())
}

fn image() -> (Attachment, Files) {
    let attachment = Attachment {
        uri: "blob:t/1".to_owned(),
        sha256: "1".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: 10,
        kind: AttachmentKind::Photo,
        name: None,
    };
    let content =
        Content::Image { media_type: "image/png".to_owned(), base64: "aGk=".to_owned().into() };
    (attachment.clone(), Files::of([(attachment.uri, content)]))
}

#[test]
fn unknown_model_gets_the_request_as_it_is() {
    let asked = InferenceRequest {
        tools: vec![tool()],
        sampling: Sampling {
            tool_choice: Some(ToolChoice::Required),
            samples: NonZeroU8::new(5),
            ..wishes()
        },
        ..request("hi")
    };
    let fitted = fit(&asked, &Files::default(), &Facts::default()).unwrap();
    assert!(matches!(fitted, Cow::Borrowed(same) if *same == asked));
}

/// Every combination of what a model takes, and of what is wished for.
#[test]
fn each_wish_is_left_out_exactly_where_it_is_not_taken() {
    let temperatures = [Takes::Unknown, Takes::Always, Takes::WithoutReasoning, Takes::Never];
    let efforts = [None, Some(vec![]), Some(vec![Effort::Low, Effort::Medium])];
    let limits = [None, Some(400), Some(9_000)];
    for temperature in temperatures {
        for takes_stop in [None, Some(true), Some(false)] {
            for efforts in &efforts {
                for max_output_tokens in limits {
                    for reasoning in [None, Some(Effort::None), Some(Effort::High)] {
                        let facts = Facts {
                            temperature,
                            takes_stop,
                            efforts: efforts.clone(),
                            max_output_tokens,
                            ..Facts::default()
                        };
                        let asked = InferenceRequest {
                            sampling: Sampling { reasoning, ..wishes() },
                            ..request("hi")
                        };
                        let got = fitted(&asked, &facts).unwrap();
                        let warm = match temperature {
                            Takes::Unknown | Takes::Always => true,
                            Takes::WithoutReasoning => reasoning == Some(Effort::None),
                            Takes::Never => false,
                        };
                        let effort = match (efforts.as_deref(), reasoning) {
                            (None, wanted) => wanted,
                            (_, None) | (Some([]), _) => None,
                            (Some(_), Some(Effort::None)) => Some(Effort::Low),
                            (Some(_), Some(_)) => Some(Effort::Medium),
                        };
                        let most = max_output_tokens.unwrap_or(5_000).min(5_000);
                        let wanted = Sampling {
                            max_output_tokens: NonZeroU32::new(u32::try_from(most).unwrap()),
                            temperature: warm.then_some(0.7),
                            top_p: warm.then_some(0.9),
                            seed: warm.then_some(1),
                            stop: if takes_stop == Some(false) { vec![] } else { wishes().stop },
                            reasoning: effort,
                            ..Sampling::default()
                        };
                        assert_eq!(got, wanted, "{facts:?} {reasoning:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn tools_are_called_forced_left_away_or_refused() {
    let named = ToolChoice::Tool { name: "clock".to_owned() };
    let choices = [
        None,
        Some(ToolChoice::Auto),
        Some(ToolChoice::None),
        Some(ToolChoice::Required),
        Some(named),
    ];
    for takes_tools in [None, Some(true), Some(false)] {
        for takes_forced_tools in [None, Some(true), Some(false)] {
            for offered in [false, true] {
                for choice in &choices {
                    let facts = Facts { takes_tools, takes_forced_tools, ..Facts::default() };
                    let asked = InferenceRequest {
                        tools: if offered { vec![tool()] } else { Vec::new() },
                        sampling: Sampling { tool_choice: choice.clone(), ..Sampling::default() },
                        ..request("hi")
                    };
                    let got = fit(&asked, &Files::default(), &facts);
                    let forced =
                        matches!(choice, Some(ToolChoice::Required | ToolChoice::Tool { .. }));
                    let none = *choice == Some(ToolChoice::None);
                    let wanted = match (takes_tools, forced) {
                        (Some(false), true) => Err(Unfit::Tools),
                        (Some(false), false) if offered && !none => Err(Unfit::Tools),
                        (Some(false), false) if none => Ok((0, None)),
                        (_, true) if takes_forced_tools == Some(false) => Err(Unfit::ForcedTool),
                        _ => Ok((usize::from(offered), choice.clone())),
                    };
                    let got = got.map(|got| (got.tools.len(), got.sampling.tool_choice.clone()));
                    assert_eq!(got, wanted, "{facts:?} {offered} {choice:?}");
                }
            }
        }
    }
}

#[test]
fn images_are_never_left_out() {
    let (attachment, files) = image();
    let mut asked = request("what is it?");
    asked.messages[0].parts.push(Part::Attachment { attachment });
    for (takes_images, wanted) in [(None, true), (Some(true), true), (Some(false), false)] {
        let facts = Facts { takes_images, ..Facts::default() };
        assert_eq!(fit(&asked, &files, &facts).is_ok(), wanted);
        // What no model is shown is not seen by anyone.
        assert!(fit(&asked, &Files::default(), &facts).is_ok());
    }
    let blind = Facts { takes_images: Some(false), ..Facts::default() };
    assert_eq!(fit(&asked, &files, &blind), Err(Unfit::Images));
}

#[test]
fn several_samples_need_a_temperature() {
    let asked = |reasoning| InferenceRequest {
        sampling: Sampling { samples: NonZeroU8::new(3), reasoning, ..Sampling::default() },
        ..request("hi")
    };
    let facts = |temperature| Facts { temperature, ..Facts::default() };
    assert_eq!(fitted(&asked(None), &facts(Takes::Never)), Err(Unfit::Samples));
    assert_eq!(fitted(&asked(None), &facts(Takes::WithoutReasoning)), Err(Unfit::Samples));
    assert!(fitted(&asked(Some(Effort::None)), &facts(Takes::WithoutReasoning)).is_ok());
    assert!(fitted(&asked(None), &facts(Takes::Always)).is_ok());
}

#[test]
fn answer_gets_what_the_context_leaves() {
    // 4 for the message and 1,000 for the text.
    let mut asked = request(&"word".repeat(1_000));
    let tokens = estimate(&asked);
    assert_eq!(tokens, 1_004);
    let facts = |limit| Facts { context_tokens: Some(limit), ..Facts::default() };
    let most = |asked: &InferenceRequest, limit| {
        fitted(asked, &facts(limit)).map(|got| got.max_output_tokens.map(NonZeroU32::get))
    };
    let too_long = |limit| Err(Unfit::Context { tokens, limit });

    assert_eq!(most(&asked, 1_004 + 256), Ok(None));
    assert_eq!(most(&asked, 1_004 + 255), too_long(1_259));
    asked.sampling.max_output_tokens = NonZeroU32::new(5_000);
    assert_eq!(most(&asked, 10_000), Ok(Some(5_000)));
    assert_eq!(most(&asked, 4_004), Ok(Some(3_000)));
    assert_eq!(most(&asked, 1_200), too_long(1_200));
    assert_eq!(most(&asked, 100), too_long(100));
    asked.sampling.max_output_tokens = NonZeroU32::new(10);
    assert_eq!(most(&asked, 1_014), Ok(Some(10)));
    assert_eq!(most(&asked, 1_013), too_long(1_013));
}

#[test]
fn tools_calls_and_files_count() {
    let plain = estimate(&request("hi"));
    let with_tool = InferenceRequest { tools: vec![tool()], ..request("hi") };
    assert!(estimate(&with_tool) > plain + 8);
    let (attachment, files) = image();
    let mut with_image = request("hi");
    with_image.messages[0].parts.push(Part::Attachment { attachment });
    assert_eq!(estimate(&with_image), plain + 1_000);
    assert_eq!(tokens::with_files(&with_image, &files), plain + 1_000);
}

proptest! {
    #[test]
    fn estimate_grows_with_the_text(text in ".{0,200}", more in ".{1,50}") {
        let longer = format!("{text}{more}");
        prop_assert!(estimate(&request(&longer)) >= estimate(&request(&text)));
        // No tokenizer makes more tokens than bytes.
        prop_assert!(estimate(&request(&text)) <= 4 + text.len() as u64);
    }
}
