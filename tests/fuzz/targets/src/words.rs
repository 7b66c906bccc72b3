//! Texts with a grammar of their own: banners, machine-readable zones, dates.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use valise_proto::id::Timestamp;
use valise_proto::label::{Affiliation, BANNER_BYTES_MAX, Classification, Clearance, Label, may_access};
use valise_proto::notice::{BirthDate, Day, LocalTime, Mrz, MrzFault, MrzFormat};

use crate::exchange;
use crate::oracle::{bounded, refused};

/// A banner; two, where a line ends between them.
///
/// What is read prints as a banner that is not longer and reads as the same label. Who may access the join of two labels
/// may access each of them, and each is dominated by it.
pub fn banner(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let labels: Vec<Label> = text.splitn(2, '\n').filter_map(read_banner).collect();
    for label in &labels {
        check_access(label);
    }
    let [one, other] = labels.as_slice() else { return !labels.is_empty() };
    let whole = Label::join([one, other]).unwrap();
    assert_eq!(Label::join([other, one]).as_ref(), Some(&whole), "the join depends on the order");
    for part in [one, other] {
        assert!(whole.dominates(part), "{whole} does not dominate {part}");
        assert_eq!(Label::join([&whole, part]).as_ref(), Some(&whole), "{whole} joined with {part} changes");
    }
    // Compartments and releasability alone: a class list is a set, so who holds the higher may not hold the lower.
    let class_list: BTreeSet<_> = Classification::ALL.into();
    for held in [one, other] {
        let (compartments, affiliations) = (whole.compartments.clone(), holdable(held));
        let who = Clearance {
            policy: exchange::policy(),
            class_list: class_list.clone(),
            compartments,
            affiliations,
        };
        if may_access(&who, &whole).is_ok() {
            assert!(
                may_access(&who, one).is_ok() && may_access(&who, other).is_ok(),
                "{whole}, not its parts"
            );
        }
    }
    if whole.check_sizes().is_ok() {
        assert_eq!(
            read_banner(&whole.to_string()).as_ref(),
            Some(&whole),
            "a join does not print and read back"
        );
    }
    true
}

/// What of a list somebody can hold: the name of nobody is on lists only.
fn holdable(label: &Label) -> BTreeSet<Affiliation> {
    label.releasable_to.iter().filter(|name| name.as_str().parse::<Affiliation>().is_ok()).cloned().collect()
}

fn read_banner(text: &str) -> Option<Label> {
    let label = match bounded(text.len(), || Label::parse_banner(exchange::policy(), text)) {
        Ok(label) => label,
        Err(error) => {
            refused(&error);
            return None;
        }
    };
    let printed = label.to_string();
    assert!(printed.len() <= text.len() && text.len() <= BANNER_BYTES_MAX, "`{text}` grew to `{printed}`");
    assert!(!printed.chars().any(char::is_control), "a banner that commands a terminal: {printed:?}");
    assert_eq!(label.check_sizes(), Ok(()), "a label was read that is too large");
    let back = Label::parse_banner(exchange::policy(), &printed);
    assert_eq!(back.as_ref(), Ok(&label), "`{text}` printed as `{printed}`, which reads differently");
    Some(label)
}

/// The access decision, told again in other words: X.501's rules, one by one.
fn check_access(label: &Label) {
    for entry in exchange::DIRECTORY.content().agencies.values() {
        let held = &entry.clearance;
        let released = label.releasable_to.is_empty()
            || label
                .releasable_to
                .iter()
                .any(|to| held.affiliations.iter().any(|own| own.as_str() == to.as_str()));
        let allowed = held.policy == label.policy
            && held.class_list.iter().any(|class| *class == label.classification)
            && label.compartments.iter().all(|one| held.compartments.contains(one))
            && released;
        assert_eq!(may_access(held, label).is_ok(), allowed, "{} and {label}", entry.id);
    }
}

