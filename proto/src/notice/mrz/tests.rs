//! The specimens of ICAO Doc 9303, and zones made from them.

use proptest::prelude::*;

use super::layout::{BIRTH, EXPIRY, NUMBER, WHOLE};
use super::*;
use crate::notice::person::SexCode;

// The State and the persons of these zones are those that Doc 9303 invents for its specimens: TD1 of part 5, TD2 of
// part 6, TD3 of part 4, the visas of part 7.
const TD1_LINES: [&str; 3] =
    ["I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"];
const TD2_LINES: [&str; 2] = ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
const TD3_LINES: [&str; 2] =
    ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
const MRVA_LINES: [&str; 2] =
    ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L8988901C4XXX4009078F96121096ZE184226B<<<<<<"];
const MRVB_LINES: [&str; 2] =
    ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "L8988901C4XXX4009078F9612109<<<<<<<<"];

fn mrz(lines: &[&str]) -> Result<Mrz, Vec<MrzFault>> {
    Mrz::new(lines.iter().map(ToString::to_string).collect())
}

#[test]
fn the_specimens_of_doc_9303_verify() {
    for (lines, format, number) in [
        (TD1_LINES.as_slice(), MrzFormat::Td1, "D23145890"),
        (&TD2_LINES, MrzFormat::Td2, "D23145890"),
        (&TD3_LINES, MrzFormat::Td3, "L898902C3"),
        (&MRVA_LINES, MrzFormat::MrvA, "L8988901C"),
        (&MRVB_LINES, MrzFormat::MrvB, "L8988901C"),
    ] {
        let mrz = mrz(lines).unwrap_or_else(|faults| panic!("{format:?}: {faults:?}"));
        assert_eq!((mrz.format(), mrz.document_number().as_str()), (format, number));
    }
}

// Doc 9303, part 11, appendix D.2: document numbers of twelve characters.
const TD1_LONG: [&str; 3] =
    ["I<UTOD23145890<7349<<<<<<<<<<<", "3407127M9507122UTO<<<<<<<<<<<2", "STEVENSON<<PETER<JOHN<<<<<<<<<"];
const TD2_LONG: [&str; 2] = ["I<UTOSTEVENSON<<PETER<JOHN<<<<<<<<<<", "D23145890<UTO3407127M95071227349<<<8"];

#[test]
fn a_long_document_number_goes_on_in_the_optional_data() {
    for (lines, line, position) in [(TD1_LONG.as_slice(), 1, 19), (&TD2_LONG, 2, 32)] {
        assert_eq!(mrz(lines).unwrap().document_number(), "D23145890734");
        let altered: Vec<_> = lines.iter().map(|line| line.replace("7349", "7359")).collect();
        let altered: Vec<_> = altered.iter().map(String::as_str).collect();
        let faults = mrz(&altered).unwrap_err();
        let expected = MrzFault::CheckDigit { field: NUMBER, line, position, found: '9', computed: '0' };
        assert_eq!(faults[0], expected);
    }
}

#[test]
fn a_specimen_says_what_is_printed_on_it() {
    let passport = mrz(&TD3_LINES).unwrap();
    assert_eq!((passport.document_code(), passport.sex()), ("P", SexCode::Female));
    assert_eq!((passport.surname().as_str(), passport.given_names().as_str()), ("ERIKSSON", "ANNA MARIA"));
    let born = MrzDate { year: Some(74), month: Some(8), day: Some(12) };
    let expires = MrzDate { year: Some(12), month: Some(4), day: Some(15) };
    assert_eq!((passport.birth_date(), passport.expiry()), (Some(born), Some(expires)));
    // Utopia is no State.
    assert_eq!((passport.issuing_state(), passport.nationality()), (None, None));
    for lines in [TD1_LINES.as_slice(), &TD2_LINES, &MRVA_LINES, &MRVB_LINES] {
        let mrz = mrz(lines).unwrap();
        assert_eq!((mrz.surname().as_str(), mrz.given_names().as_str()), ("ERIKSSON", "ANNA MARIA"));
    }
    assert_eq!(mrz(&MRVA_LINES).unwrap().nationality(), "XXX".parse().ok());
    assert!(!format!("{born:?}").contains("74"));
}

/// The second line of the TD3 specimen with another nationality, which no check digit covers.
fn of(nationality: &str) -> Mrz {
    mrz(&[TD3_LINES[0], &TD3_LINES[1].replace("UTO", nationality)]).unwrap()
}

#[test]
fn codes_that_are_not_of_iso_3166_are_understood() {
    for (code, nationality) in [("D<<", "DEU"), ("GBN", "GBN"), ("XXA", "XXA"), ("FRA", "FRA")] {
        assert_eq!(of(code).nationality(), nationality.parse().ok(), "{code}");
    }
    let issued_by = |code: &str| mrz(&[&TD3_LINES[0].replace("UTO", code), TD3_LINES[1]]).unwrap();
    for (code, state) in [("D<<", "DEU"), ("GBD", "GBR"), ("UNO", "UNO"), ("FRA", "FRA")] {
        assert_eq!(issued_by(code).issuing_state(), state.parse().ok(), "{code}");
    }
}

/// A TD3 zone whose check digits agree, with these characters for dates and sex.
fn td3(birth: &str, sex: &str, expiry: &str) -> Result<Mrz, Vec<MrzFault>> {
    let dated = |date: &str| format!("{date}{}", check_digit(date));
    let (birth, expiry) = (dated(birth), dated(expiry));
    let whole = check_digit(&format!("L898902C36{birth}{expiry}ZE184226B<<<<<1"));
    mrz(&[TD3_LINES[0], &format!("L898902C36UTO{birth}{sex}{expiry}ZE184226B<<<<<1{whole}")])
}

