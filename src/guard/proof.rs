//! What a user can prove with, in the order in which it is offered: last used first, and what is for the day on which
//! everything else is lost at the end.

use jiff::Timestamp;
use policy::challenge::{digits_only, mask};
use policy::{Asks, Factor, Rules, Secret, Standing, decide};

use crate::code::is_code;
use crate::factor::{Judge, Parameters, Record, yubikey};
use crate::store::{Challenge, Contact, Means};

/// One thing that a user can prove with.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// A passcode that is sent there.
    Contact(Contact),
    /// A factor of the user's own.
    Own(Box<Record>),
    /// A code from an administrator.
    Code,
}

/// Names a proof for as long as a user takes to choose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Contact(i64),
    Own(i64),
    Code,
}

/// All that a user can prove with now.
#[derive(Debug, Clone, Default)]
pub(super) struct Proofs {
    /// What is offered, last used first.
    pub(super) main: Vec<Proof>,
    /// What is always taken, and offered where somebody asks for other ways or there is nothing else.
    pub(super) reserve: Vec<Proof>,
}

impl Proof {
    pub(super) const fn factor(&self) -> Factor {
        match self {
            Self::Contact(contact) => contact.kind.factor(),
            Self::Own(record) => record.kind(),
            Self::Code => Factor::OneTime,
        }
    }

    pub(super) const fn name(&self) -> Name {
        match self {
            Self::Contact(contact) => Name::Contact(contact.id),
            Self::Own(record) => Name::Own(record.id),
            Self::Code => Name::Code,
        }
    }

    /// What the user knows it by: a masked address, or a label.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Contact(contact) => mask(&contact.address),
            Self::Own(record) => record.label.clone(),
            Self::Code => String::new(),
        }
    }

    /// How many digits its answer has, where it has digits.
    const fn digits(&self) -> Option<u8> {
        match self {
            Self::Contact(_) | Self::Code => None,
            Self::Own(record) => match &record.parameters {
                Parameters::Totp(settings) => Some(settings.digits),
                Parameters::Hotp { digits } => Some(*digits),
                Parameters::Yubikey { .. } | Parameters::Recovery | Parameters::Radius { .. } => None,
            },
        }
    }

    /// What stands in a challenge for this proof, which nothing is sent for.
    pub(super) fn challenge(&self, challenge: Challenge) -> Challenge {
        let own = match self {
            Self::Own(record) => Some(record.id),
            Self::Contact(_) | Self::Code => None,
        };
        Challenge {
            destination: self.label(),
            digits: self.digits().unwrap_or(0),
            factor: self.factor(),
            own,
            ..challenge
        }
    }

    /// Whether `text` has the form of its answers, so that an FTP password may be one. What a RADIUS server takes has no form.
    pub(super) fn has_form(&self, text: &Secret<String>) -> bool {
        match self {
            Self::Contact(_) => false,
            Self::Code => is_code(text.expose()),
            Self::Own(record) => match &record.parameters {
                Parameters::Totp(_) | Parameters::Hotp { .. } => self.digits().is_some_and(|digits| {
                    digits_only(&Secret::new(text.expose().as_bytes().to_vec()), digits).is_some()
                }),
                Parameters::Yubikey { public_id, .. } => {
                    yubikey::Otp::parse(text).is_some_and(|otp| otp.public_id() == public_id)
                }
                Parameters::Recovery => is_code(text.expose()),
                Parameters::Radius { .. } => false,
            },
        }
    }

    fn used_at(&self) -> Option<Timestamp> {
        match self {
            Self::Contact(contact) => contact.used_at,
            Self::Own(record) => record.used_at,
            Self::Code => None,
        }
    }
}

impl Proofs {
    /// What of `means` may be used by the rules and can be judged here; where nothing is sent now, nothing that has to be.
    pub(super) fn new(means: Means, rules: &Rules, user: Option<&Standing>, judge: &Judge) -> Self {
        let usable = user.map(|user| decide::usable(rules, user)).unwrap_or_default();
        let contacts = means.contacts.into_iter().filter(|_| !means.stopped).map(Proof::Contact);
        let own = means.factors.into_iter().filter(|record| judge.can_judge(&record.parameters));
        let all =
            contacts.chain(own.map(|record| Proof::Own(Box::new(record)))).chain(means.code.then_some(Proof::Code));
        let (reserve, mut main): (Vec<_>, Vec<_>) =
            all.filter(|proof| usable.contains(proof.factor())).partition(|proof| proof.factor().is_reserve());
        // Stable: what was never used keeps the order of the store.
        main.sort_by_key(|proof| std::cmp::Reverse(proof.used_at()));
        Self { main, reserve }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Proof> {
        self.main.iter().chain(&self.reserve)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.main.len() + self.reserve.len()
    }

    /// The one of that name.
    pub(super) fn find(&self, name: Name) -> Option<&Proof> {
        self.iter().find(|proof| proof.name() == name)
    }

    /// The one that `challenge` is for.
    pub(super) fn of(&self, challenge: &Challenge) -> Option<&Proof> {
        let name = match (challenge.factor, challenge.contact, challenge.own) {
            (Factor::OneTime, ..) => Name::Code,
            (_, Some(contact), _) => Name::Contact(contact),
            (_, None, Some(own)) => Name::Own(own),
            (_, None, None) => return None,
        };
        self.find(name)
    }

    /// All but the one of that name.
    pub(super) fn without(mut self, name: Name) -> Self {
        self.main.retain(|proof| proof.name() != name);
        self.reserve.retain(|proof| proof.name() != name);
        self
    }

    /// Whether `text` has the form of an answer of something of the user's own.
    pub(super) fn have_form(&self, text: &Secret<String>) -> bool {
        self.iter().any(|proof| proof.has_form(text))
    }
}

/// What a prompt for `challenge` asks for; `text`: what a server wants to have said.
pub(super) fn asks(challenge: &Challenge, text: Option<String>) -> Asks {
    if challenge.factor.is_sent() {
        let Challenge { prefix, digits, .. } = *challenge;
        return Asks::Sent { destination: challenge.destination.clone(), prefix, digits };
    }
    let digits = (challenge.digits > 0).then_some(challenge.digits);
    Asks::Own { factor: challenge.factor, name: challenge.destination.clone(), digits, text }
}
