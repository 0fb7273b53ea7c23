//! Screens that the host had the client save, so that a restore does not leave the gate blind.
//!
//! A saved screen travels as a blob that only the client understands. When the blob comes back from the host, the image
//! taken when it was made is the one that stands again; a blob never seen makes the image unknown. The blob itself can
//! hold a password, so only its length and fingerprint are kept.

use std::collections::VecDeque;

use policy::secret::fingerprint;

use crate::screen::Screen;

/// How many saved screens a connection may have; the oldest is forgotten beyond that.
const SAVED_MAX: usize = 6;

#[derive(Debug)]
struct Image {
    length: usize,
    fingerprint: [u8; 32],
    screen: Screen,
}

/// The images behind the blobs that the host holds.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Screens whose save was asked for and not answered yet, oldest first.
    asked: VecDeque<Screen>,
    images: VecDeque<Image>,
}

impl Saved {
    /// The host asks for a save of `screen`.
    pub(super) fn ask(&mut self, screen: &Screen) {
        if self.asked.len() >= SAVED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(screen.clone());
    }

    /// Whether an answer is due.
    pub(super) fn is_due(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The client answered with `blob`, the bytes behind the restore command that it begins with.
    pub(super) fn keep(&mut self, blob: &[u8]) {
        let Some(screen) = self.asked.pop_front() else {
            return;
        };
        let fingerprint = fingerprint(blob);
        self.images.retain(|image| image.fingerprint != fingerprint);
        if self.images.len() >= SAVED_MAX {
            self.images.pop_front();
        }
        self.images.push_back(Image { length: blob.len(), fingerprint, screen });
    }

    /// The image that `operand`, a restore command's, brings back, and what stands behind the blob in the record.
    pub(super) fn find<'a>(&self, operand: &'a [u8]) -> Option<(&Screen, &'a [u8])> {
        self.images.iter().rev().find_map(|image| {
            let (blob, rest) = operand.split_at_checked(image.length)?;
            (fingerprint(blob) == image.fingerprint).then_some((&image.screen, rest))
        })
    }
}
