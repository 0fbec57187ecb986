//! Encryption of one credential: pure.

use std::fmt;

use nexus_contracts::TenantId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// Bytes of a master key: AES-256.
pub const KEY_BYTES: usize = 32;
/// What this format is called within the associated data.
const FORMAT: &[u8] = b"nexus vault credential 1";

/// A key that encrypts credentials.
#[derive(Clone)]
pub struct MasterKey(LessSafeKey);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([REDACTED])")
    }
}

/// What a credential is bound to: it decrypts nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    pub tenant: TenantId,
    pub user: Option<&'a str>,
    pub service: &'a str,
    /// Version of the master key, for example `v1`.
    pub key_id: &'a str,
    /// Where the secret is sent: whoever changes it gets no secret.
    pub base_url: Option<&'a str>,
}

/// An encrypted credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub nonce: [u8; NONCE_LEN],
    /// With the tag at its end.
    pub ciphertext: Vec<u8>,
}

impl Binding<'_> {
    /// The associated data: each part with its length, so that no two bindings read the same.
    fn associated(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(128);
        let mut part = |bytes: &[u8]| {
            data.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            data.extend_from_slice(bytes);
        };
        part(FORMAT);
        part(self.tenant.0.as_bytes());
        part(self.service.as_bytes());
        part(self.key_id.as_bytes());
        for optional in [self.user, self.base_url] {
            part(&[u8::from(optional.is_some())]);
            part(optional.unwrap_or_default().as_bytes());
        }
        data
    }
}

impl MasterKey {
    /// A key of [`KEY_BYTES`] bytes; `None` when there are more or fewer.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Encrypts. The nonce has to be random: 96 bits, so that 2^32 credentials under one key meet
    /// twice with a chance of 2^-33 (NIST SP 800-38D, section 8.3); `None` beyond what GCM takes.
    #[must_use]
    pub fn seal(
        &self,
        binding: Binding<'_>,
        nonce: [u8; NONCE_LEN],
        secret: &SecretString,
    ) -> Option<Sealed> {
        let secret = secret.expose_secret().as_bytes();
        // Room for the tag from the beginning: a growing vector would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + MAX_TAG_LEN));
        text.extend_from_slice(secret);
        let aad = Aad::from(binding.associated());
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, aad, &mut *text).ok()?;
        Some(Sealed { nonce, ciphertext: std::mem::take(&mut *text) })
    }

    /// Decrypts; `None` when a bit of it or of its binding is another one.
    #[must_use]
    pub fn open(&self, binding: Binding<'_>, sealed: &Sealed) -> Option<SecretString> {
        let mut text = Zeroizing::new(sealed.ciphertext.clone());
        let aad = Aad::from(binding.associated());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let secret = self.0.open_in_place(nonce, aad, &mut text).ok()?;
        // An exact copy: making a string of the buffer itself would move it, tag and all.
        Some(SecretString::from(std::str::from_utf8(secret).ok()?.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::new(&[byte; KEY_BYTES]).unwrap()
    }

    const BOUND: Binding<'static> = Binding {
        tenant: TenantId(Uuid::from_u128(1)),
        user: Some("ada"),
        service: "llm_openai",
        key_id: "v1",
        base_url: None,
    };

    fn sealed(binding: Binding<'_>) -> Sealed {
        key(7).seal(binding, [9; NONCE_LEN], &"sk-secret".into()).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_and_looks_like_nothing() {
        let sealed = sealed(BOUND);
        assert_eq!(sealed.ciphertext.len(), "sk-secret".len() + MAX_TAG_LEN);
        assert!(!sealed.ciphertext.windows(3).any(|window| window == b"sk-"));
        assert_eq!(key(7).open(BOUND, &sealed).unwrap().expose_secret(), "sk-secret");
        assert_eq!(format!("{:?}", key(7)), "MasterKey([REDACTED])");
    }

    #[test]
    fn another_place_or_key_does_not_open_it() {
        let other_tenant = TenantId(Uuid::from_u128(2));
        for binding in [
            Binding { tenant: other_tenant, ..BOUND },
            Binding { user: Some("bob"), ..BOUND },
            Binding { user: None, ..BOUND },
            Binding { user: Some(""), ..BOUND },
            Binding { service: "llm_anthropic", ..BOUND },
            Binding { key_id: "v2", ..BOUND },
            Binding { base_url: Some("https://evil.example/v1"), ..BOUND },
            // The same letters, divided elsewhere.
            Binding { user: Some("adallm"), service: "_openai", ..BOUND },
        ] {
            assert!(key(7).open(binding, &sealed(BOUND)).is_none(), "{binding:?}");
            assert!(key(7).open(BOUND, &sealed(binding)).is_none(), "{binding:?}");
        }
        assert!(key(8).open(BOUND, &sealed(BOUND)).is_none());
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused(bit in 0_usize..8 * (12 + 9 + 16)) {
            let mut sealed = sealed(BOUND);
            let (byte, mask) = (bit / 8, 1_u8 << (bit % 8));
            match byte.checked_sub(NONCE_LEN) {
                None => sealed.nonce[byte] ^= mask,
                Some(byte) => sealed.ciphertext[byte] ^= mask,
            }
            prop_assert!(key(7).open(BOUND, &sealed).is_none());
        }

        #[test]
        fn cut_and_longer_texts_are_refused(length in 0_usize..60) {
            let mut sealed = sealed(BOUND);
            prop_assume!(length != sealed.ciphertext.len());
            sealed.ciphertext.resize(length, 0);
            prop_assert!(key(7).open(BOUND, &sealed).is_none());
        }

        #[test]
        fn bindings_never_read_the_same(
            a in binding(), b in binding(), text in "[ -~]{0,40}", nonce in any::<[u8; NONCE_LEN]>(),
        ) {
            let (a, b) = (a.borrow(), b.borrow());
            let sealed = key(7).seal(a, nonce, &text.clone().into()).unwrap();
            let opened = key(7).open(b, &sealed).map(|secret| secret.expose_secret().to_owned());
            prop_assert_eq!(opened, (a == b).then_some(text));
        }
    }

    #[derive(Debug, Clone)]
    struct Whole(u8, Option<String>, String, String, Option<String>);

    impl Whole {
        fn borrow(&self) -> Binding<'_> {
            Binding {
                tenant: TenantId(Uuid::from_u128(self.0.into())),
                user: self.1.as_deref(),
                service: &self.2,
                key_id: &self.3,
                base_url: self.4.as_deref(),
            }
        }
    }

    /// Small parts, so that two are often nearly the same.
    fn binding() -> impl Strategy<Value = Whole> {
        let part = || "[ab]{0,2}";
        (0_u8..2, prop::option::of(part()), part(), part(), prop::option::of(part()))
            .prop_map(|(tenant, user, service, key, url)| Whole(tenant, user, service, key, url))
    }
}
