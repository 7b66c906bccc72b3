//! The log: every acceptance and expiry, in order, as leaves of a Merkle tree (RFC 6962 section 2.1; C2SP tlog-tiles).

use crate::crypto::sha256;
use crate::id::{Digest, Timestamp};

/// Bytes of an encoded entry.
pub const ENTRY_LEN: usize = 1 + 2 * Digest::LEN + 8;

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An ACCEPTED receipt was issued.
    Accepted,
    /// An EXPIRED receipt was issued.
    Expired,
}

impl EntryKind {
    fn byte(self) -> u8 {
        match self {
            Self::Accepted => 1,
            Self::Expired => 2,
        }
    }
}

/// One entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EntryKind,
    /// SHA-256 of the envelope's header.
    pub header_digest: Digest,
    /// SHA-256 of the encoded signed receipt.
    pub receipt_digest: Digest,
    /// When.
    pub at: Timestamp,
}

impl Entry {
    /// Kind, header digest, receipt digest, milliseconds since the epoch, big-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_LEN);
        out.push(self.kind.byte());
        out.extend_from_slice(self.header_digest.as_bytes());
        out.extend_from_slice(self.receipt_digest.as_bytes());
        out.extend_from_slice(&self.at.millis().to_be_bytes());
        out
    }

    /// Reads an entry; `None` where the bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (header, rest) = rest.split_first_chunk::<{ Digest::LEN }>()?;
        let (receipt, rest) = rest.split_first_chunk::<{ Digest::LEN }>()?;
        let at: [u8; 8] = rest.try_into().ok()?;
        let kind = [EntryKind::Accepted, EntryKind::Expired].into_iter().find(|one| one.byte() == *kind)?;
        Some(Self {
            kind,
            header_digest: Digest::new(*header),
            receipt_digest: Digest::new(*receipt),
            at: Timestamp::from_millis(u64::from_be_bytes(at)),
        })
    }

    /// The leaf hash of the entry.
    #[must_use]
    pub fn leaf_hash(&self) -> Digest {
        leaf_hash(&self.encode())
    }
}

/// RFC 6962: SHA-256(0x00 || entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    sha256(&[&[0x00], entry])
}

/// RFC 6962: the Merkle tree hash of a list of leaf hashes.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            // The left half is the largest power of two below the length.
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            sha256(&[&[0x01], root(left).as_bytes(), root(right).as_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs and roots published with the reference implementation of RFC 6962 (certificate-transparency,
    /// merkle tree tests).
    const INPUTS: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn g07_roots_are_those_published_with_rfc_6962() {
        let leaves: Vec<Digest> =
            INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
        for (index, expected) in ROOTS.iter().enumerate() {
            assert_eq!(root(&leaves[..=index]).to_string(), *expected, "tree of {} leaves", index + 1);
        }
        assert_eq!(root(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn an_entry_comes_back_from_its_bytes() {
        let entry = Entry {
            kind: EntryKind::Expired,
            header_digest: Digest::new([1; 32]),
            receipt_digest: Digest::new([2; 32]),
            at: Timestamp::from_millis(7),
        };
        assert_eq!(entry.encode().len(), ENTRY_LEN);
        assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        assert_eq!(Entry::decode(&entry.encode()[1..]), None);
    }
}
