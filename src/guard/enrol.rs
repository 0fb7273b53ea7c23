//! Enrolling at a terminal, and looking after one's own contacts later.
//!
//! ```text
//!   no factor, enrolment permitted ─▶ [ticket] ─▶ offer ─┬─ e-mail, number ─▶ code that was sent ─┬─▶ Admit
//!                                                        │         ▲◀── F12: taken back ──┘        │   or waits for approval
//!                                                        └─ authenticator app ─▶ its first code ──┘
//!   passcode right, F9 was pressed ─▶ contacts ─┬─ 4: remove     ─▶ contacts
//!                                               ├─ F6: offer ... ─▶ contacts
//!                                               └─ Enter, F3     ─▶ Admit
//! ```
//!
//! Invariants: what is enrolled counts only once its owner has shown the code that went there, or the app's; with the guard
//! `approval` not even then, before an administrator says so. Whoever enrols has given a password that the host accepted, and
//! whoever looks after contacts has proven a second factor on this connection a moment ago. The last factor is never removed.
//! Old contacts are told of every change.

use std::sync::Arc;

use policy::challenge::mask;
use policy::setting::EnrolmentGuard;
use policy::{
    ContactKind, Factor, Factors, Failure, Filled, Notice, Panel, PanelKey, PanelLine, Prompt, Reason, Secret,
    ShownKey, Verdict, decide,
};

use super::challenge::{Case, Facts, names};
use super::proof::{Name, Proof};
use super::talk::{Step, Talk};
use super::{Fault, Inner, refuse};
use crate::audit::alert::ENROLMENT_WAITS;
use crate::audit::{Entry, Event, Outcome};
use crate::delivery::{self, Change};
use crate::factor::{Given, Judgement, Parameters, totp};
use crate::notify;
use crate::store::{self, Confirmed, Contact, NewContact, NewFactor, Own, Removal, Waiting};

/// How many wrong tickets end a connection.
const TICKETS_MAX: u8 = 3;
/// Bytes of an app's secret (RFC 4226: 160 bits are recommended).
const SECRET: usize = 20;

type Keys = &'static [(PanelKey, &'static str)];
const BACK: Keys = &[(PanelKey::F12, "Back")];

impl Inner {
    /// The user has no factor and may enrol one.
    pub(super) async fn begin_enrolment(&self, case: &Case<'_>, entry: Entry) -> Result<Verdict, Fault> {
        if self.waits(case).await? {
            let entry = Entry { outcome: Outcome::Denied, ..entry }.reason("enrolment-waits");
            self.store.append(entry).await?;
            return Ok(refuse(Notice::Waiting));
        }
        if self.offers(case).is_empty() {
            self.store.append(Entry { outcome: Outcome::Denied, ..entry }.reason(Reason::NoFactor.code())).await?;
            return Ok(refuse(Notice::NoFactor));
        }
        self.store.append(entry).await?;
        Ok(match case.rules.settings.enrolment_guard {
            EnrolmentGuard::Ticket => self.ticket_panel(case, Talk::default(), None),
            EnrolmentGuard::Network | EnrolmentGuard::Approval => self.offer(case, false, None),
        })
    }

    /// Whether something that the user enrolled waits for approval.
    async fn waits(&self, case: &Case<'_>) -> Result<bool, Fault> {
        let waiting = self.store.pending_enrolments().await?;
        Ok(waiting.iter().any(|waiting| waiting.user == case.user.as_str()))
    }

    /// What can be enrolled here.
    fn offers(&self, case: &Case<'_>) -> Vec<Factor> {
        let allowed = case.standing.map_or(Factors::ALL, |user| user.allowed);
        let allowed = allowed.and(Factors::worth(case.rules.settings.assurance));
        // Whoever reads an app's key off the line has the factor for good.
        let mut offers = if case.peer.private { vec![Factor::Totp] } else { Vec::new() };
        if !case.stopped {
            offers.insert(0, Factor::Email);
            if self.post.has_sms() {
                offers.insert(1, Factor::Sms);
            }
        }
        offers.retain(|factor| allowed.contains(*factor));
        offers
    }

