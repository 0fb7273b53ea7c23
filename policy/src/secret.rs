//! A value that is wiped when dropped and never printed.

use core::fmt;

use sha2::Digest;
use zeroize::Zeroize;

/// A secret: `Debug` shows that there is one, never what it is; the memory is wiped on drop.
///
/// There is no `Display`, no `PartialEq` and no `Serialize`: compare with [`Secret::equals`], which takes the same time
/// wherever the difference stands, and reach the value only through [`Secret::expose`].
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Each call is a place to look at in a review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Whether both hold the same bytes, in time that depends on the length only.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_ref(), other.0.as_ref()).into()
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Wipes `bytes`, which held a secret on its way to where it is kept.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

/// The SHA-256 of `bytes`: enough to recognise what may not be kept.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:#?}", Some(&secret)).matches("hunter2").count(), 0);
    }

    #[test]
    fn equality_is_of_bytes() {
        assert!(Secret::new(String::from("a")).equals(&Secret::new(String::from("a"))));
        assert!(!Secret::new(String::from("a")).equals(&Secret::new(String::from("b"))));
        assert!(!Secret::new(String::from("a")).equals(&Secret::new(String::from("ab"))));
    }
}
