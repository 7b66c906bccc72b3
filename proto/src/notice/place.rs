//! Countries, citizenships and places.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use super::json::{Word, codes, word};
use super::mistake::Rule;
use crate::id::State;

const COUNTRY_RULE: &str =
    "write the ISO 3166-1 alpha-3 code of a State, such as FRA; an organisation is not one";
const CITIZENSHIP_RULE: &str = "write the ISO 3166-1 alpha-3 code of a State, such as FRA (DEU, not D, for Germany), or \
    a code of ICAO Doc 9303-3: XXA (stateless), XXB or XXC (refugee), XXX (unknown), UNK (resident of Kosovo with a \
    document of the United Nations), GBD, GBN, GBO, GBP or GBS (British, but not a citizen)";
const PLACE_RULE: &str =
    "write a UN/LOCODE of 5 characters, such as FRCDG, or an IATA code of 3 letters, such as CDG";
const SCRIPT_RULE: &str = "write the ISO 15924 code of a script, such as Arab, Cyrl or Latn";

/// A State, and not an organisation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(State);

impl Country {
    /// The State.
    #[must_use]
    pub fn state(self) -> State {
        self.0
    }
}

impl Word for Country {
    fn rule() -> Cow<'static, str> {
        COUNTRY_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let state: Option<State> = text.parse().ok();
        state.filter(|state| !state.is_organisation()).map(Self).ok_or_else(|| Rule::new(COUNTRY_RULE))
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": COUNTRY_RULE })
    }
}

word!(Country);

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

codes! {
    /// Codes that stand in place of a citizenship and name no State (ICAO Doc 9303-3, section 5).
    pub enum NoState {
        /// Stateless (1954 Convention).
        Stateless = "XXA",
        /// Refugee (1951 Convention).
        Refugee = "XXB",
        /// Another refugee.
        OtherRefugee = "XXC",
        /// Unspecified or unknown.
        Unknown = "XXX",
        /// A resident of Kosovo with a travel document of the United Nations mission there.
        KosovoResident = "UNK",
    }
}

codes! {
    /// British nationalities other than citizenship (ICAO Doc 9303-3, section 5). The State is the United Kingdom.
    pub enum British {
        /// British Overseas Territories Citizen.
        OverseasTerritories = "GBD",
        /// British National (Overseas).
        NationalOverseas = "GBN",
        /// British Overseas Citizen.
        Overseas = "GBO",
        /// British Protected Person.
        Protected = "GBP",
        /// British Subject.
        Subject = "GBS",
    }
}

/// The State whose nationals [`British`] ones are.
const UNITED_KINGDOM: &str = "GBR";

/// A citizenship, or why there is none to name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Citizenship {
    /// Of a State.
    Of(Country),
    /// British, but not a citizen.
    British(British),
    /// Of none.
    None(NoState),
}

impl Citizenship {
    /// The State that paragraph 3 names for it.
    #[must_use]
    pub fn state(self) -> Option<State> {
        match self {
            Self::Of(country) => Some(country.state()),
            Self::British(_) => UNITED_KINGDOM.parse().ok(),
            Self::None(_) => None,
        }
    }
}

impl Word for Citizenship {
    fn rule() -> Cow<'static, str> {
        CITIZENSHIP_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        if let Some(code) = NoState::ALL.iter().find(|code| code.as_str() == text) {
            return Ok(Self::None(*code));
        }
        if let Some(code) = British::ALL.iter().find(|code| code.as_str() == text) {
            return Ok(Self::British(*code));
        }
        Country::parse(text).map(Self::Of).map_err(|_| Rule::new(CITIZENSHIP_RULE))
    }

    fn text(&self) -> String {
        match self {
            Self::Of(country) => country.to_string(),
            Self::British(code) => code.to_string(),
            Self::None(code) => code.to_string(),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": CITIZENSHIP_RULE })
    }
}

word!(Citizenship);

impl fmt::Debug for Citizenship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A port, airport, station or border crossing: a UN/LOCODE (`FRCDG`) or an IATA location (`CDG`). Whether the code
/// is in use is not checked: the lists change twice a year.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceCode(Box<str>);

