//! The check of the gate: any conversation keeps the invariants, whole and in pieces.

use crate::events::{Conversation, Done, Play};

/// Plays `data` as a conversation, whole and cut, with every invariant watched.
pub fn gate_tn5250(data: &[u8]) {
    let conversation = Conversation::parse(data);
    let pieces = 1 + data.len() % 40;
    let mut whole = Play::new(&conversation.settings, None);
    let mut cut = Play::new(&conversation.settings, Some(pieces));
    for happening in &conversation.happenings {
        let (expected, found): (Vec<Done>, Vec<Done>) = (whole.happen(happening), cut.happen(happening));
        if whole.stalled() || cut.stalled() {
            return;
        }
        assert_eq!(expected, found, "pieces of {pieces} change what the gate does");
    }
}
