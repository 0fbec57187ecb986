//! The codec crate's body in the protocol's plain words.

use serde_json::Value;

/// Takes out what says nothing: fields without a value, parts that say that they are no thought,
/// the role of instructions; and spells the one field that is spelled otherwise.
pub(super) fn tidy(body: &mut Value) {
    let Some(fields) = body.as_object_mut() else {
        return;
    };
    fields.retain(|_, value| !value.is_null());
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(tool) = tool.as_object_mut() {
            tool.retain(|_, value| !value.is_null());
        }
    }
    if let Some(system) = fields.get_mut("systemInstruction") {
        without(system, "role");
        parts(system);
    }
    for content in fields.get_mut("contents").and_then(Value::as_array_mut).into_iter().flatten() {
        parts(content);
    }
    if let Some(choice) = body.pointer_mut("/toolConfig/functionCallingConfig")
        && let Some(names) = without(choice, "allowed_function_names")
        && let Some(choice) = choice.as_object_mut()
    {
        choice.insert("allowedFunctionNames".to_owned(), names);
    }
}

fn parts(content: &mut Value) {
    let parts = content.get_mut("parts").and_then(Value::as_array_mut);
    for part in parts.into_iter().flatten() {
        if part.get("thought") == Some(&Value::Bool(false)) {
            without(part, "thought");
        }
    }
}

fn without(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.remove(field)
}
