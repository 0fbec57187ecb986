//! Where messages may go: which hosts, and which addresses there. Pure.

use std::net::IpAddr;

use nexus_osc_codec::{Pattern, PatternError};

/// The addresses that may be sent to; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Allow {
    patterns: Vec<(String, Pattern)>,
}

/// Characters that make a name in an address a pattern.
const SPECIAL: [char; 6] = ['?', '*', '[', ']', '{', '}'];

impl Allow {
    /// # Errors
    /// The pattern that is none, and why.
    pub(crate) fn compile<'p>(
        patterns: impl Iterator<Item = &'p String>,
    ) -> Result<Self, (String, PatternError)> {
        let compiled = patterns.map(|text| match Pattern::compile(text) {
            Ok(pattern) => Ok((text.clone(), pattern)),
            Err(error) => Err((text.clone(), error)),
        });
        Ok(Self { patterns: compiled.collect::<Result<_, _>>()? })
    }

    /// Whether a message may go there; an address with wildcards only where all that it may mean is
    /// allowed.
    pub(crate) fn permits(&self, address: &str) -> bool {
        let literal = !address.contains(SPECIAL) && !address.contains("//");
        self.patterns.iter().any(|(text, pattern)| {
            if literal { pattern.matches(address) } else { text == "//" || covers(text, address) }
        })
    }

    /// The patterns, for the message that says what is allowed.
    pub(crate) fn text(&self) -> String {
        if self.patterns.is_empty() {
            return "none".to_owned();
        }
        let texts: Vec<&str> = self.patterns.iter().map(|(text, _)| text.as_str()).collect();
        texts.join(" ")
    }
}

/// Whether an allowed pattern names everything that an address with wildcards names.
fn covers(allowed: &str, address: &str) -> bool {
    if allowed.contains("//") || address.contains("//") {
        return false;
    }
    let (mut allowed, mut parts) = (allowed.split('/'), address.split('/'));
    loop {
        match (allowed.next(), parts.next()) {
            (None, None) => return true,
            (Some(allowed), Some(part)) => {
                let literal = !part.contains(SPECIAL);
                let named = || {
                    Pattern::compile(&format!("/{allowed}"))
                        .is_ok_and(|pattern| pattern.matches(&format!("/{part}")))
                };
                if !(allowed == "*" || allowed == part || (literal && named())) {
                    return false;
                }
            }
            (None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// Whether a host is this machine or one of a private network.
///
/// # Source
/// RFC 1918, RFC 3927, RFC 4193 and RFC 4291, section 2.5.6.
pub(crate) fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(patterns: &[&str]) -> Allow {
        let texts: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        Allow::compile(texts.iter()).unwrap()
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!Allow::default().permits("/a"));
        assert_eq!(Allow::default().text(), "none");
    }

    #[test]
    fn wildcards_reach_no_further_than_what_is_allowed() {
        let some =
            allow(&["/live/clip/get/*", "/live/{song,track}/set/*", "/live/track/get/volume"]);
        for address in [
            "/live/clip/get/name",
            "/live/clip/get/*",
            "/live/clip/get/{name,gain}",
            "/live/song/set/tempo",
            "/live/track/set/*",
            "/live/track/get/volume",
        ] {
            assert!(some.permits(address), "{address}");
        }
        for address in [
            "/live/clip/delete",
            "/live/*/get/name",
            "/live/{song,api}/set/x",
            "/live/track/get/vol*",
            "//set/tempo",
            "/live//clip/get/name",
            "/live/clip/get",
            "/live/clip/get/a/b",
        ] {
            assert!(!some.permits(address), "{address}");
        }
    }

    #[test]
    fn a_question_mark_is_no_cover_for_a_star() {
        assert!(!allow(&["/a/?"]).permits("/a/*"));
        assert!(allow(&["//"]).permits("/a/*") && allow(&["//"]).permits("//b"));
    }

    #[test]
    fn near_is_this_machine_and_private_networks() {
        for (ip, near) in [
            ("127.0.0.1", true),
            ("192.168.1.20", true),
            ("10.0.0.1", true),
            ("169.254.1.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("8.8.8.8", false),
            ("100.64.0.1", false),
            ("2001:db8::1", false),
            ("::ffff:8.8.8.8", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(is_near(ip.parse().unwrap()), near, "{ip}");
        }
    }
}
