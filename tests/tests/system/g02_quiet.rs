//! G2: nothing of a notice, and no key, password or token, leaves by what the nodes write about themselves: their logs at
//! the highest level, their numbers, their events, their refusals and their errors.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use std::error::Error;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use valise_agent::api::officers::{NewOfficer, NewToken};
use valise_agent::api::types::SearchRequest;
use valise_agent::officers::Role;
use valise_proto::envelope::Precedence;
use valise_proto::receipt::ReceiptKind;
use valise_tests::raw::{Impostor, RawSession};
use valise_tests::wait::until;
use valise_tests::{DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Stands in every text that says something about a person, a route or a case. Invented, and in nothing else.
const MARK: &str = "ZZMARKER";
const PASSWORD: &str = "ZZPASSWORD of nobody at all";
const CONFIG: &str = "log = \"trace\"\nmetrics_listen = \"127.0.0.1:0\"";

/// A notice of which every free text is marked.
fn marked() -> Value {
    let mut notice = notices::example("deportation");
    notice["share_with_interpol"] = false.into();
    let marks = [
        "/legal_basis",
        "/purpose",
        "/omissions/0/text",
        "/parts/0/legs/0/carrier",
        "/parts/0/escort",
        "/parts/0/deportation_order",
        "/parts/1/names/0/surname",
        "/parts/1/names/0/given_names",
        "/parts/1/names/1/surname",
        "/parts/1/names/1/given_names",
        "/parts/1/birth_place/place",
        "/parts/1/documents/0/number",
        "/parts/2/authority",
        "/parts/2/place",
        "/parts/3/statement",
        "/parts/3/offence",
        "/parts/4/statement",
        "/parts/5/text",
    ];
    let movement = &mut notice["parts"][0];
    movement["transit"] = json!([]);
    movement["legs"].as_array_mut().expect("the example has legs").truncate(1);
    movement["legs"][0]["to"] = "FRCDG".into();
    notice["parts"][1]["documents"][0].as_object_mut().expect("a passport").remove("mrz");
    for pointer in marks {
        *notice.pointer_mut(pointer).expect(pointer) = MARK.into();
    }
    notice
}

/// Notices that are refused, each with a mark where it is wrong.
fn wrong() -> Vec<Bytes> {
    let changes: [(&str, Value); 7] = [
        ("/parts/1/birth_date", MARK.into()),
        ("/parts/1/role", MARK.into()),
        ("/parts/1/sex/code", MARK.into()),
        ("/parts/1/citizenships/0", MARK.into()),
        ("/parts/0/event_time", MARK.into()),
        ("/parts/0/legs/0/from", MARK.into()),
        ("/parts/1/documents/0/mrz", json!([MARK, MARK])),
    ];
    let mut all: Vec<Bytes> = changes
        .into_iter()
        .map(|(pointer, value)| {
            let mut notice = marked();
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a last part");
            match notice.pointer_mut(parent).expect(parent) {
                Value::Array(values) => values[key.parse::<usize>().expect("an index")] = value,
                object => object[key] = value,
            }
            Bytes::from(notice.to_string())
        })
        .collect();
    all.push(Bytes::from(format!("{{ \"kind\": \"{MARK}")));
    all
}

/// A text in the forms in which it might stand in a log.
fn forms(text: &str) -> Vec<String> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let list = text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    let mut all = vec![text.to_lowercase(), hex, list];
    for before in 0..3_usize {
        let encoded = STANDARD.encode([vec![b' '; before], text.as_bytes().to_vec()].concat());
        let encoded = encoded.trim_end_matches('=');
        // The characters at both ends also depend on what stands around the text.
        let end = encoded.len() - usize::from(!(before + text.len()).is_multiple_of(3));
        all.push(encoded[[0, 2, 3][before]..end].to_lowercase());
    }
    all
}

/// The private keys below a folder, in the forms in which they might stand in a log.
fn keys(folder: &Path) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path)
                && text.starts_with("-----BEGIN")
                && text.lines().next().is_some_and(|first| first.contains("KEY") && !first.contains("PUBLIC"))
            {
                let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
                // The middle of it lies within the seed, whether it stands alone or behind the head of PKCS#8.
                let bytes = STANDARD.decode(&body)?;
                let (seed, encoded) = (&bytes[16..32], &body[24..40]);
                found.push(encoded.to_lowercase());
                found.push(seed.iter().map(|byte| format!("{byte:02x}")).collect());
                found.push(seed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            }
        }
    }
    Ok(found)
}

#[track_caller]
fn silent(what: &str, text: &str, secrets: &[String]) {
    let text = text.to_lowercase();
    for secret in secrets {
        let line = text.find(secret.as_str()).map(|at| {
            let from = text[..at].rfind('\n').map_or(0, |end| end + 1);
            text[from..].chars().take(600).collect::<String>()
        });
        assert_eq!(line, None, "`{secret}` stands in {what}");
    }
}

#[test]
fn marks_and_keys_are_found_in_every_form() {
    let secrets = forms(MARK);
    for text in [
        format!("a {MARK} b"),
        format!("{:?}", MARK.as_bytes()),
        STANDARD.encode(format!("x{MARK} and more")),
        MARK.bytes().map(|byte| format!("{byte:02X}")).collect(),
    ] {
        let found = std::panic::catch_unwind(|| silent("a text", &text, &secrets));
        assert!(found.is_err(), "not found: {text}");
    }
    silent("a text", "nothing of the kind", &secrets);
}