    /// What was keyed on one of the panels of enrolling.
    pub(super) async fn enrolling(
        &self,
        case: &Case<'_>,
        step: Step,
        talk: Talk,
        filled: Filled,
    ) -> Result<Verdict, Fault> {
        let admitted = match &step {
            Step::Offer { admitted, .. }
            | Step::Address { admitted, .. }
            | Step::Confirming { admitted, .. }
            | Step::App { admitted, .. } => *admitted,
            Step::Passcode | Step::Choosing(_) | Step::Ticket | Step::Contacts(_) => false,
        };
        // Rules may have come to forbid it since the panel went up.
        let factorless = case.standing.is_none_or(|user| decide::usable(&case.rules, &user).is_empty());
        let may = decide::may_enrol(&case.rules, case.attempt, case.standing.as_ref()).is_ok();
        if !may || !(admitted || factorless) {
            self.talks.end(&case.peer.connection);
            self.note_enrolment(case, Outcome::Denied, "enrolment-not-permitted", "").await?;
            return Ok(refuse(Notice::Refused));
        }
        if !admitted && self.waits(case).await? {
            self.talks.end(&case.peer.connection);
            self.note_enrolment(case, Outcome::Denied, "enrolment-waits", "").await?;
            return Ok(refuse(Notice::Waiting));
        }
        if let (PanelKey::F12, Step::Confirming { contact, .. }) = (filled.key, &step) {
            return self.take_back(case, *contact, admitted).await;
        }
        if filled.key == PanelKey::F12 && admitted {
            return self.contacts_panel(case, None).await;
        }
        let first = filled.fields.first();
        match step {
            Step::Ticket => self.ticket(case, talk, first).await,
            Step::Offer { options, .. } => {
                let chosen = filled.fields.iter().position(|field| field.expose().trim() == "1");
                let others = filled.fields.iter().filter(|field| !field.expose().trim().is_empty()).count();
                match chosen.filter(|_| others == 1).and_then(|place| options.get(place)) {
                    Some(Factor::Email) => Ok(self.address_panel(case, ContactKind::Email, admitted, "", None)),
                    Some(Factor::Sms) => Ok(self.address_panel(case, ContactKind::Sms, admitted, "", None)),
                    Some(Factor::Totp) => self.new_app(case, admitted).await,
                    Some(_) | None => Ok(self.offer(case, admitted, Some("Type 1 beside one line."))),
                }
            }
            Step::Address { kind, .. } => self.address(case, kind, admitted, first).await,
            Step::Confirming { contact, .. } if filled.key == PanelKey::F5 => {
                let contact = self.contact(case, contact).await?;
                self.send_code(case, &contact, admitted).await
            }
            Step::Confirming { contact, .. } => self.confirming(case, contact, admitted, first).await,
            Step::App { factor, key, .. } => self.app_code(case, factor, &key, admitted, first).await,
            Step::Passcode | Step::Choosing(_) | Step::Contacts(_) => self.unasked(case.peer, case.attempt).await,
        }
    }

    async fn ticket(&self, case: &Case<'_>, talk: Talk, keyed: Option<&Secret<String>>) -> Result<Verdict, Fault> {
        let Some(keyed) = keyed.filter(|keyed| !keyed.expose().is_empty()) else {
            return Ok(self.ticket_panel(case, talk, Some("Key the ticket.")));
        };
        let ticket = self.store.ticket(case.user.clone()).await?.filter(|ticket| ticket.is_open(case.attempt.at));
        // Compared in any case, so that the time does not tell whether there is a ticket.
        let hash = ticket.as_ref().map_or(&[][..], |ticket| &ticket.hash);
        let fits = self.key.is_code("ticket", case.user, keyed.expose(), hash);
        if let Some(ticket) = ticket.filter(|_| fits) {
            let entry = self.enrolment(case, Outcome::Noted, "enrolment-ticket-used", &format!("ticket {}", ticket.id));
            if self.store.use_ticket(ticket.id, entry).await? {
                return Ok(self.offer(case, false, None));
            }
        }
        let entry = self.enrolment(case, Outcome::Denied, "enrolment-ticket-wrong", "");
        let locked = self.store.count_failure(case.attempt.clone(), Failure::Passcode, entry).await?;
        let wrong_tickets = talk.wrong_tickets.saturating_add(1);
        if locked || wrong_tickets >= TICKETS_MAX {
            self.talks.end(&case.peer.connection);
            return Ok(refuse(Notice::Refused));
        }
        Ok(self.ticket_panel(case, Talk { wrong_tickets, ..talk }, Some("Ticket not correct.")))
    }