impl PlaceCode {
    /// The State it lies in, which a UN/LOCODE begins with; `None` for the high seas and for IATA codes.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        let alpha2 = self.0.get(..2).filter(|_| self.0.len() == 5)?;
        rust_iso3166::from_alpha2(alpha2)?.alpha3.parse().ok()
    }
}

impl Word for PlaceCode {
    fn rule() -> Cow<'static, str> {
        PLACE_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let letters = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase());
        let valid = match text.split_at_checked(2) {
            Some((_, place)) if place.len() == 1 => letters(text),
            // UN/LOCODE: the country in two letters (XZ is the high seas), then letters and the digits 2 to 9.
            Some((country, place)) if place.len() == 3 => {
                let known = country == "XZ" || rust_iso3166::from_alpha2(country).is_some();
                known && letters(country) && place.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'9'))
            }
            _ => false,
        };
        if valid { Ok(Self(text.into())) } else { Err(Rule::new(PLACE_RULE)) }
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[A-Z]{2}[A-Z2-9]{3}$|^[A-Z]{3}$", "description": PLACE_RULE })
    }
}

word!(PlaceCode);

impl fmt::Debug for PlaceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The script a name is written in (ISO 15924).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Script(Box<str>);

impl Word for Script {
    fn rule() -> Cow<'static, str> {
        SCRIPT_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let mut bytes = text.bytes();
        let valid = text.len() == 4
            && bytes.next().is_some_and(|b| b.is_ascii_uppercase())
            && bytes.all(|b| b.is_ascii_lowercase());
        if valid { Ok(Self(text.into())) } else { Err(Rule::new(SCRIPT_RULE)) }
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[A-Z][a-z]{3}$", "description": SCRIPT_RULE })
    }
}

word!(Script);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_is_not_a_country() {
        assert!("FRA".parse::<Country>().is_ok());
        for bad in ["XPO", "UNO", "XXA", "fra", "FR", "ZZZ", ""] {
            assert!(bad.parse::<Country>().is_err(), "`{bad}` was taken for a country");
        }
    }

    #[test]
    fn codes_for_no_citizenship_name_no_state() {
        for code in ["XXA", "XXB", "XXC", "XXX", "UNK"] {
            let citizenship: Citizenship = code.parse().unwrap();
            assert_eq!((citizenship.state(), citizenship.to_string().as_str()), (None, code));
        }
        assert_eq!("TUN".parse::<Citizenship>().unwrap().state(), Some("TUN".parse().unwrap()));
        for bad in ["XPO", "UNO", "D", "RKS", "fra"] {
            assert!(bad.parse::<Citizenship>().is_err(), "`{bad}` was taken for a citizenship");
        }
    }

    #[test]
    fn british_nationals_who_are_not_citizens_are_the_united_kingdoms() {
        for code in ["GBD", "GBN", "GBO", "GBP", "GBS"] {
            let citizenship: Citizenship = code.parse().unwrap();
            assert_eq!(citizenship.state(), Some("GBR".parse().unwrap()));
            assert_eq!(citizenship.to_string(), code);
            assert!(code.parse::<Country>().is_err(), "{code} is not a State");
        }
    }

    #[test]
    fn a_place_is_a_un_locode_or_an_iata_code() {
        for good in ["FRCDG", "KENBO", "TRIST", "CDG", "XZ2AB", "US2NA"] {
            assert_eq!(good.parse::<PlaceCode>().unwrap().to_string(), good);
        }
        assert_eq!("FRCDG".parse::<PlaceCode>().unwrap().state(), Some("FRA".parse().unwrap()));
        for nowhere in ["CDG", "XZ2AB"] {
            assert_eq!(nowhere.parse::<PlaceCode>().unwrap().state(), None);
        }
        for bad in ["", "CD", "FR CDG", "frcdg", "ZZCDG", "FRCD1", "FRCDGX", "C1G", "ÉA"] {
            assert!(bad.parse::<PlaceCode>().is_err(), "`{bad}` was taken for a place");
        }
    }

    #[test]
    fn a_script_is_four_letters() {
        assert!("Arab".parse::<Script>().is_ok());
        for bad in ["arab", "ARAB", "Ara", "Arabic"] {
            assert!(bad.parse::<Script>().is_err(), "`{bad}` was taken for a script");
        }
    }
}