/// The lines of a machine-readable zone.
///
/// What is read keeps its lines, says nothing that is not in them, and no digit under a check digit can be altered
/// without being noticed. What is refused names places that exist, and repeats no more than the check digit.
pub fn mrz(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let lines: Vec<String> = text.split('\n').map(ToOwned::to_owned).collect();
    let zone = match bounded(bytes.len(), || Mrz::new(lines.clone())) {
        Ok(zone) => zone,
        Err(faults) => return faulty(&faults, &lines),
    };
    assert_eq!(zone.lines(), lines);
    assert_eq!(format!("{zone:?}"), format!("({:?})", zone.format()), "Debug shows more than the format");
    let plain = lines.concat();
    assert!(plain.starts_with(zone.document_code()), "the zone does not begin with its document code");
    let number = zone.document_number();
    assert!(
        number.len() <= plain.len() && number.bytes().all(|b| plain.as_bytes().contains(&b)),
        "`{number}`"
    );
    for name in [zone.surname(), zone.given_names()] {
        assert!(name.split(' ').all(|word| plain.contains(word)) && !name.contains('<'), "`{name}`");
    }
    let _ = (zone.issuing_state(), zone.nationality(), zone.sex());
    for date in [zone.birth_date(), zone.expiry()] {
        let date = date.unwrap();
        assert!(date.month.is_none_or(|month| (1..=12).contains(&month)));
        assert!(
            date.day.is_none_or(|day| (1..=31).contains(&day)) && date.year.is_none_or(|year| year < 100)
        );
    }
    altered_digits_are_noticed(&zone);
    true
}

/// Positions (from 0) of document number, date of birth and date of expiry, by Doc 9303, parts 4 to 7.
fn covered(format: MrzFormat) -> [(usize, std::ops::Range<usize>); 3] {
    match format {
        MrzFormat::Td1 => [(0, 5..14), (1, 0..6), (1, 8..14)],
        MrzFormat::Td2 | MrzFormat::Td3 | MrzFormat::MrvA | MrzFormat::MrvB => {
            [(1, 0..9), (1, 13..19), (1, 21..27)]
        }
    }
}

/// The weights 7, 3 and 1 have no factor in common with 10, so one digit altered alters the check digit.
fn altered_digits_are_noticed(zone: &Mrz) {
    for (line, positions) in covered(zone.format()) {
        for position in positions {
            let mut lines: Vec<Vec<u8>> = zone.lines().iter().map(|line| line.clone().into_bytes()).collect();
            let digit = lines.get_mut(line).and_then(|line| line.get_mut(position)).unwrap();
            if !digit.is_ascii_digit() {
                continue;
            }
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            let lines = lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
            let altered = Mrz::new(lines);
            assert!(altered.is_err(), "line {line}, position {position}: a digit was altered unnoticed");
        }
    }
}

fn faulty(faults: &[MrzFault], lines: &[String]) -> bool {
    assert!(!faults.is_empty(), "refused without a fault");
    for fault in faults {
        refused(fault);
        assert!(fault.line().is_none_or(|line| (1..=lines.len()).contains(&line)), "no such line: {fault:?}");
        assert!(!fault.place().is_empty());
    }
    false
}

/// A birth date in EDTF, a calendar date, a moment, or a moment with its offset: what is read prints and reads back as
/// the same.
pub fn dates(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let birth = read::<BirthDate>(text);
    if let Some(birth) = &birth {
        assert_eq!(birth.to_string(), text, "a birth date is kept as it was written");
        check_age(birth);
    }
    let day = read::<Day>(text).inspect(|day| assert_eq!(day.to_string(), text));
    if day.is_some() {
        assert!(birth.is_some(), "a calendar date is a birth date too");
    }
    let local = read::<LocalTime>(text);
    let moment = read::<Timestamp>(text);
    if let (Some(local), Some(moment)) = (&local, &moment) {
        assert_eq!(local.at(), *moment, "`{text}` is two moments");
    }
    birth.is_some() || local.is_some() || moment.is_some()
}

fn read<T: FromStr<Err: Display + Debug> + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    match bounded(text.len(), || text.parse::<T>()) {
        Ok(value) => {
            let back = value.to_string().parse::<T>().unwrap();
            assert_eq!(back, value, "`{text}` printed as `{value}`, which reads differently");
            Some(value)
        }
        Err(error) => {
            refused(&error);
            None
        }
    }
}

/// Nobody is certainly a child and certainly not one; whoever is one now was one before; and nobody grows younger.
fn check_age(birth: &BirthDate) {
    let years =
        [1, 20, 56, 80, 8000].map(|years| Timestamp::from_millis(1).plus(exchange::DAY * 365 * years));
    let times = years.map(LocalTime::utc);
    let mut was_adult = false;
    for at in &times {
        let (possibly, certainly) = (birth.possibly_under_18_at(at), birth.certainly_under_18_at(at));
        assert!(possibly || !certainly, "certainly under 18, and not possibly: {birth}");
        assert!(!(was_adult && certainly), "a grown person became a child: {birth}");
        assert!(!birth.is_after(at) || possibly, "not yet born, and no child: {birth}");
        was_adult |= !possibly;
    }
}
