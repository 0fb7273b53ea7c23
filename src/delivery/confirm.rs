//! Confirming a contact: a code goes to it, and only whoever reads it there can say it.
//!
//! The code is kept as a keyed hash bound to the contact, counts for [`CODE_LIFE`](super::CODE_LIFE), and has five tries, each taken off
//! before anything is compared. Another code has five of its own, and there are as many codes as messages may be sent.

use policy::challenge::mask;
use policy::{Secret, User};

use super::{Change, Fault, Notice, Post};
use crate::audit::{Entry, Outcome};
use crate::store::{Confirmed, Contact, Error, Waiting};

/// How many digits the code has.
const DIGITS: u8 = 8;

impl Post {
    /// Sends a new code to `contact`, which has to confirm it, and gives the message's number; codes sent before count no
    /// more.
    ///
    /// # Errors
    /// [`Error::Full`] where too many were sent, or the store does not answer.
    pub async fn send_code(&self, user: &User, contact: &Contact, entry: Entry) -> Result<String, Fault> {
        let inner = &*self.0;
        let code = inner.system.passcode(DIGITS)?;
        let hash = inner.key.mark(owner(contact.id).as_bytes(), &bytes(&code));
        let parcel = self.confirmation(user, contact, &code).await?;
        let id = parcel.id.clone();
        inner.store.expect_code((user.clone(), contact.id), hash, parcel, entry).await?;
        self.wake();
        Ok(id)
    }

    /// What comes of `code`, keyed for contact `id` of `user`; where it is right the contact counts from now on, its user's
    /// others are told of it, and so is it; with `waiting`, it waits for approval instead. `entry` is that of a success.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn confirm(
        &self,
        user: &User,
        id: i64,
        code: &Secret<String>,
        waiting: Option<Waiting>,
        entry: Entry,
    ) -> Result<Confirmed, Fault> {
        let inner = &*self.0;
        let contacts = inner.store.user(user.clone()).await?.contacts;
        let Some(contact) = contacts.into_iter().find(|contact| contact.id == id) else {
            return Err(Error::Missing(format!("contact {id} of {user}")).into());
        };
        // Before the try: nothing that fails after it may cost one.
        let shown = mask(&contact.address);
        let mut told = Vec::new();
        if waiting.is_none() {
            told = self.notices(user, Notice::ContactChanged(Change::Verified, &shown)).await?;
            told.extend(self.notice_to(user, &contact, Notice::Enrolled(&shown)).await?);
        }
        let Some((hash, left)) = inner.store.take_confirmation(id, inner.system.now()).await? else {
            let over = Entry { outcome: Outcome::Denied, ..entry }.reason("code-over");
            inner.store.append(over).await?;
            return Ok(Confirmed::Over);
        };
        if !inner.key.bears(owner(id).as_bytes(), &bytes(code), &hash) {
            let wrong = Entry { outcome: Outcome::Denied, ..entry }.reason("code-wrong");
            inner.store.append(wrong.detail(&format!("{shown}; {left} tries left"))).await?;
            return Ok(Confirmed::No(left));
        }
        let counts = inner.store.confirm(id, hash, waiting, entry, told).await?;
        self.wake();
        Ok(if counts { Confirmed::Yes } else { Confirmed::Over })
    }
}

/// What a contact's code belongs to.
fn owner(id: i64) -> String {
    format!("contact {id}")
}

/// The digits of what was keyed.
fn bytes(code: &Secret<String>) -> Secret<Vec<u8>> {
    let mut digits = Vec::with_capacity(code.expose().len());
    digits.extend(code.expose().bytes().filter(u8::is_ascii_digit));
    Secret::new(digits)
}