#[test]
fn a_date_that_is_not_known_has_fillers_and_one_that_cannot_be_is_refused() {
    for birth in ["740812", "7408<<", "74<<<<", "<<<<<<", "040229"] {
        assert!(td3(birth, "F", "120415").is_ok(), "{birth}");
    }
    for (birth, expiry, fault) in [
        ("741312", "120415", MrzFault::Date { field: BIRTH, line: 2, position: 14 }),
        ("740800", "120415", MrzFault::Date { field: BIRTH, line: 2, position: 14 }),
        ("030229", "120415", MrzFault::Date { field: BIRTH, line: 2, position: 14 }),
        ("740812", "120431", MrzFault::Date { field: EXPIRY, line: 2, position: 22 }),
        ("7408<2", "120415", MrzFault::Date { field: BIRTH, line: 2, position: 14 }),
    ] {
        assert_eq!(td3(birth, "F", expiry).unwrap_err(), [fault], "{birth} {expiry}");
    }
}

#[test]
fn what_no_check_digit_covers_is_checked_by_its_form() {
    let form = |field, line, position, allowed| vec![MrzFault::Form { field, line, position, allowed }];
    let zero = TD3_LINES[0].replace("MARIA", "MAR1A");
    assert_eq!(mrz(&[&zero, TD3_LINES[1]]).unwrap_err(), form("name", 1, 24, "A-Z and <"));
    let state = TD3_LINES[1].replace("UTO", "UT0");
    assert_eq!(mrz(&[TD3_LINES[0], &state]).unwrap_err(), form("nationality", 2, 13, "A-Z and <"));
    assert_eq!(td3("740812", "W", "120415").unwrap_err(), form("sex", 2, 21, "M, F, X or <"));
    let code = TD3_LINES[0].replacen('P', "9", 1);
    assert_eq!(mrz(&[&code, TD3_LINES[1]]).unwrap_err(), form("document code", 1, 1, "a letter first, A-Z"));
}

#[test]
fn every_check_digit_of_every_format_is_verified() {
    for lines in [TD1_LINES.as_slice(), &TD2_LINES, &TD3_LINES, &MRVA_LINES, &MRVB_LINES] {
        let good = mrz(lines).unwrap();
        for check in good.format().layout().checks {
            let mut altered: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
            let digit = &mut altered[check.line - 1][check.position - 1];
            *digit = b'0' + (*digit - b'0' + 1) % 10;
            let altered: Vec<_> = altered.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
            let faults = mrz(&altered).unwrap_err();
            let named = faults.iter().any(|fault| {
                matches!(fault, MrzFault::CheckDigit { field, line, position, .. }
                    if (*field, *line, *position) == (check.name, check.line, check.position))
            });
            assert!(named, "{:?}, {}: {faults:?}", good.format(), check.name);
        }
    }
}

#[test]
fn a_wrong_check_digit_is_named_with_its_place() {
    let altered = TD3_LINES[1].replace("7408122", "7408112");
    let faults = mrz(&[TD3_LINES[0], &altered]).unwrap_err();
    let names: Vec<_> = faults
        .iter()
        .map(|fault| match fault {
            MrzFault::CheckDigit { field, line: 2, position, .. } => (*field, *position),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(names, [(BIRTH, 20), (WHOLE, 44)]);
    assert!(!faults[0].to_string().contains("740811"), "a fault repeats the line");
    // Where personal data may not go, not even the digit is told.
    assert_eq!(faults[0].place(), "line 2, position 20: check digit of the date of birth");
}

#[test]
fn an_unused_personal_number_may_have_a_filler_for_its_digit() {
    let digit = |personal: &str| {
        let digit = check_digit(&["L898902C36", "7408122", "1204159", personal].concat());
        format!("L898902C36UTO7408122F1204159{personal}{digit}")
    };
    for personal in ["<<<<<<<<<<<<<<<", "<<<<<<<<<<<<<<0"] {
        assert!(mrz(&[TD3_LINES[0], &digit(personal)]).is_ok(), "{personal}");
    }
    assert!(mrz(&[TD3_LINES[0], &digit("ZE184226B<<<<<<")]).is_err());
}

#[test]
fn what_is_not_an_mrz_is_refused() {
    assert!(matches!(mrz(&[]).unwrap_err()[0], MrzFault::Shape { lines: 0, .. }));
    assert!(matches!(mrz(&TD1_LINES[..2]).unwrap_err()[0], MrzFault::Shape { lines: 2, .. }));
    let lower = TD3_LINES[1].to_lowercase();
    assert_eq!(mrz(&[TD3_LINES[0], &lower]).unwrap_err()[0], MrzFault::Character { line: 2, position: 1 });
    assert!(!format!("{:?}", mrz(&TD3_LINES).unwrap()).contains("ERIKSSON"));
}

proptest! {
    #[test]
    fn one_altered_digit_never_passes(position in 0..6_usize, by in 1..10_u8) {
        let mut line = TD3_LINES[1].as_bytes().to_vec();
        let place = 13 + position;
        line[place] = (line[place] - b'0' + by) % 10 + b'0';
        prop_assert!(mrz(&[TD3_LINES[0], std::str::from_utf8(&line).unwrap()]).is_err());
    }

    #[test]
    fn no_lines_make_it_stop(lines in prop::collection::vec("[A-Z0-9<]{30}|[V<A]{36}|[VP<0-9]{44}|\\PC{0,44}", 0..4)) {
        let _ = Mrz::new(lines);
    }
}
