//! Parts of a content.

use serde_json::{Value, json};

use crate::ask::Ask;
use crate::rule::{At, Checked};

/// Gemini takes no GIF.
const IMAGES: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"];
/// What a part may hold, one of them.
const DATA: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];

/// Whose turn it was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    User,
    Model,
}

/// What the parts of a content are.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) text: String,
    /// Names of the functions.
    pub(super) calls: Vec<&'a str>,
    pub(super) responses: Vec<&'a str>,
}

pub(super) fn check_parts<'a>(content: &At<'a>, model: bool, ask: &mut Ask) -> Checked<Parts<'a>> {
    let mut found = Parts::default();
    let parts = content.objects("parts")?;
    if parts.is_empty() {
        return content.wrong("parts", "contents.parts must not be empty.");
    }
    for part in &parts {
        let mut fields = DATA.to_vec();
        fields.extend(["thought", "thoughtSignature", "videoMetadata"]);
        part.only(&[], &fields)?;
        let data: Vec<_> = DATA.iter().filter(|name| part.object.contains_key(**name)).collect();
        let [data] = data.as_slice() else {
            return part
                .wrong("data", "required oneof field 'data' must have one initialized field");
        };
        match **data {
            "text" => found.text.push_str(part.text("text")?.unwrap_or_default()),
            "inlineData" => {
                let image = At::new(part.at("inlineData"), &part.object["inlineData"])?;
                image.only(&["mimeType", "data"], &[])?;
                image.image("data", image.some_text("mimeType")?, &IMAGES)?;
                ask.images += 1;
            }
            "functionCall" => {
                let call = At::new(part.at("functionCall"), &part.object["functionCall"])?;
                call.only(&["name"], &["args", "id"])?;
                if !model {
                    return call.wrong("name", "a function call has to have the role model");
                }
                call.object("args")?;
                if found.calls.is_empty() {
                    // Of calls in parallel only the first one is signed.
                    match part.text("thoughtSignature")? {
                        Some(signature) => ask.thoughts.push(json!(signature)),
                        None => ask.lacks_thoughts = true,
                    }
                }
                found.calls.push(call.function_name("name", 64)?);
            }
            "functionResponse" => {
                let answer =
                    At::new(part.at("functionResponse"), &part.object["functionResponse"])?;
                answer
                    .only(&["name", "response"], &["id", "parts", "willContinue", "scheduling"])?;
                if model {
                    return answer.wrong("name", "a function response has to have the role user");
                }
                if !answer.get("response").is_some_and(Value::is_object) {
                    return answer.wrong("response", "Invalid value (Struct)");
                }
                found.responses.push(answer.some_text("name")?);
            }
            _ => {}
        }
    }
    if !found.responses.is_empty() && found.responses.len() != parts.len() {
        return content.wrong("parts", "function responses stand alone in their turn");
    }
    Ok(found)
}
