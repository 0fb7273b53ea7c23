//! Checkpoints: signed statements of how far a node's chain had come, which whoever keeps one can hold against the audit later.
//!
//! The signature is Ed25519 (RFC 8032) over the lines
//!
//! ```text
//!   sallyport audit checkpoint 1
//!   node NODE
//!   count COUNT
//!   id ID
//!   hash HASH
//!   at MILLISECONDS
//! ```
//!
//! each ended by a line feed. A checkpoint is an entry of the audit itself, so that it goes wherever entries go. Only the
//! signing key can make one, and it is not in the store.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Head;
use super::{Entry, Event, Outcome};

/// How many bytes a signing key has.
pub const SEED_LENGTH: usize = 32;
/// What stands before an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PEM: (&str, &str) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");

/// Whose signatures count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether `signature` is this key's under `text`.
    #[must_use]
    pub fn signed(&self, text: &str, signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text.as_bytes(), &signature.0).is_ok()
    }

    /// As openssl reads it.
    #[must_use]
    pub fn pem(&self) -> String {
        let (begin, end) = PEM;
        format!("{begin}\n{}\n{end}", BASE64.encode(&[&SPKI[..], &self.0].concat()))
    }

    /// The keys in a text: one a line, as [`Display`](fmt::Display) writes them, or in PEM form. Empty lines and lines that begin with `#`
    /// are skipped.
    ///
    /// # Errors
    /// Where a line is neither, or there is none.
    pub fn all(text: &str) -> Result<Vec<Self>, &'static str> {
        let mut keys = Vec::new();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines.filter(|line| *line != PEM.0 && *line != PEM.1) {
            let spki = || BASE64.decode(line.as_bytes()).ok()?.strip_prefix(&SPKI)?.try_into().ok().map(Self);
            keys.push(match spki() {
                Some(key) => key,
                None => line.parse()?,
            });
        }
        if keys.is_empty() { Err("there is no key") } else { Ok(keys) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("ed25519:").unwrap_or(text);
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or("a public key is `ed25519:` and 64 hexadecimal digits")
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// An Ed25519 signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Signature([u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or("a signature is 128 hexadecimal digits")
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        signature.to_string()
    }
}

impl TryFrom<String> for Signature {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Who signs.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// The signer with this key.
    #[must_use]
    pub fn new(seed: &[u8; SEED_LENGTH]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    /// By which key others verify.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a text.
    #[must_use]
    pub fn sign(&self, text: &str) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        Signature(bytes)
    }

    /// A checkpoint, as an entry of `node` at `at`.
    #[must_use]
    pub fn checkpoint(&self, node: &str, at: Timestamp, head: Head) -> Entry {
        let entry = Entry::new(at, node, Event::Checkpoint, Outcome::Noted);
        let signature = self.sign(&statement(&entry.node, at.as_millisecond(), head));
        let Head { count, id, hash } = head;
        let public = self.public;
        entry.detail(&format!("count={count} id={id} hash={hash} key={public} signature={signature}"))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public)
    }
}

/// A checkpoint, as an auditor keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose chain.
    pub node: String,
    /// How far it had come.
    #[serde(flatten)]
    pub head: Head,
    /// When it was made.
    pub at: Timestamp,
    /// Who says so.
    pub key: PublicKey,
    /// And this is the proof.
    pub signature: Signature,
}

impl Checkpoint {
    /// The one that an entry holds, by what the store keeps of it; `None` where what it says is no checkpoint.
    #[must_use]
    pub fn parse(node: &str, at: i64, detail: &str) -> Option<Self> {
        let mut words = detail.split(' ');
        let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let (count, id, hash) = (value("count")?, value("id")?, value("hash")?);
        let (key, signature) = (value("key")?, value("signature")?);
        let head = Head { count: count.parse().ok()?, id: id.parse().ok()?, hash: hash.parse().ok()? };
        Some(Self {
            node: node.to_owned(),
            head,
            at: Timestamp::from_millisecond(at).ok()?,
            key: key.parse().ok()?,
            signature: signature.parse().ok()?,
        })
        .filter(|_| words.next().is_none())
    }

    /// Whether its key signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.key.signed(&statement(&self.node, self.at.as_millisecond(), self.head), &self.signature)
    }
}

fn statement(node: &str, at: i64, Head { count, id, hash }: Head) -> String {
    format!("sallyport audit checkpoint 1\nnode {node}\ncount {count}\nid {id}\nhash {hash}\nat {at}\n")
}

#[cfg(test)]
mod tests {
    use super::super::chain::Hash;
    use super::*;

    fn head() -> Head {
        Head { count: 41, id: 57, hash: Hash::of(b"x") }
    }

    #[test]
    fn a_checkpoint_is_read_from_its_entry_and_holds() {
        let signer = Signer::new(&[7; SEED_LENGTH]).unwrap();
        let entry = signer.checkpoint("gate-1", Timestamp::UNIX_EPOCH, head());
        let read = |detail: &str| Checkpoint::parse("gate-1", 0, detail);
        let detail = entry.detail.unwrap();
        let checkpoint = read(&detail).unwrap();
        assert_eq!((checkpoint.head, checkpoint.key), (head(), signer.public()));
        assert!(checkpoint.is_signed());
        let json = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(serde_json::from_str::<Checkpoint>(&json).unwrap(), checkpoint);
        for (old, new) in
            [("count=41", "count=40"), ("id=57", "id=58"), ("hash=2", "hash=3"), ("signature=", "signature=0")]
        {
            let changed = read(&detail.replacen(old, new, 1));
            assert!(changed.is_none_or(|changed| !changed.is_signed()), "{old}");
        }
        let others = [
            Checkpoint { node: "gate-2".into(), ..checkpoint.clone() },
            Checkpoint { at: Timestamp::MAX, ..checkpoint },
        ];
        assert!(others.iter().all(|other| !other.is_signed()));
        for wrong in ["", "count=1", &detail.replace("id=", "ident="), &format!("{detail} more=1")] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_in_both_forms() {
        let key = Signer::new(&[1; SEED_LENGTH]).unwrap().public();
        assert_eq!(PublicKey::all(&format!("# gate-1\n{key}\n\n{}", key.pem())), Ok(vec![key, key]));
        assert!(PublicKey::all("").is_err() && PublicKey::all("ed25519:00").is_err());
        assert!(!format!("{:?}", Signer::new(&[1; SEED_LENGTH])).contains("0101"));
    }
}
