//! Biometric data: what an attachment is. The content travels apart from the notice.

use super::json::{codes, record};
use super::local_time::LocalTime;
use super::part::LocalId;
use super::text::Line;
use crate::id::Digest;

codes! {
    /// What was captured.
    pub enum BiometricKind {
        /// The face.
        Face = "FACE",
        /// Fingerprints.
        Fingerprints = "FINGERPRINTS",
        /// A palm print.
        Palm = "PALM",
        /// The iris.
        Iris = "IRIS",
        /// A DNA profile.
        Dna = "DNA",
        /// The voice.
        Voice = "VOICE",
    }
}

record! {
    /// Biometric data of a person, held as an attachment.
    pub struct Biometric {
        /// Whose: the id of a person.
        about: LocalId,
        /// What was captured.
        kind: BiometricKind,
        /// The format of the attachment, such as image/jpeg or ANSI/NIST-ITL.
        format: Line<64>,
        /// When it was captured.
        captured_at: Option<LocalTime>,
        /// SHA-256 of the attachment.
        sha256: Digest,
        /// Its size, in bytes.
        size: u64,
    }
}