    fn ticket_panel(&self, case: &Case<'_>, talk: Talk, message: Option<&str>) -> Verdict {
        let lines = vec![
            PanelLine::Strong("No second factor is set up yet.".to_owned()),
            PanelLine::Text("To set one up, key the ticket that the system administrator gave to you.".to_owned()),
            PanelLine::Blank,
            PanelLine::Field { label: "Ticket", length: 20, hidden: true, value: String::new() },
        ];
        self.panel_of(case, Talk { step: Step::Ticket, ..talk }, ("SPT1010", "Set Up - Ticket"), lines, &[], message)
    }

    fn offer(&self, case: &Case<'_>, admitted: bool, message: Option<&str>) -> Verdict {
        let options = self.offers(case);
        let mut lines = vec![
            PanelLine::Text("A second factor proves at each sign-on that it is you and nobody else.".to_owned()),
            PanelLine::Text("Type 1 beside the one to set up, then press Enter.".to_owned()),
            PanelLine::Blank,
        ];
        lines.extend(options.iter().map(|factor| {
            let text = match factor {
                Factor::Email => "E-mail: a passcode is sent to an address",
                Factor::Sms => "Text message: a passcode is sent to a telephone",
                Factor::Totp | Factor::Hotp | Factor::Yubikey | Factor::Radius | Factor::Recovery | Factor::OneTime => {
                    "Authenticator app: an app on a telephone shows the passcode"
                }
            };
            PanelLine::Option { text: text.to_owned() }
        }));
        let keys = if admitted { BACK } else { &[] };
        let talk = Talk { step: Step::Offer { options, admitted }, ..Talk::default() };
        self.panel_of(case, talk, ("SPT1011", "Set Up - Second Factor"), lines, keys, message)
    }

    /// Asks for an address; `keyed`: what stands in the field at first.
    fn address_panel(
        &self,
        case: &Case<'_>,
        kind: ContactKind,
        admitted: bool,
        keyed: &str,
        message: Option<&str>,
    ) -> Verdict {
        let (label, text) = match kind {
            ContactKind::Email => ("E-mail address", "Key the address that passcodes are to be sent to."),
            ContactKind::Sms => {
                ("Telephone number", "Key the number with the country's code, for instance +49 170 1234567.")
            }
        };
        let lines = vec![
            PanelLine::Text(text.to_owned()),
            PanelLine::Text("A code is sent there, which you key next.".to_owned()),
            PanelLine::Blank,
            PanelLine::Field { label, length: 76, hidden: false, value: keyed.to_owned() },
        ];
        let keys = if admitted { BACK } else { &[] };
        let talk = Talk { step: Step::Address { kind, admitted }, ..Talk::default() };
        self.panel_of(case, talk, ("SPT1012", "Set Up - Address"), lines, keys, message)
    }

