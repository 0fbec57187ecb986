//! Which addresses Telegram takes for links.

use url::{Host, Url};

/// Longest address that is made a link; longer ones are tracking or an attack.
const LONGEST: usize = 2048;

/// The address as Telegram takes it; `None` where it would leave out the link without a word.
///
/// # Source
/// TDLib, `LinkManager::check_link`: http, https or tg, and a host with a dot.
pub(super) fn linkable(address: &str) -> Option<String> {
    let url = Url::parse(address.trim()).ok()?;
    let is_fine = match (url.scheme(), url.host()?) {
        ("http" | "https", Host::Domain(domain)) => domain.trim_matches('.').contains('.'),
        ("http" | "https", Host::Ipv4(_) | Host::Ipv6(_)) => true,
        ("tg", Host::Domain(domain)) => {
            let is_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
            domain.chars().all(is_name) && url.port().is_none()
        }
        _ => false,
    };
    // A name before the host is there to look like a host.
    let is_fine = is_fine && url.username().is_empty() && url.password().is_none();
    let url = String::from(url);
    (is_fine && url.len() <= LONGEST).then_some(url)
}

/// What a reader is told of an address that cannot be a link; `None` if the text says it already.
pub(super) fn told<'a>(address: &'a str, text: &str) -> Option<&'a str> {
    let bare = ["mailto:", "tel:"].iter().find_map(|scheme| address.strip_prefix(scheme));
    let text = text.trim();
    let is_said = address.is_empty() || address == text || bare == Some(text);
    (!is_said).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_telegram_takes_is_a_link() {
        for (address, link) in [
            ("https://example.com/a?b=c#d", Some("https://example.com/a?b=c#d")),
            ("HTTP://Example.com", Some("http://example.com/")),
            ("https://example.com/a b", Some("https://example.com/a%20b")),
            ("https://münchen.de", Some("https://xn--mnchen-3ya.de/")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
            ("http://[::1]/", Some("http://[::1]/")),
            ("tg://user?id=7", Some("tg://user?id=7")),
            ("http://localhost:3000", None),
            ("http://com.", None),
            ("https://bank.com@evil.org/", None),
            ("https://bank.com@127.0.0.1/", None),
            ("https://:bank.com@evil.org/", None),
            ("tg://a.b/", None),
            ("tg:user", None),
            ("ftp://example.com", None),
            ("javascript:alert(1)", None),
            ("mailto:a@example.com", None),
            ("docs/readme.md", None),
            ("#top", None),
            ("", None),
        ] {
            assert_eq!(linkable(address).as_deref(), link, "{address}");
        }
        assert_eq!(linkable(&format!("https://example.com/{}", "x".repeat(3000))), None);
    }

    #[test]
    fn an_address_is_told_once() {
        assert_eq!(told("docs/a.md", "the docs"), Some("docs/a.md"));
        assert_eq!(told("docs/a.md", " docs/a.md "), None);
        assert_eq!(told("mailto:a@example.com", "a@example.com"), None);
        assert_eq!(told("mailto:a@example.com", "write"), Some("mailto:a@example.com"));
        assert_eq!(told("", "x"), None);
    }
}
