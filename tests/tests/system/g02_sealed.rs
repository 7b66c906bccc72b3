//! G2: the broker never holds the plaintext of a portion; a stolen broker disk reveals headers only.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use valise_tests::{AgencySpec, Network, NetworkError, notices};

/// What must not be found: every text of the example that says something about a person, a route or a case.
fn secrets(notice: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in notice["parts"].as_array().expect("the example has parts") {
        collect(part, &mut found);
    }
    found.extend(
        ["legal_basis", "purpose"].iter().filter_map(|key| notice[*key].as_str()).map(ToOwned::to_owned),
    );
    found.retain(|text| text.len() >= 5);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(fields) => {
            // Labels stand in the header, which the broker reads.
            fields.iter().filter(|(key, _)| *key != "label").for_each(|(_, value)| collect(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text in the encodings in which it might lie somewhere: plain, upper and lower case, UTF-16, hexadecimal, base64 at
/// each of the three alignments.
fn encodings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        ("plain", text.as_bytes().to_vec()),
        ("lower case", text.to_lowercase().into_bytes()),
        ("upper case", text.to_uppercase().into_bytes()),
        ("UTF-16LE", utf16(u16::to_le_bytes)),
        ("UTF-16BE", utf16(u16::to_be_bytes)),
        ("hexadecimal", hex.clone().into_bytes()),
        ("upper-case hexadecimal", hex.to_uppercase().into_bytes()),
    ];
    for before in 0..3 {
        let shifted = [vec![b' '; before], text.as_bytes().to_vec()].concat();
        let encoded = STANDARD.encode(shifted).trim_end_matches('=').to_owned();
        // The characters at both ends also depend on what stands around the text.
        let skip = [0, 2, 3][before];
        let end = encoded.len() - usize::from(!(before + text.len()).is_multiple_of(3));
        all.push(("base64", encoded.as_bytes()[skip..end].to_vec()));
    }
    all
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_search_finds_what_is_there_in_every_encoding() {
    let name = "Placeholder";
    let all = encodings(name);
    let found = |how: &str, haystack: &[u8]| {
        all.iter().any(|(encoding, needle)| *encoding == how && contains(haystack, needle))
    };
    for before in ["", "x", "xy", "xyz"] {
        let text = format!("{before}{name} and more");
        assert!(found("plain", text.as_bytes()));
        assert!(found("base64", STANDARD.encode(&text).as_bytes()), "not found in base64 behind `{before}`");
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(found("UTF-16BE", &utf16) && !found("UTF-16LE", &utf16[1..utf16.len() - 1][..4]));
    }
    assert!(!all.iter().any(|(_, needle)| contains(b"nothing of the kind is here", needle)));
}

#[tokio::test(flavor = "multi_thread")]
async fn g02_a_stolen_broker_disk_reveals_headers_only() -> Result<(), NetworkError> {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency(AgencySpec::new("fra/ncb").not_running())
        .agency(AgencySpec::new("tur/border").not_running())
        .agency(AgencySpec::new("xpo/general-secretariat").not_running())
        .start()
        .await?;
    let example = notices::example("deportation");
    let sent = net.agency("ken/ncb").send(example.clone()).await?;
    net.agency("ken/ncb").expect_accepted(&sent).await?;
    // Nobody has fetched it: everything the broker will ever hold of it is on its disk now.
    net.broker().stop().await?;

    let secrets = secrets(&example);
    assert!(secrets.len() > 15, "the example has too little to look for: {secrets:?}");
    let mut id_found = false;
    for path in net.broker().files()? {
        let bytes = fs::read(&path).expect("a file of the broker can be read");
        id_found |= contains(&bytes, sent.id().as_bytes());
        for secret in &secrets {
            for (how, needle) in encodings(secret) {
                assert!(!contains(&bytes, &needle), "`{secret}` ({how}) lies in {}", path.display());
            }
        }
    }
    assert!(id_found, "the notice's id is nowhere on the disk, so this test looks in the wrong place");
    net.stop().await;
    Ok(())
}
