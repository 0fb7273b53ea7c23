//! What an FTP password is read as: a password, a passcode, or both in one line.
//!
//! ```text
//!   garden            a password          H 821480          a passcode as its message shows it
//!   821480            a passcode          garden:H 821480   the same behind the password
//!   garden:821480     both in one line    anything          where a RADIUS server asks and the password is kept
//! ```
//!
//! Invariant: what may be an answer while one is asked for is never read as a password, because the host would count it as a
//! wrong one.

use policy::challenge::{digits_only, keyed, may_be_keyed, of_another, one_line};
use policy::{Effect, Factor, Secret};

use super::{LogOn, Standing};
use crate::store::{Challenge, Latest};

/// What a password stands for, where something is or was asked for.
pub(super) enum Given {
    /// An answer, alone or behind this password.
    Answer(Option<Secret<Vec<u8>>>, Secret<String>),
    /// A passcode with another challenge's letter, of somebody whose password is kept.
    OfAnother,
    /// Nothing that could be an answer, of somebody whose password is kept.
    Malformed,
}

impl LogOn<'_> {
    /// Whether `password` is, or ends behind a colon in, what has the form of an answer of the user's own factors.
    pub(super) fn holds_own(&self, password: &Secret<Vec<u8>>) -> bool {
        self.decision.effect == Effect::Challenge
            && (self.own_alone(password).is_some() || self.own_line(password).is_some())
    }

    /// `password`, where it has the form of an answer of the user's own factors.
    fn own_alone(&self, password: &Secret<Vec<u8>>) -> Option<Secret<String>> {
        text(password.expose()).filter(|text| self.facts.proofs.have_form(text))
    }

    /// `password:answer`, taken apart at the last colon, where the answer has the form of the user's own factors.
    pub(super) fn own_line(&self, password: &Secret<Vec<u8>>) -> Option<(Secret<Vec<u8>>, Secret<String>)> {
        let (head, tail) = split(password)?;
        let answer = text(tail.expose()).filter(|text| self.facts.proofs.have_form(text))?;
        Some((head, answer))
    }

    /// What `password` is an answer in, where the latest challenge is `latest`; `None`: it is a password.
    pub(super) fn read(&self, latest: &Latest, password: &Secret<Vec<u8>>) -> Option<Given> {
        let Challenge { factor, digits, .. } = latest.challenge;
        if factor == Factor::Radius
            && let Some(given) = self.read_formless(latest, password)
        {
            return Some(given);
        }
        let alone = (digits > 0).then(|| digits_only(password, digits)).flatten();
        if let Some(answer) = alone.or_else(|| self.own_alone(password)) {
            return Some(Given::Answer(None, answer));
        }
        let line = (digits > 0).then(|| one_line(password, digits)).flatten();
        let own_line = || self.own_line(password).filter(|_| self.decision.effect == Effect::Challenge);
        if let Some((head, answer)) = line.or_else(own_line) {
            return Some(Given::Answer(Some(head), answer));
        }
        if factor.is_sent() { self.read_as_sent(latest, password) } else { None }
    }

    /// What a RADIUS server takes has no form. Where the password is kept, anything else is the answer: the host knows that
    /// password for the right one, so that another one could only be wrong there.
    fn read_formless(&self, latest: &Latest, password: &Secret<Vec<u8>>) -> Option<Given> {
        let is_asked = self.decision.effect == Effect::Challenge && !matches!(self.standing(latest), Standing::Over(_));
        let line = split(password).filter(|(head, _)| self.keeps(latest, Some(head)));
        let (head, answer) = line.map_or_else(|| (None, password.clone()), |(head, tail)| (Some(head), tail));
        let answer = text(answer.expose()).filter(|text| !text.expose().trim().is_empty());
        match answer {
            // A client repeats what it was given once.
            Some(answer) if self.fits(latest, &answer) => Some(Given::Answer(head, answer)),
            _ if !is_asked || !self.keeps(latest, None) => None,
            Some(answer) => Some(Given::Answer(head, answer)),
            None => Some(Given::Malformed),
        }
    }

    /// A passcode as its message shows it, with its letter, blanks and hyphens. There are passwords that look like that, so
    /// it has to be right, or the password is known by another way.
    fn read_as_sent(&self, latest: &Latest, password: &Secret<Vec<u8>>) -> Option<Given> {
        let Challenge { prefix, digits, .. } = latest.challenge;
        let line = split(password).map(|(head, tail)| (Some(head), tail));
        for (head, rest) in [Some((None, password.clone())), line].into_iter().flatten() {
            let Some(rest) = text(rest.expose()) else { continue };
            let is_kept = self.keeps(latest, head.as_ref());
            if let Some(passcode) = keyed(&rest, prefix, digits)
                && (is_kept || self.fits(latest, &passcode))
            {
                return Some(Given::Answer(head, passcode));
            }
            if is_kept && self.decision.effect == Effect::Challenge && of_another(&rest, prefix, digits) {
                return Some(Given::OfAnother);
            }
        }
        None
    }

    /// Whether a password is kept for the latest challenge, and is `head`, where there is one.
    pub(super) fn keeps(&self, latest: &Latest, head: Option<&Secret<Vec<u8>>>) -> bool {
        let kept = self.turn.kept.as_ref().filter(|kept| kept.challenge == latest.challenge.id);
        kept.is_some_and(|kept| head.is_none_or(|head| self.is(head, &kept.mark)))
    }
}

/// Whether `password` ends in what could be a passcode of some length, alone or behind a colon.
pub(super) fn may_hold_passcode(password: &Secret<Vec<u8>>) -> bool {
    let may = |bytes: &[u8]| text(bytes).is_some_and(|text| may_be_keyed(&text));
    may(password.expose()) || split(password).is_some_and(|(_, tail)| may(tail.expose()))
}

/// Bytes of a password.
type Bytes = Secret<Vec<u8>>;

/// `password` taken apart at its last colon.
fn split(password: &Bytes) -> Option<(Bytes, Bytes)> {
    let bytes = password.expose();
    let colon = bytes.iter().rposition(|byte| *byte == b':')?;
    Some((Secret::new(bytes[..colon].to_vec()), Secret::new(bytes[colon + 1..].to_vec())))
}

/// What stands in `bytes`, where it is text that somebody may have typed as a passcode.
fn text(bytes: &[u8]) -> Option<Secret<String>> {
    std::str::from_utf8(bytes).ok().map(|text| Secret::new(text.to_owned()))
}
