//! Blobs: bytes too large for an event, kept by content and by tenant.
//!
//! An event carries an [`Attachment`], the claim check; whoever needs the bytes gets them here.
//! Invariants: a blob's name is the SHA-256 of its bytes, so that writing it twice changes nothing;
//! a tenant's blobs are under the tenant's own prefix, and [`Blobs::get`] never leaves it; bytes
//! that do not have the promised hash are an error, not an answer.

mod sniff;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use nexus_contracts::{Attachment, AttachmentKind, TenantId, sha256_hex};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use sniff::{MAX_IMAGE_BYTES, VIEWABLE_IMAGES, is_false_image, text, viewable_image};

/// What the name of a blob in an event begins with.
const SCHEME: &str = "blob:";

/// Settings of the blob store, table `[blobs]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the blobs, `blobs` in the data folder when absent; all workers of an installation
    /// need the same one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Most bytes of one blob.
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        // What a bot may download from Telegram; the largest of our channels.
        Self { folder: None, max_bytes: 20 * 1024 * 1024 }
    }
}

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("opening the blob folder {folder}; can this user write there?")]
    Open { folder: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the file has {bytes} bytes, the limit is {limit}; send a smaller one")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("there is no blob {uri:?} for this tenant")]
    Unknown { uri: String },
    #[error("blob {uri} does not hold the bytes that were stored; it was changed or is damaged")]
    Damaged { uri: String },
    #[error("{doing} blob {uri}")]
    Store { doing: &'static str, uri: String, source: object_store::Error },
}

/// The blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    max_bytes: u64,
}

impl Blobs {
    /// Opens the store and makes its folder, inside `data` unless the settings say otherwise.
    ///
    /// # Errors
    /// [`Error::Open`] when the folder cannot be made.
    pub fn open(config: &Config, data: &std::path::Path) -> Result<Self, Error> {
        let folder = config.folder.clone().unwrap_or_else(|| data.join("blobs"));
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Open {
            folder: folder.clone(),
            source,
        };
        std::fs::create_dir_all(&folder).map_err(|error| failed(error.into()))?;
        let store = LocalFileSystem::new_with_prefix(&folder);
        let store = store.map_err(|error| failed(error.into()))?;
        Ok(Self { store: Arc::new(store), max_bytes: config.max_bytes })
    }

    /// Most bytes of one blob.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Keeps bytes and returns the claim check for an event.
    ///
    /// The media type is sniffed; `claimed` counts only where the bytes do not tell, as with text.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the limit, [`Error::Store`] when the store refuses.
    pub async fn put(
        &self,
        tenant: TenantId,
        kind: AttachmentKind,
        name: Option<String>,
        claimed: Option<&str>,
        bytes: Bytes,
    ) -> Result<Attachment, Error> {
        let size = bytes.len() as u64;
        if size > self.max_bytes {
            return Err(Error::TooLarge { bytes: size, limit: self.max_bytes });
        }
        let sha256 = sha256_hex(&bytes);
        let uri = format!("{SCHEME}{tenant}/{sha256}");
        let media_type = sniff::media_type(&bytes, claimed);
        let stored = self.store.put(&place(tenant, &sha256), PutPayload::from(bytes)).await;
        stored.map_err(|source| Error::Store { doing: "writing", uri: uri.clone(), source })?;
        Ok(Attachment { uri, sha256, media_type, bytes: size, kind, name })
    }

    /// The bytes behind a claim check.
    ///
    /// # Errors
    /// [`Error::Unknown`] when this tenant has no such blob, [`Error::Damaged`] when its bytes are
    /// not those that were stored, [`Error::Store`] when the store does not answer.
    pub async fn get(&self, tenant: TenantId, uri: &str) -> Result<Bytes, Error> {
        let unknown = || Error::Unknown { uri: uri.to_owned() };
        let name = uri.strip_prefix(SCHEME).ok_or_else(unknown)?;
        let sha256 = name.strip_prefix(&format!("{tenant}/")).ok_or_else(unknown)?;
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let failed = |source| Error::Store { doing: "reading", uri: uri.to_owned(), source };
        let bytes = match self.store.get(&place(tenant, sha256)).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(object_store::Error::NotFound { .. }) => return Err(unknown()),
            Err(error) => return Err(failed(error)),
        };
        if sha256_hex(&bytes) == sha256 {
            Ok(bytes)
        } else {
            Err(Error::Damaged { uri: uri.to_owned() })
        }
    }
}

fn place(tenant: TenantId, sha256: &str) -> Path {
    // Two levels, so that no folder holds millions of files.
    let shelf = sha256.get(..2).unwrap_or("00");
    Path::from_iter([tenant.to_string().as_str(), shelf, sha256])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const TENANT: TenantId = TenantId(nexus_contracts::LOCAL_TENANT.0);

    fn open(folder: &std::path::Path) -> Blobs {
        Blobs::open(&Config { folder: Some(folder.to_owned()), max_bytes: 64 }, folder).unwrap()
    }

    async fn put(blobs: &Blobs, bytes: &'static [u8], claimed: Option<&str>) -> Attachment {
        let kind = AttachmentKind::Document;
        blobs.put(TENANT, kind, None, claimed, Bytes::from_static(bytes)).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_put_comes_back_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let kept = put(&open(folder.path()), PNG, Some("image/jpeg")).await;
        assert_eq!((kept.media_type.as_str(), kept.bytes), ("image/png", PNG.len() as u64));
        assert_eq!(open(folder.path()).get(TENANT, &kept.uri).await.unwrap(), PNG);
        assert_eq!(put(&open(folder.path()), PNG, None).await.uri, kept.uri);
    }

    #[tokio::test]
    async fn a_tenant_reads_its_own_blobs_only() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let kept = put(&blobs, b"mine", None).await;
        let stranger = TenantId(uuid(7));
        let climbing = format!("blob:{stranger}/../{TENANT}/{}", kept.sha256);
        for uri in [kept.uri.as_str(), &climbing, "blob:", "file:/etc/passwd"] {
            let refused = blobs.get(stranger, uri).await.unwrap_err();
            assert!(matches!(refused, Error::Unknown { .. }), "{uri}");
        }
    }

    fn uuid(number: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(number)
    }

    #[tokio::test]
    async fn changed_bytes_are_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let kept = put(&blobs, b"before", None).await;
        let file = folder.path().join(place(TENANT, &kept.sha256).as_ref());
        std::fs::write(file, b"after").unwrap();
        let refused = blobs.get(TENANT, &kept.uri).await.unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }));
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let long = Bytes::from_static(&[0; 65]);
        let refused = blobs.put(TENANT, AttachmentKind::Photo, None, None, long).await;
        assert!(matches!(refused, Err(Error::TooLarge { bytes: 65, limit: 64 })));
    }
}
