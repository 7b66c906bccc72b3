//! Where each format of a machine-readable zone has what. Lines and positions count from 1, as Doc 9303 counts them.

/// The format of a machine-readable zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MrzFormat {
    /// Identity card of size 1 (part 5).
    Td1,
    /// Identity card of size 2 (part 6).
    Td2,
    /// Passport (part 4).
    Td3,
    /// Visa of size A (part 7).
    MrvA,
    /// Visa of size B (part 7).
    MrvB,
}

/// Positions `from` to `to` of a line.
pub(super) struct Field {
    pub(super) line: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A check digit: what it is called, where it stands, and what it covers.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) line: usize,
    pub(super) position: usize,
    pub(super) over: &'static [Field],
}

/// Where a format has what.
pub(super) struct Layout {
    pub(super) code: Field,
    pub(super) issuer: Field,
    pub(super) name: Field,
    pub(super) number: Field,
    /// Where a document number goes on that is longer than nine characters (parts 5 and 6).
    pub(super) continuation: Option<Field>,
    pub(super) nationality: Field,
    pub(super) birth: Field,
    pub(super) sex: Field,
    pub(super) expiry: Field,
    pub(super) checks: &'static [Check],
}

const fn field(line: usize, from: usize, to: usize) -> Field {
    Field { line, from, to }
}

pub(super) const NUMBER: &str = "document number";
pub(super) const PERSONAL: &str = "personal number";
pub(super) const BIRTH: &str = "date of birth";
pub(super) const EXPIRY: &str = "date of expiry";
pub(super) const WHOLE: &str = "whole zone";

static TD1: Layout = Layout {
    code: field(1, 1, 2),
    issuer: field(1, 3, 5),
    name: field(3, 1, 30),
    number: field(1, 6, 14),
    continuation: Some(field(1, 16, 30)),
    nationality: field(2, 16, 18),
    birth: field(2, 1, 6),
    sex: field(2, 8, 8),
    expiry: field(2, 9, 14),
    checks: &[
        Check { name: NUMBER, line: 1, position: 15, over: &[field(1, 6, 14)] },
        Check { name: BIRTH, line: 2, position: 7, over: &[field(2, 1, 6)] },
        Check { name: EXPIRY, line: 2, position: 15, over: &[field(2, 9, 14)] },
        Check {
            name: WHOLE,
            line: 2,
            position: 30,
            over: &[field(1, 6, 30), field(2, 1, 7), field(2, 9, 15), field(2, 19, 29)],
        },
    ],
};
static TD2: Layout = Layout {
    name: field(1, 6, 36),
    continuation: Some(field(2, 29, 35)),
    checks: &[
        Check { name: NUMBER, line: 2, position: 10, over: &[field(2, 1, 9)] },
        Check { name: BIRTH, line: 2, position: 20, over: &[field(2, 14, 19)] },
        Check { name: EXPIRY, line: 2, position: 28, over: &[field(2, 22, 27)] },
        Check {
            name: WHOLE,
            line: 2,
            position: 36,
            over: &[field(2, 1, 10), field(2, 14, 20), field(2, 22, 35)],
        },
    ],
    ..TWO_LINES
};
static TD3: Layout = Layout {
    checks: &[
        Check { name: NUMBER, line: 2, position: 10, over: &[field(2, 1, 9)] },
        Check { name: BIRTH, line: 2, position: 20, over: &[field(2, 14, 19)] },
        Check { name: EXPIRY, line: 2, position: 28, over: &[field(2, 22, 27)] },
        Check { name: PERSONAL, line: 2, position: 43, over: &[field(2, 29, 42)] },
        Check {
            name: WHOLE,
            line: 2,
            position: 44,
            over: &[field(2, 1, 10), field(2, 14, 20), field(2, 22, 43)],
        },
    ],
    ..TWO_LINES
};
static MRV_A: Layout = TWO_LINES;
static MRV_B: Layout = Layout { name: field(1, 6, 36), ..TWO_LINES };

/// What the formats of two lines have in common. It is that of a visa of size A: visas have no digit over the whole.
const TWO_LINES: Layout = Layout {
    code: field(1, 1, 2),
    issuer: field(1, 3, 5),
    name: field(1, 6, 44),
    number: field(2, 1, 9),
    continuation: None,
    nationality: field(2, 11, 13),
    birth: field(2, 14, 19),
    sex: field(2, 21, 21),
    expiry: field(2, 22, 27),
    checks: &[
        Check { name: NUMBER, line: 2, position: 10, over: &[field(2, 1, 9)] },
        Check { name: BIRTH, line: 2, position: 20, over: &[field(2, 14, 19)] },
        Check { name: EXPIRY, line: 2, position: 28, over: &[field(2, 22, 27)] },
    ],
};

impl MrzFormat {
    /// The format of lines of these lengths; a visa's first line begins with V.
    pub(super) fn of(lines: &[String]) -> Option<Self> {
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        let is_visa = lines.first().is_some_and(|line| line.starts_with('V'));
        match (lengths.as_slice(), is_visa) {
            ([30, 30, 30], _) => Some(Self::Td1),
            ([36, 36], false) => Some(Self::Td2),
            ([36, 36], true) => Some(Self::MrvB),
            ([44, 44], false) => Some(Self::Td3),
            ([44, 44], true) => Some(Self::MrvA),
            _ => None,
        }
    }

    pub(super) fn layout(self) -> &'static Layout {
        match self {
            Self::Td1 => &TD1,
            Self::Td2 => &TD2,
            Self::Td3 => &TD3,
            Self::MrvA => &MRV_A,
            Self::MrvB => &MRV_B,
        }
    }
}
