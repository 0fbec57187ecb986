//! What the attachments of a request hold, as far as a model is shown it.

use std::collections::HashMap;
use std::sync::Arc;

use nexus_contracts::Attachment;

/// Contents by [`Attachment::uri`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    contents: HashMap<String, Content>,
}

/// What a model is shown of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Image {
        /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
        media_type: String,
        /// Standard alphabet, padded.
        base64: Arc<str>,
    },
    /// The text of the file, cut where it is too long, with a notice then.
    Text(Arc<str>),
}

impl Files {
    /// These contents, by [`Attachment::uri`].
    #[cfg(test)]
    pub(crate) fn of(contents: impl IntoIterator<Item = (String, Content)>) -> Self {
        Self { contents: contents.into_iter().collect() }
    }

    /// What a model is shown; `None` for a file of which it only gets [`Attachment::note`].
    pub(crate) fn content(&self, attachment: &Attachment) -> Option<&Content> {
        self.contents.get(&attachment.uri)
    }
}
