//! About how many tokens a request has, on the safe side: rather more than it will be.
//!
//! No tokenizer: there is one for each family of models, and an estimate is only used for limits,
//! budgets and the choice of a model. Text in Latin letters has about 4 characters to a token at
//! today's tokenizers; digits and signs come in shorter pieces, other alphabets in shorter ones
//! still, and Chinese, Japanese and Korean in about one character.

use nexus_contracts::{Attachment, InferenceRequest, Message, Part};

use crate::files::{Content, Files};

/// For an image, whatever its size: what the large providers count for one of about a megapixel.
const IMAGE: u64 = 1_000;
/// Role and frame of a message.
const MESSAGE: u64 = 4;
/// Name and frame of a tool or of a call.
const FRAME: u64 = 8;
/// Most bytes of a text file that a model is shown.
const SHOWN: u64 = 50 * 1024;

/// About how many tokens the request has, for limits and budgets.
///
/// Without a look into its files: an image counts flat, a text file as long as it is.
pub(crate) fn estimate(request: &InferenceRequest) -> u64 {
    count(request, |attachment| {
        let media_type = attachment.media_type.as_str();
        if media_type.starts_with("image/") {
            IMAGE
        } else if media_type.starts_with("text/") || media_type.contains("json") {
            attachment.bytes.min(SHOWN).div_ceil(3)
        } else {
            text(&attachment.note())
        }
    })
}

/// [`estimate`] with what the model is really shown of the files.
pub(super) fn with_files(request: &InferenceRequest, files: &Files) -> u64 {
    count(request, |attachment| match files.content(attachment) {
        Some(Content::Image { .. }) => IMAGE,
        Some(Content::Text(shown)) => text(shown),
        None => text(&attachment.note()),
    })
}

fn count(request: &InferenceRequest, file: impl Fn(&Attachment) -> u64) -> u64 {
    let part = |part: &Part| match part {
        Part::Text { text: said } => text(said),
        Part::Attachment { attachment } => file(attachment),
        Part::ToolCall { tool, arguments, .. } => FRAME + text(tool) + text(arguments),
        Part::ToolResult { text: result, .. } => FRAME + text(result),
        // Stands instead of the other parts, or is not shown: counted there.
        Part::Native { .. } => 0,
    };
    let message = |message: &Message| MESSAGE + message.parts.iter().map(part).sum::<u64>();
    let tools = request.tools.iter().map(|tool| {
        FRAME + text(&tool.name) + text(&tool.description) + text(&tool.parameters.to_string())
    });
    request.messages.iter().map(message).sum::<u64>() + tools.sum::<u64>()
}

/// About how many tokens a text has.
fn text(text: &str) -> u64 {
    // In twelfths of a token, so that each kind of character is a whole number.
    let twelfths = |character: char| match character {
        'a'..='z' | 'A'..='Z' | ' ' => 3,
        '\0'..='\u{7f}' => 5,
        '\u{80}'..='\u{7ff}' => 6,
        _ => 12,
    };
    text.chars().map(twelfths).sum::<u64>().div_ceil(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_count_as_their_tokenizers_cut_them() {
        for (said, least, most) in [
            ("", 0, 0),
            // A token for each word is the least that today's tokenizers make of these two.
            ("The quick brown fox jumps over the lazy dog", 9, 12),
            ("Der schnelle braune Fuchs springt über den faulen Hund", 9, 18),
            ("你好世界", 4, 4),
            ("{\"a\": [1, 2, 3]}", 6, 12),
        ] {
            let tokens = text(said);
            assert!((least..=most).contains(&tokens), "{said}: {tokens}");
        }
    }
}