/// What an officer does with notices that are in order, and then with those that are not. Returns every error.
async fn officers(net: &Network) -> Outcome<Vec<String>> {
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let sent = ken.send(marked()).await?;
    let id = sent.id().to_string();
    fra.expect_notice(&sent).await?;
    fra.read(&sent, &format!("Officer {MARK}")).await?;
    ken.expect_receipt(&sent, "fra/ncb", "READ").await?;
    let search = SearchRequest {
        text: MARK.to_owned(),
        reason: Some(MARK.to_owned()),
        officer: Some(MARK.to_owned()),
        filter: Default::default(),
    };
    assert_eq!(fra.client()?.search(&search).await?.notices.len(), 1, "the notice has no mark");
    let answer = ["respond", &id, "--outcome", "NEED_MORE", "--text", MARK];
    assert_eq!(fra.run(&answer).await?.code, Some(0));
    assert_eq!(ken.run(&["withdraw", &id, "--reason", MARK]).await?.code, Some(0));
    ken.expect_receipt(&sent, "fra/ncb", "PURGED").await?;

    let mut errors = Vec::new();
    for notice in wrong() {
        let refused = ken.client()?.send(notice).await.expect_err("a wrong notice was taken");
        errors.push(refused.to_string());
    }
    errors.push(fra.run(&["read", &id, "--officer", MARK]).await?.stderr);
    Ok(errors)
}

/// What a client without scruples sends; returns what it is told.
async fn hostile(net: &Network) -> Outcome<Vec<String>> {
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let impostor = Impostor::of(&ken.folder()?)?;
    let broker = net.broker().listen_addr().await.expect("the broker listens");
    let session = impostor.connect(broker).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    let to = fra.id()?;
    let no_notice = impostor.seal(impostor.notice(&[to], "RESTRICTED", MARK.as_bytes()))?.encode();
    let mut altered = impostor.seal(impostor.notice(&[to], "RESTRICTED", MARK.as_bytes()))?.encode().to_vec();
    // Within the header, which is signed.
    altered[40] ^= 1;
    assert_eq!(stream.ask(no_notice).await?.kind, ReceiptKind::Accepted);
    let mut told = Vec::new();
    for frame in [Bytes::from(altered), Bytes::from_static(MARK.as_bytes())] {
        let receipt = stream.ask(frame).await?;
        told.push(receipt.refusal.expect("it was taken").to_string());
    }
    let mut rude = RawSession::open(impostor.dial(broker).await?).await?;
    rude.say(Bytes::from_static(MARK.as_bytes())).await?;
    told.extend(rude.goodbye().await.map(|reason| format!("{reason:?}")));
    let aside = until("a delivery set aside", DEADLINE, async || {
        let status = fra.client().map_err(|error| error.to_string())?.status().await;
        let aside = status.map_err(|error| error.to_string())?.set_aside;
        aside.first().map(|aside| aside.reason.clone()).ok_or_else(|| "nothing".to_owned())
    });
    told.push(aside.await?);
    Ok(told)
}

/// Accounts with a password and a token; returns the token, and what is said to a wrong one.
async fn accounts(net: &Network) -> Outcome<(String, String)> {
    let client = net.agency("fra/ncb").client()?;
    let (name, roles) = ("a.example".to_owned(), vec![Role::Reader, Role::Auditor]);
    client.add_officer(&NewOfficer { name: name.clone(), roles, password: PASSWORD.to_owned() }).await?;
    let token = client.issue_token(&NewToken { name, label: "a test".to_owned(), days: 1 }).await?.token;
    client.clone().with_token(&token).inbox(10).await?;
    let wrong = client.with_token(&format!("{token}x")).inbox(10).await;
    Ok((token, wrong.expect_err("a wrong token was taken").to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn g02_logs_numbers_and_errors_tell_nothing_of_a_notice_and_no_key() -> Outcome {
    let network = Network::builder().agency("ken/ncb").agency("fra/ncb");
    let network = network.broker_as_process().agencies_as_processes();
    let net = network.broker_config(CONFIG).agency_config(CONFIG).start().await?;
    let mut secrets = forms(MARK);
    secrets.extend(forms(PASSWORD));
    secrets.extend(keys(net.folder())?);
    assert!(secrets.len() > 30, "no keys were found to look for: {}", secrets.len());

    for error in officers(&net).await? {
        silent("an error", &error, &secrets);
    }
    for told in hostile(&net).await? {
        silent("a refusal", &told, &secrets);
    }
    let (token, wrong) = accounts(&net).await?;
    secrets.extend(forms(&token));
    silent("an error", &wrong, &secrets);
    for path in ["/metrics", "/readyz", "/healthz"] {
        silent("the broker's answers", &net.broker().scrape(path).await?.text, &secrets);
        silent("an agent's answers", &net.agency("fra/ncb").scrape(path).await?.text, &secrets);
        silent("an agent's answers", &net.agency("ken/ncb").scrape(path).await?.text, &secrets);
    }
    net.stop().await;
    for (who, log) in [
        ("the broker", net.broker().log()?),
        ("ken/ncb", net.agency("ken/ncb").log()?),
        ("fra/ncb", net.agency("fra/ncb").log()?),
    ] {
        assert!(log.contains("TRACE") && log.contains("running"), "{who} did not log everything");
        silent(&format!("the log of {who}"), &log, &secrets);
    }
    Ok(())
}
