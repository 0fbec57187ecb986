//! What bytes are, whatever their sender says.

/// The image types that models see.
pub const VIEWABLE_IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Most bytes of an image that models see: the smallest limit among the providers (Anthropic,
/// "Vision", image size limits), so that every provider takes it.
pub const MAX_IMAGE_BYTES: usize = 5 * 1024 * 1024;

/// The type of an image that models see, by its signature.
#[must_use]
pub fn viewable_image(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        // Signature alone would take "GIF89a is a format" for an image.
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] if text(bytes).is_none() => {
            Some("image/gif")
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..]
            if text(bytes).is_none() =>
        {
            Some("image/webp")
        }
        _ => None,
    }
}

/// The bytes as text, without a byte order mark; `None` when they are none: other encodings than
/// UTF-8, control characters, and PDF, which may look like text.
#[must_use]
pub fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Logs have escape sequences, old sources have form feeds.
    let control = |c: char| c.is_ascii_control() && !"\t\n\r\u{c}\u{1b}".contains(c);
    (!text.contains(control) && !text.starts_with("%PDF-")).then_some(text)
}

/// Whether somebody calls something an image that models see, and it is none.
#[must_use]
pub fn is_false_image(bytes: &[u8], claimed: &str) -> bool {
    VIEWABLE_IMAGES.contains(&essence(claimed).as_str()) && viewable_image(bytes).is_none()
}

/// What the bytes are; the sender's word counts for text alone, which has no signature.
pub(crate) fn media_type(bytes: &[u8], claimed: Option<&str>) -> String {
    if let Some(image) = viewable_image(bytes) {
        return image.to_owned();
    }
    let signature = infer::get(bytes).map(|kind| kind.mime_type());
    if text(bytes).is_none() {
        // Its signatures of these are shorter than ours.
        let sure = signature.filter(|name| !VIEWABLE_IMAGES.contains(name));
        return sure.unwrap_or("application/octet-stream").to_owned();
    }
    // Text may begin with the letters of a signature: "BMW" is no bitmap.
    if let Some(markup) = signature.filter(|name| name.starts_with("text/")) {
        return markup.to_owned();
    }
    let textual = |name: &&str| {
        let name = essence(name);
        let known = ["application/json", "application/xml", "image/svg+xml"];
        name.starts_with("text/") || known.contains(&name.as_str())
    };
    claimed.filter(textual).unwrap_or("text/plain").to_owned()
}

/// A media type without parameters, in lower case.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_tell_images_from_text_that_begins_alike() {
        for (bytes, is) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg")),
            (b"GIF89a\x01\0\x01\0\x80\0\0", Some("image/gif")),
            (b"RIFF\x1a\0\0\0WEBPVP8L", Some("image/webp")),
            (b"GIF89a is a format", None),
            (b"RIFFs in WEBPages", None),
            (b"\x89PNG", None),
            (b"", None),
        ] {
            assert_eq!(viewable_image(bytes), is, "{bytes:?}");
            assert_eq!(is_false_image(bytes, "Image/PNG; x=1"), is.is_none(), "{bytes:?}");
        }
        assert!(!is_false_image(b"<svg/>", "image/svg+xml"));
    }

    #[test]
    fn types_are_sniffed_and_claims_count_for_text_alone() {
        for (bytes, claimed, expected) in [
            (&b"{\"a\":1}"[..], Some("application/json"), "application/json"),
            (b"<svg/>", Some("image/svg+xml"), "image/svg+xml"),
            (b"hello", Some("image/png"), "text/plain"),
            (b"BMW and GIF", None, "text/plain"),
            (b"#!/bin/sh\n", None, "text/x-shellscript"),
            (b"BM\x1a\0\0\0\0\0", Some("image/png"), "image/bmp"),
            (b"\0\0\x01\0\x01\0", None, "image/vnd.microsoft.icon"),
            (b"%PDF-1.7\n", Some("text/plain"), "application/pdf"),
            (b"\x89PNGx", None, "application/octet-stream"),
            (b"\0\x01\x02", Some("text/plain"), "application/octet-stream"),
        ] {
            assert_eq!(media_type(bytes, claimed), expected, "{bytes:?}");
        }
    }

    #[test]
    fn text_is_utf_8_without_control_characters() {
        assert_eq!(text("\u{feff}größe\r\n\x1b[1m".as_bytes()), Some("größe\r\n\x1b[1m"));
        for binary in [&b"a\0b"[..], b"gr\xf6\xdfe", b"\x01", b"%PDF-1.7"] {
            assert_eq!(text(binary), None, "{binary:?}");
        }
    }
}
