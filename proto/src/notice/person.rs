//! Persons. There are no fields for religion or ethnicity, nor others by which persons could be profiled on a
//! discriminatory ground, and there will be none (S/RES/2396, paragraph 4).

use super::date::BirthDate;
use super::document::Document;
use super::json::{codes, record};
use super::place::{Citizenship, Country, Script};
use super::text::{Line, List, Prose};

codes! {
    /// Why a person stands in a notice. Suspects are told from those who travel with them (paragraphs 4 and 29).
    pub enum PersonRole {
        /// The person the notice is about.
        Subject = "SUBJECT",
        /// An adult who travels along.
        AccompanyingAdult = "ACCOMPANYING_ADULT",
        /// A child who travels along.
        Child = "CHILD",
        /// Someone who may be a victim.
        PossibleVictim = "POSSIBLE_VICTIM",
    }
}

codes! {
    /// What a name is.
    pub enum NameKind {
        /// The name the person is known by to the authorities.
        Primary = "PRIMARY",
        /// Another name the person uses or used.
        Alias = "ALIAS",
        /// A name in the script of its language.
        OriginalScript = "ORIGINAL_SCRIPT",
        /// The same in Latin letters.
        Transliteration = "TRANSLITERATION",
    }
}

codes! {
    /// Sex as travel documents state it (ICAO Doc 9303), and U.
    pub enum SexCode {
        /// Male.
        Male = "M",
        /// Female.
        Female = "F",
        /// Stated as unspecified.
        StatedX = "X",
        /// Not known.
        Unknown = "U",
    }
}

record! {
    /// A name. At least one of surname and given names is written.
    pub struct Name {
        /// What it is.
        kind: NameKind,
        /// The surname, or the whole name where it has no parts.
        surname: Option<Line<128>>,
        /// The given names.
        given_names: Option<Line<128>>,
        /// The script it is written in.
        script: Option<Script>,
    }
}

record! {
    /// Where a person was born.
    pub struct BirthPlace {
        /// The place, by name.
        place: Option<Line<128>>,
        /// The State, as it is called today.
        state: Option<Country>,
    }
}

record! {
    /// A person's sex.
    pub struct Sex {
        /// M, F, X or U.
        code: SexCode,
        /// What the source says, in its own code.
        source: Option<Line<32>>,
    }
}

record! {
    /// Where a person lives.
    pub struct Residence {
        /// The State.
        state: Country,
        /// The address.
        address: Option<Line<256>>,
    }
}

record! {
    /// A person. The citizenships of every SUBJECT are addressed by paragraph 3.
    pub struct Person {
        /// Why the person stands in the notice.
        role: PersonRole,
        /// Why a person who is, or may be, under 18 is nevertheless the SUBJECT. Only then.
        minor_subject: Option<Prose<1024>>,
        /// The names. A SUBJECT has at least one.
        names: List<Name, 0, 32>,
        /// The date of birth, as far as it is known.
        birth_date: Option<BirthDate>,
        /// The place of birth.
        birth_place: Option<BirthPlace>,
        /// The sex.
        sex: Option<Sex>,
        /// All citizenships. A SUBJECT has at least one entry; XXX where none is known.
        citizenships: List<Citizenship, 0, 16>,
        /// Where the person lives.
        residence: Option<Residence>,
        /// Travel documents.
        documents: List<Document, 0, 16>,
    }
}
