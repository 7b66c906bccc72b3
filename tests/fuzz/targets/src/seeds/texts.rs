//! Banners, machine-readable zones and dates. The State and the persons of the zones are those that ICAO Doc 9303 invents
//! for its specimens.

use super::{Seed, right, wrong};

pub(super) fn all() -> Vec<Seed> {
    let numbered = |target: &'static str, texts: &[&str], seed: fn(&'static str, String, String) -> Seed| {
        let one = |(n, text): (usize, &&str)| seed(target, format!("{n}"), (*text).to_owned());
        texts.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    let right = |target, name: String, text: String| right(target, format!("right-{name}"), text);
    let wrong = |target, name: String, text: String| wrong(target, format!("wrong-{name}"), text);
    [
        numbered("banner", &BANNERS, right),
        numbered("banner", &NO_BANNERS, wrong),
        numbered("mrz", &ZONES, right),
        numbered("mrz", &NO_ZONES, wrong),
        numbered("dates", &DATES, right),
        numbered("dates", &NO_DATES, wrong),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const BANNERS: [&str; 8] = [
    "UNMARKED",
    "TOP SECRET//ALPHA/BRAVO",
    "TOP_SECRET//FOR_OFFICIAL_USE_ONLY",
    "SECRET//REL TO FRA, KEN//ORCON",
    "SECRET//REL TO FRA, EUE//ORCON\nSECRET//ALPHA//REL TO KEN, EUE//H2",
    "SECRET//REL TO FRA\nRESTRICTED//REL TO KEN",
    "SECRET//REL TO (nobody)",
    "CONFIDENTIAL//ALPHA//REL TO XPO//ORCON/FOR OFFICIAL USE ONLY/H1/H2/H3(ask the duty officer)",
];

const NO_BANNERS: [&str; 8] = [
    "secret",
    "SECRET//",
    "SECRET//ORCON//REL TO FRA",
    "SECRET//REL TO FRA//REL TO KEN",
    "SECRET//REL TO FRA,KEN",
    "SECRET//H3()",
    "SECRET//H3(a\u{202E}b)",
    "SECRET//SECRET",
];

const ZONES: [&str; 7] = [
    "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6",
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10",
    "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL8988901C4XXX4009078F96121096ZE184226B<<<<<<",
    "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nL8988901C4XXX4009078F9612109<<<<<<<<",
    "I<UTOD23145890<7349<<<<<<<<<<<\n3407127M9507122UTO<<<<<<<<<<<2\nSTEVENSON<<PETER<JOHN<<<<<<<<<",
    "I<UTOSTEVENSON<<PETER<JOHN<<<<<<<<<<\nD23145890<UTO3407127M95071227349<<<8",
];

const NO_ZONES: [&str; 4] = [
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<11",
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7413402F1204159ZE184226B<<<<<10",
    "P<UTOERIKSSON\nL898902C36UTO",
    "p<utoeriksson<<anna<maria<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10",
];

const DATES: [&str; 15] = [
    "1980",
    "1980-04",
    "1980-04-01",
    "1980-04-XX",
    "1980-XX-XX",
    "198X",
    "19XX",
    "1980~",
    "1980-04?",
    "1980%",
    "1980/1985",
    "../2000",
    "1972-02-29/..",
    "2026-03-01T14:30:00+03:00",
    "2026-03-01T00:00:00.123Z",
];

const NO_DATES: [&str; 8] =
    ["01/04/1980", "1980-21", "1980-02-30", "1799", "1980-X1", "../..", "2000/1980", "2026-03-01T14:30:00"];