    async fn address(
        &self,
        case: &Case<'_>,
        kind: ContactKind,
        admitted: bool,
        keyed: Option<&Secret<String>>,
    ) -> Result<Verdict, Fault> {
        let keyed = keyed.map(|keyed| keyed.expose().trim().to_owned()).unwrap_or_default();
        let address = match kind {
            // Terminals without small letters give capitals.
            ContactKind::Email if !keyed.chars().any(|letter| letter.is_lowercase()) => Some(keyed.to_lowercase()),
            ContactKind::Email => Some(keyed),
            ContactKind::Sms => policy::contact::phone(&keyed),
        };
        let address = address.filter(|address| kind == ContactKind::Sms || notify::is_address(address));
        let Some(address) = address else {
            let message = match kind {
                ContactKind::Email => "That is no e-mail address.",
                ContactKind::Sms => "That is no telephone number with the country's code.",
            };
            return Ok(self.address_panel(case, kind, admitted, "", Some(message)));
        };
        self.register(case).await?;
        let held = self.store.user(case.user.clone()).await?.contacts;
        let known = held.iter().find(|contact| contact.address.eq_ignore_ascii_case(&address));
        if known.is_some_and(|contact| contact.verified_at.is_some()) {
            let message = "That is one of the contacts already.";
            return Ok(self.address_panel(case, kind, admitted, "", Some(message)));
        }
        let contact = match known {
            Some(contact) => contact.id,
            None => {
                if !admitted && held.len() >= usize::try_from(case.rules.settings.contacts_max).unwrap_or(usize::MAX) {
                    // Begun before, and never finished: whoever mistypes is not to be kept out by that.
                    for begun in held.iter().filter(|contact| contact.verified_at.is_none()) {
                        let entry =
                            self.enrolment(case, Outcome::Noted, "contact-removed", "begun before, not finished");
                        // Only what was begun at a terminal: what an administrator added stays.
                        self.store.take_back_contact((case.user.clone(), begun.id), entry, Vec::new()).await?;
                    }
                }
                let shown = mask(&address);
                let entry = self.enrolment(case, Outcome::Noted, "contact-added", &shown);
                let told =
                    self.post.notices(case.user, delivery::Notice::ContactChanged(Change::Added, &shown)).await?;
                let new = NewContact::begun(kind, &address);
                match self.store.add_contact(case.user.clone(), new, entry, told).await {
                    Ok(id) => id,
                    Err(store::Error::Full(_)) => {
                        let message = "There are as many contacts as there may be. Remove one first.";
                        return Ok(self.address_panel(case, kind, admitted, "", Some(message)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.post.wake();
        let contact = self.contact(case, contact).await?;
        self.send_code(case, &contact, admitted).await
    }

    async fn send_code(&self, case: &Case<'_>, contact: &Contact, admitted: bool) -> Result<Verdict, Fault> {
        let shown = mask(&contact.address);
        let entry = self.enrolment(case, Outcome::Noted, "contact-code-sent", &shown);
        let message = match self.post.send_code(case.user, contact, entry).await {
            // It may still be sent, as long as it counts; but nobody is to wait for it without knowing.
            Ok(id) => match self.post.outcome(&id, self.post.patience(contact)).await? {
                delivery::Outcome::Sent => None,
                delivery::Outcome::Undelivered(code) => {
                    self.note_enrolment(case, Outcome::Failed, &code, &format!("to {shown}")).await?;
                    Some("The code was not sent so far. Wait for it, or press F12 for another address.")
                }
            },
            Err(delivery::Fault::Store(store::Error::Full(_))) => Some("No code was sent: asked for too often. Wait."),
            Err(error) => return Err(error.into()),
        };
        Ok(self.code_panel(case, contact, admitted, message))
    }

    fn code_panel(&self, case: &Case<'_>, contact: &Contact, admitted: bool, message: Option<&str>) -> Verdict {
        let lines = vec![
            PanelLine::Value { label: "Code sent to", value: mask(&contact.address) },
            PanelLine::Blank,
            PanelLine::Text("Key the digits of the code, then press Enter.".to_owned()),
            PanelLine::Blank,
            PanelLine::Field { label: "Code", length: 12, hidden: false, value: String::new() },
        ];
        let keys: Keys = &[(PanelKey::F5, "Resend"), (PanelKey::F12, "Back")];
        let talk = Talk { step: Step::Confirming { contact: contact.id, admitted }, ..Talk::default() };
        self.panel_of(case, talk, ("SPT1013", "Set Up - Confirm"), lines, keys, message)
    }

    /// The address was a mistake: it is asked for once more, and the contact is gone. What was sent counts on.
    async fn take_back(&self, case: &Case<'_>, id: i64, admitted: bool) -> Result<Verdict, Fault> {
        let contact = self.contact(case, id).await?;
        let shown = mask(&contact.address);
        let entry = self.enrolment(case, Outcome::Noted, "contact-removed", &format!("{shown}; taken back"));
        // Whoever was told that it was added is told that it is gone.
        let told = self.post.notices(case.user, delivery::Notice::ContactChanged(Change::Removed, &shown)).await?;
        if self.store.take_back_contact((case.user.clone(), id), entry, told).await? {
            self.post.wake();
        }
        Ok(self.address_panel(case, contact.kind, admitted, &contact.address, None))
    }

    async fn confirming(
        &self,
        case: &Case<'_>,
        id: i64,
        admitted: bool,
        keyed: Option<&Secret<String>>,
    ) -> Result<Verdict, Fault> {
        let contact = self.contact(case, id).await?;
        let Some(code) = keyed.filter(|keyed| keyed.expose().bytes().any(|byte| byte.is_ascii_digit())) else {
            return Ok(self.code_panel(case, &contact, admitted, Some("Key the digits of the code.")));
        };
        let shown = mask(&contact.address);
        let waiting = self.waiting(case, admitted, &format!("{} {shown}", contact.kind.factor().words()));
        let waits = waiting.is_some();
        let entry = self.enrolment(case, Outcome::Allowed, "contact-verified", &shown);
        match self.post.confirm(case.user, id, code, waiting, entry).await? {
            Confirmed::Yes => self.enrolled(case, admitted, waits, contact.kind.factor()).await,
            Confirmed::No(0) => {
                let message = "Code not correct, and no try is left for it. Press F5 for another one.";
                Ok(self.code_panel(case, &contact, admitted, Some(message)))
            }
            Confirmed::No(_) => Ok(self.code_panel(case, &contact, admitted, Some("Code not correct."))),
            Confirmed::Over => {
                let message = "That code is no longer valid. Press F5 for another one.";
                Ok(self.code_panel(case, &contact, admitted, Some(message)))
            }
        }
    }

    /// Makes a secret for an app, and shows it.
    async fn new_app(&self, case: &Case<'_>, admitted: bool) -> Result<Verdict, Fault> {
        self.register(case).await?;
        let waiting = self.store.pending_enrolments().await?;
        for record in self.store.factors(case.user.clone()).await? {
            // Begun before, and never finished; what waits for approval is finished.
            let waits = waiting.iter().any(|waiting| waiting.factor == Some(record.id));
            if record.confirmed_at.is_none() && record.label == store::ENROLLED && !waits {
                let entry = self.enrolment(case, Outcome::Noted, "factor-removed", "begun before, not finished");
                self.store.remove_factor(case.user.clone(), record.id, entry).await?;
            }
        }
        let mut bytes = vec![0; SECRET];
        self.system.fill(&mut bytes)?;
        let secret = Secret::new(bytes);
        let shown = Arc::new(totp::written(&secret));
        let new = NewFactor {
            user: case.user.clone(),
            label: store::ENROLLED.to_owned(),
            parameters: Parameters::Totp(totp::Settings::default()),
            secret: Some(secret),
            confirmed: false,
            used: None,
        };
        let entry = self.enrolment(case, Outcome::Noted, "factor-added-unconfirmed", Factor::Totp.words());
        let factor = match self.store.add_factor(new, self.judge.sealer().clone(), entry).await {
            Ok(factor) => factor,
            Err(store::Error::Full(_)) => {
                let message = "There are as many factors as there may be. Remove one first.";
                return Ok(self.offer(case, admitted, Some(message)));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(self.app_panel(case, factor, &shown, admitted, None))
    }

    fn app_panel(
        &self,
        case: &Case<'_>,
        factor: i64,
        key: &Arc<Secret<String>>,
        admitted: bool,
        message: Option<&str>,
    ) -> Verdict {
        let lines = vec![
            PanelLine::Text("Open the authenticator app, choose to enter a key, and key this:".to_owned()),
            PanelLine::Blank,
            PanelLine::Value { label: "Account", value: format!("{} {}", self.names.gateway, case.user) },
            PanelLine::Key { label: "Key", key: ShownKey::new(Arc::clone(key)) },
            PanelLine::Value { label: "Kind", value: "Time based, 6 digits, 30 seconds".to_owned() },
            PanelLine::Blank,
            PanelLine::Text("Then key the six digits that the app shows. Show the key to nobody.".to_owned()),
            PanelLine::Blank,
            PanelLine::Field { label: "Code", length: 10, hidden: false, value: String::new() },
        ];
        let keys = if admitted { BACK } else { &[] };
        let talk = Talk { step: Step::App { factor, key: Arc::clone(key), admitted }, ..Talk::default() };
        self.panel_of(case, talk, ("SPT1014", "Set Up - Authenticator App"), lines, keys, message)
    }

    async fn app_code(
        &self,
        case: &Case<'_>,
        id: i64,
        key: &Arc<Secret<String>>,
        admitted: bool,
        keyed: Option<&Secret<String>>,
    ) -> Result<Verdict, Fault> {
        let Some(code) = keyed.filter(|keyed| !keyed.expose().is_empty()) else {
            return Ok(self.app_panel(case, id, key, admitted, Some("Key the six digits that the app shows.")));
        };
        let record = self.store.factor(case.user.clone(), id).await?;
        let given = Given { answer: code, state: None, source: Some(case.attempt.source) };
        let Judgement::Right(spend) = self.judge.judge(&record, &given, self.system.wall()).await else {
            let message = "Code not correct. Is the time of the telephone right?";
            return Ok(self.app_panel(case, id, key, admitted, Some(message)));
        };
        let waiting = self.waiting(case, admitted, Factor::Totp.words());
        let waits = waiting.is_some();
        let entry = self.enrolment(case, Outcome::Allowed, "factor-confirmed", Factor::Totp.words());
        let done = match waiting {
            Some(waiting) => self.store.await_approval(waiting, spend, entry).await?,
            None => self.store.confirm_factor(spend, entry).await?,
        };
        if !done {
            return Ok(self.app_panel(
                case,
                id,
                key,
                admitted,
                Some("That code was used before. Wait for the next one."),
            ));
        }
        if !waits {
            self.tell(case, delivery::Notice::Enrolled(Factor::Totp.words())).await;
        }
        self.enrolled(case, admitted, waits, Factor::Totp).await
    }

    /// Something was enrolled: lets in, goes back to the contacts, or says that it waits.
    async fn enrolled(&self, case: &Case<'_>, admitted: bool, waits: bool, factor: Factor) -> Result<Verdict, Fault> {
        if admitted {
            return self.contacts_panel(case, Some("Set up.")).await;
        }
        self.talks.end(&case.peer.connection);
        if waits {
            // Operators are alerted of it.
            self.note_enrolment(case, Outcome::Noted, ENROLMENT_WAITS, factor.words()).await?;
            return Ok(refuse(Notice::Waiting));
        }
        let entry = self.entry_of(case.peer, case.attempt, Event::SignOn, Outcome::Allowed).reason("enrolled");
        self.store.append(Entry { factor: Some(factor.as_str().to_owned()), ..entry }).await?;
        Ok(Verdict::Admit)
    }

    /// The panel of the user's own contacts and factors, as they stand now.
    pub(super) async fn contacts_panel(&self, case: &Case<'_>, message: Option<&str>) -> Result<Verdict, Fault> {
        let snapshot = self.store.snapshot(case.attempt.clone()).await?;
        let facts = Facts::new(self, snapshot);
        let case = Case { facts: &facts, ..*case };
        let mut lines = vec![
            PanelLine::Text("These prove at each sign-on that it is you. Type 4 beside one to remove it.".to_owned()),
            PanelLine::Blank,
        ];
        lines.extend(
            case.proofs
                .iter()
                .filter(|proof| proof.factor() != Factor::OneTime)
                .map(|proof| PanelLine::Option { text: self.line(proof) }),
        );
        let mut shown = names(&case.proofs);
        shown.retain(|name| *name != Name::Code);
        let talk = Talk { step: Step::Contacts(shown), ..Talk::default() };
        let keys: Keys = &[(PanelKey::F3, "Sign on"), (PanelKey::F6, "Add")];
        Ok(self.panel_of(&case, talk, ("SPT1020", "My Contacts and Factors"), lines, keys, message))
    }

    /// What was keyed on the panel of contacts.
    pub(super) async fn maintained(&self, case: &Case<'_>, shown: &[Name], filled: Filled) -> Result<Verdict, Fault> {
        let may = decide::may_enrol(&case.rules, case.attempt, case.standing.as_ref()).is_ok();
        let typed = filled.fields.iter().any(|field| !field.expose().trim().is_empty());
        if filled.key == PanelKey::F6 && may {
            return Ok(self.offer(case, true, None));
        }
        if filled.key == PanelKey::F3 || !typed || !may {
            self.talks.end(&case.peer.connection);
            let entry = self.entry_of(case.peer, case.attempt, Event::SignOn, Outcome::Allowed);
            self.store.append(entry.reason("contacts-left")).await?;
            return Ok(Verdict::Admit);
        }
        if filled.fields.iter().any(|field| !matches!(field.expose().trim(), "" | "4")) {
            return self.contacts_panel(case, Some("Type 4 to remove.")).await;
        }
        let marked = shown.iter().zip(&filled.fields).filter(|(_, field)| field.expose().trim() == "4");
        let marked: Vec<_> = marked.filter_map(|(name, _)| case.proofs.find(*name)).collect();
        let stay =
            case.proofs.main.iter().filter(|proof| !marked.iter().any(|gone| gone.name() == proof.name())).count();
        let mut removals = Vec::new();
        for proof in marked {
            removals.extend(self.removal(case, proof).await?);
        }
        if stay == 0 || !self.store.remove_own(case.user.clone(), removals, case.attempt.at).await? {
            return self.contacts_panel(case, Some("One has to stay. Set another one up first.")).await;
        }
        self.post.wake();
        self.contacts_panel(case, Some("Removed.")).await
    }

    /// What removing `proof` takes; nothing for what is not the user's to remove.
    async fn removal(&self, case: &Case<'_>, proof: &Proof) -> Result<Option<Removal>, Fault> {
        let (what, shown, reason) = match proof {
            Proof::Contact(contact) => (Own::Contact(contact.id), mask(&contact.address), "contact-removed"),
            Proof::Own(record) => (Own::Factor(record.id), record.kind().words().to_owned(), "factor-removed"),
            Proof::Code => return Ok(None),
        };
        let told = self.post.notices(case.user, delivery::Notice::ContactChanged(Change::Removed, &shown)).await?;
        Ok(Some(Removal { what, entry: self.enrolment(case, Outcome::Noted, reason, &shown), told }))
    }

    async fn tell(&self, case: &Case<'_>, notice: delivery::Notice<'_>) {
        if let Err(error) = self.post.tell(case.user, notice).await {
            tracing::error!(connection = %case.peer.connection, user = %case.user, %error, "a user was not told of a change");
        }
    }

    /// What has to be approved, where the guard is approval; whoever has proven a factor needs no approval.
    fn waiting(&self, case: &Case<'_>, admitted: bool, what: &str) -> Option<Waiting> {
        let needed = !admitted && case.rules.settings.enrolment_guard == EnrolmentGuard::Approval;
        needed.then(|| Waiting {
            user: case.user.clone(),
            what: what.to_owned(),
            source: case.attempt.source.to_string(),
            host: case.attempt.host.to_string(),
        })
    }

    /// Registers a user who is not, where anyone may enrol.
    async fn register(&self, case: &Case<'_>) -> Result<(), Fault> {
        if case.standing.is_some() {
            return Ok(());
        }
        let entry = self.enrolment(case, Outcome::Noted, "user-added", "registered by enrolling");
        match self.store.add_user(case.user.clone(), false, "enrolled at sign-on".to_owned(), entry).await {
            Ok(()) | Err(store::Error::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn contact(&self, case: &Case<'_>, id: i64) -> Result<Contact, Fault> {
        let contacts = self.store.user(case.user.clone()).await?.contacts;
        contacts.into_iter().find(|contact| contact.id == id).ok_or(Fault::Gone)
    }

    fn enrolment(&self, case: &Case<'_>, outcome: Outcome, reason: &str, detail: &str) -> Entry {
        let entry = self.entry_of(case.peer, case.attempt, Event::Enrolment, outcome).reason(reason);
        if detail.is_empty() { entry } else { entry.detail(detail) }
    }

    async fn note_enrolment(&self, case: &Case<'_>, outcome: Outcome, reason: &str, detail: &str) -> Result<(), Fault> {
        Ok(self.store.append(self.enrolment(case, outcome, reason, detail)).await?)
    }

    fn panel_of(
        &self,
        case: &Case<'_>,
        talk: Talk,
        (id, title): (&'static str, &'static str),
        lines: Vec<PanelLine>,
        keys: Keys,
        message: Option<&str>,
    ) -> Verdict {
        self.talks.put(case, talk);
        let heading = self.heading(case.peer, case.attempt);
        let message = message.map(|text| (text.to_owned(), !matches!(text, "Set up." | "Removed.")));
        Verdict::Challenge(Prompt::Panel(Box::new(Panel { heading, id, title, lines, keys, message })))
    }
}
