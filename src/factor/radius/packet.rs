//! RADIUS packets, RFC 2865 section 3: a header of 20 bytes and attributes, bounded, total, without a copy.
//!
//! Nothing here is verified: that is for whoever has the secret. What lies behind the length in the header is padding and
//! is left out; whatever does not add up is no packet.

/// The most bytes of a packet.
pub const PACKET_MAX: usize = 4_096;
/// The least: the header.
pub const HEADER: usize = 20;
/// The most bytes of an attribute's value.
pub const VALUE_MAX: usize = 253;

/// A packet, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is: Access-Request 1, Access-Accept 2, Access-Reject 3, Access-Challenge 11.
    pub code: u8,
    /// Which request it belongs to.
    pub identifier: u8,
    /// Random in a request, a hash in a reply.
    pub authenticator: [u8; 16],
    /// The attributes in order.
    pub attributes: Vec<Attribute<'a>>,
    /// All of it, without padding.
    pub bytes: &'a [u8],
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: u8,
    /// Where in the packet its value begins.
    pub at: usize,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The values of all attributes of one kind, in order.
    pub fn values(&self, kind: u8) -> impl Iterator<Item = &'a [u8]> {
        self.attributes.iter().filter(move |attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }
}

/// Takes a datagram apart; `None` where it is no packet.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Packet<'_>> {
    let [code, identifier, high, low] = *datagram.first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(HEADER..=PACKET_MAX).contains(&length) {
        return None;
    }
    let bytes = datagram.get(..length)?;
    let authenticator = *bytes.get(4..)?.first_chunk::<16>()?;
    let mut attributes = Vec::new();
    let mut at = HEADER;
    while at < length {
        let [kind, size] = *bytes.get(at..)?.first_chunk::<2>()?;
        let size = usize::from(size);
        // Type and length are part of the length.
        if size < 2 {
            return None;
        }
        attributes.push(Attribute { kind, at: at + 2, value: bytes.get(at + 2..at + size)? });
        at += size;
    }
    Some(Packet { code, identifier, authenticator, attributes, bytes })
}

/// Puts a packet together; `None` where a value or all of it is too long.
#[must_use]
pub fn write(code: u8, identifier: u8, authenticator: [u8; 16], attributes: &[(u8, &[u8])]) -> Option<Vec<u8>> {
    let mut bytes = vec![code, identifier, 0, 0];
    bytes.extend_from_slice(&authenticator);
    for (kind, value) in attributes.iter().copied() {
        if value.len() > VALUE_MAX {
            return None;
        }
        bytes.push(kind);
        bytes.push(u8::try_from(value.len() + 2).ok()?);
        bytes.extend_from_slice(value);
    }
    if bytes.len() > PACKET_MAX {
        return None;
    }
    let [high, low] = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    bytes.splice(2..4, [high, low]);
    Some(bytes)
}
