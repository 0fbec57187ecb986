//! The master keys by their ids: pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_contracts::TenantId;
use ring::aead::NONCE_LEN;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::seal::{Binding, KEY_BYTES, MasterKey, Sealed};

/// The master keys: the first one encrypts, all decrypt.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<(String, MasterKey)>,
    place: String,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids().collect::<Vec<_>>()).finish()
    }
}

impl Keyring {
    /// Reads lines `v2 BASE64`, the one that encrypts first. Empty lines and such that begin with
    /// `#` are passed over. `place` is what errors call it.
    ///
    /// # Errors
    /// [`Error::KeyLine`] naming the line, never its text.
    pub fn parse(text: &str, place: &str) -> Result<Self, Error> {
        let mut keys: Vec<(String, MasterKey)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong =
                |reason| Error::KeyLine { place: place.to_owned(), line: index + 1, reason };
            let (id, key) =
                line.split_once(char::is_whitespace).ok_or_else(|| wrong("it has one word"))?;
            if version(id).is_none() {
                return Err(wrong("its id is not v and a number"));
            }
            if keys.iter().any(|(known, _)| known == id) {
                return Err(wrong("its id stands in another line too"));
            }
            let bytes = STANDARD.decode(key.trim()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| wrong("its key is no base64"))?;
            let key = MasterKey::new(&bytes).ok_or_else(|| wrong("its key has another length"))?;
            keys.push((id.to_owned(), key));
        }
        Ok(Self { keys, place: place.to_owned() })
    }

    /// A line for a file of keys.
    pub(crate) fn line(id: &str, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(key));
        Zeroizing::new(format!("{id} {}\n", encoded.as_str()))
    }

    /// The ids, the one that encrypts first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(id, _)| id.as_str())
    }

    /// The id of the key that encrypts.
    ///
    /// # Errors
    /// [`Error::NoKeys`] when there is none.
    pub fn first(&self) -> Result<&str, Error> {
        self.ids().next().ok_or_else(|| Error::NoKeys { place: self.place.clone() })
    }

    /// The id for the next key.
    pub(crate) fn next_id(&self) -> String {
        let newest = self.ids().filter_map(version).max().unwrap_or(0);
        format!("v{}", newest.saturating_add(1))
    }

    /// Encrypts under the first key, whose id is returned with it.
    ///
    /// # Errors
    /// [`Error::NoKeys`]; [`Error::Sealed`] for more bytes than the cipher takes.
    pub fn seal(
        &self,
        binding: Unversioned<'_>,
        nonce: [u8; NONCE_LEN],
        secret: &SecretString,
    ) -> Result<(&str, Sealed), Error> {
        let key_id = self.first()?;
        let sealed = self
            .key(key_id)
            .and_then(|key| key.seal(binding.under(key_id), nonce, secret))
            .ok_or_else(|| binding.wrong(key_id))?;
        Ok((key_id, sealed))
    }

    /// Decrypts what was encrypted under the key with this id.
    ///
    /// # Errors
    /// [`Error::NoKeys`], [`Error::UnknownKey`], or [`Error::Sealed`] when anything was changed.
    pub fn open(
        &self,
        binding: Unversioned<'_>,
        key_id: &str,
        sealed: &Sealed,
    ) -> Result<SecretString, Error> {
        self.first()?;
        let key = self.key(key_id).ok_or_else(|| Error::UnknownKey {
            key_id: key_id.to_owned(),
            place: self.place.clone(),
            known: self.ids().collect::<Vec<_>>().join(", "),
        })?;
        key.open(binding.under(key_id), sealed).ok_or_else(|| binding.wrong(key_id))
    }

    fn key(&self, id: &str) -> Option<&MasterKey> {
        self.keys.iter().find_map(|(known, key)| (known == id).then_some(key))
    }
}

/// A [`Binding`] without the key's version, which the keyring adds.
#[derive(Debug, Clone, Copy)]
pub struct Unversioned<'a> {
    pub tenant: TenantId,
    pub user: Option<&'a str>,
    pub service: &'a str,
    pub base_url: Option<&'a str>,
}

impl<'a> Unversioned<'a> {
    fn under(self, key_id: &'a str) -> Binding<'a> {
        let Self { tenant, user, service, base_url } = self;
        Binding { tenant, user, service, key_id, base_url }
    }

    fn wrong(self, key_id: &str) -> Error {
        Error::Sealed { service: self.service.to_owned(), key_id: key_id.to_owned() }
    }
}

fn version(id: &str) -> Option<u32> {
    id.strip_prefix('v')?.parse().ok().filter(|version| format!("v{version}") == id)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use uuid::Uuid;

    use super::*;

    const BOUND: Unversioned<'static> = Unversioned {
        tenant: TenantId(Uuid::from_u128(1)),
        user: None,
        service: "llm_openai",
        base_url: None,
    };

    fn line(id: &str, byte: u8) -> String {
        Keyring::line(id, &[byte; KEY_BYTES]).as_str().to_owned()
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let old = Keyring::parse(&line("v1", 1), "keys").unwrap();
        let both = format!("# newest first\n\n{}{}", line("v2", 2), line("v1", 1));
        let both = Keyring::parse(&both, "keys").unwrap();
        assert_eq!((both.first().unwrap(), both.next_id()), ("v2", "v3".to_owned()));

        let secret = SecretString::from("sk-secret".to_owned());
        let (id, under_old) = old.seal(BOUND, [0; NONCE_LEN], &secret).unwrap();
        assert_eq!(id, "v1");
        assert_eq!(both.open(BOUND, "v1", &under_old).unwrap().expose_secret(), "sk-secret");
        assert_eq!(both.seal(BOUND, [0; NONCE_LEN], &secret).unwrap().0, "v2");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let ring = Keyring::parse(&line("v2", 2), "master.keys").unwrap();
        let (_, sealed) = ring.seal(BOUND, [0; NONCE_LEN], &"s".into()).unwrap();
        assert_eq!(
            ring.open(BOUND, "v1", &sealed).unwrap_err().to_string(),
            "there is no master key \"v1\" in master.keys, only v2; add its line again, or remove the credential and add it anew"
        );
        let another = Keyring::parse(&line("v2", 3), "master.keys").unwrap();
        assert!(
            another
                .open(BOUND, "v2", &sealed)
                .unwrap_err()
                .to_string()
                .starts_with("the credential for llm_openai does not decrypt under master key v2:")
        );
        let none = Keyring::parse("", "master.keys").unwrap();
        assert_eq!(
            none.seal(BOUND, [0; NONCE_LEN], &"s".into()).unwrap_err().to_string(),
            "there are no master keys in master.keys; make the first one with `nexus keys rotate`"
        );
    }

    #[test]
    fn a_line_that_is_no_key_is_named_without_its_text() {
        let twice = format!("{}{}", line("v1", 1), line("v1", 2));
        for (text, line, reason) in [
            ("hunter2", 1, "it has one word"),
            ("\nkey1 aGk=", 2, "its id is not v and a number"),
            ("v01 aGk=", 1, "its id is not v and a number"),
            ("v1 hunter2!", 1, "its key is no base64"),
            ("v1 aGk=", 1, "its key has another length"),
            (&twice, 2, "its id stands in another line too"),
        ] {
            let error = Keyring::parse(text, "keys").unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "line {line} of keys is no master key ({reason}); lines look like `v1 BASE64`, with 32 bytes"
                )
            );
        }
    }
}
