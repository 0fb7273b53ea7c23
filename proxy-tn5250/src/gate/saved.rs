//! Screens that the host had the client save, so that a restore does not leave the gate blind.
//!
//! A saved screen travels as a blob that only the client understands. When the blob comes back from the host, the image
//! taken when it was made is the one that stands again; a blob never seen makes the image unknown. The blob itself can
//! hold a password, so only its length and fingerprint are kept.
//!
//! The client makes the blobs, so it can make two alike, one the beginning of another, or answer out of order. What was
//! saved while the gate was locked therefore always wins: it is never forgotten for a newer one, never replaced by an equal
//! one, and an answer that could be its is taken for its.

use std::collections::VecDeque;

use policy::secret::fingerprint;

use crate::screen::Screen;

/// How many screens saved in an open gate are remembered; the oldest is forgotten beyond that.
const SAVED_MAX: usize = 6;

/// How many screens saved in a locked gate are remembered; a host that has more saved is not followed any further.
const LOCKED_MAX: usize = 4;

#[derive(Debug)]
struct Image {
    length: usize,
    fingerprint: [u8; 32],
    kept: Kept,
}

/// A screen, and whether the gate was locked when the host had it saved.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) screen: Screen,
    pub(super) locked: bool,
}

/// The images behind the blobs that the host holds.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Screens whose save was asked for and not answered yet, oldest first.
    asked: VecDeque<Kept>,
    images: VecDeque<Image>,
}

impl Saved {
    /// The host asks for a save of `screen`. `false`: more than can be followed was saved in a locked gate.
    pub(super) fn ask(&mut self, screen: &Screen, locked: bool) -> bool {
        let locked_count = self.asked.iter().filter(|kept| kept.locked).count();
        let images = self.images.iter().filter(|image| image.kept.locked).count();
        if locked && locked_count.saturating_add(images) >= LOCKED_MAX {
            return false;
        }
        if self.asked.len().saturating_sub(locked_count) >= SAVED_MAX
            && let Some(oldest) = self.asked.iter().position(|kept| !kept.locked)
        {
            self.asked.remove(oldest);
        }
        self.asked.push_back(Kept { screen: screen.clone(), locked });
        true
    }

    /// Whether an answer is due.
    pub(super) fn is_due(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The client answered that it cannot save.
    pub(super) fn fail(&mut self) {
        if self.asked.front().is_some_and(|kept| !kept.locked) {
            self.asked.pop_front();
        }
    }

    /// The client answered with `blob`, the bytes behind the restore command that it begins with.
    pub(super) fn keep(&mut self, blob: &[u8]) {
        let place = self.asked.iter().position(|kept| kept.locked).unwrap_or(0);
        let Some(kept) = self.asked.remove(place) else {
            return;
        };
        let fingerprint = fingerprint(blob);
        if let Some(same) = self.images.iter().position(|image| image.fingerprint == fingerprint) {
            if self.images.get(same).is_some_and(|image| image.kept.locked) {
                return;
            }
            self.images.remove(same);
        }
        if self.images.iter().filter(|image| !image.kept.locked).count() >= SAVED_MAX
            && let Some(oldest) = self.images.iter().position(|image| !image.kept.locked)
        {
            self.images.remove(oldest);
        }
        self.images.push_back(Image { length: blob.len(), fingerprint, kept });
    }

    /// The image that `operand`, a restore command's, brings back, and what stands behind the blob in the record.
    pub(super) fn find<'a>(&self, operand: &'a [u8]) -> Option<(&Kept, &'a [u8])> {
        let matching = self.images.iter().filter_map(|image| {
            let (blob, rest) = operand.split_at_checked(image.length)?;
            (fingerprint(blob) == image.fingerprint).then_some((image, rest))
        });
        matching.max_by_key(|(image, _)| (image.kept.locked, image.length)).map(|(image, rest)| (&image.kept, rest))
    }
}
