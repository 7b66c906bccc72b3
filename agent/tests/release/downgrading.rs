//! What the originator makes anew of its own, with two officers.

use valise_agent::api::release::SecondOfficer;
use valise_proto::id::NoticeId;

use crate::case::{BORDER, Case, FRANCE, GERMANY, KENYA, downgrade, notice, refused};

fn second(name: &str) -> SecondOfficer {
    SecondOfficer { officer: Some(name.to_owned()), reason: None }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn g03_a_notice_is_lowered_by_two_officers_and_tells_nothing_of_what_it_was_made_from() {
    let case = Case::start().await;
    let source = case.sent(&notice("CONFIDENTIAL//ORCON", "SECRET//REL TO FRA, KEN//ORCON")).await;
    let kenya = case.client(KENYA);
    let mut lower = downgrade(&[BORDER], &[0], "RESTRICTED//FOR OFFICIAL USE ONLY");
    // What the portions bear stays unless it is dropped by name.
    let kept = kenya.downgrade(&source, &lower).await.unwrap();
    let made = kenya.approve_release(&kept.id, &second("Releaser")).await.unwrap();
    assert_eq!(made.label, "RESTRICTED//ORCON/FOR OFFICIAL USE ONLY");
    lower.drop_handling = vec!["ORCON".to_owned()];
    let waiting = kenya.downgrade(&source, &lower).await.unwrap();
    assert!(kenya.releases().await.unwrap().iter().any(|one| one.id == waiting.id));
    let alone = refused(kenya.approve_release(&waiting.id, &second("Drafter")).await);
    assert_eq!(alone.code, "SAME_OFFICER");
    let made = kenya.approve_release(&waiting.id, &second("Releaser")).await.unwrap().notice_id;
    let twice = refused(kenya.approve_release(&waiting.id, &second("Releaser")).await);
    assert_eq!(twice.code, "UNKNOWN_RELEASE");

    case.arrives(BORDER, &made).await;
    let shown = case.shown(BORDER, &made).await;
    assert_eq!(shown.len(), 1);
    let parts = shown[0]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2, "{parts:?}");
    assert_eq!((&parts[0]["id"], &parts[1]["id"]), (&"p1".into(), &"p2".into()), "ids tell of the source");
    assert_eq!(parts[0]["label"], "RESTRICTED//FOR OFFICIAL USE ONLY");
    assert_eq!(shown[0]["review_by"], "2035-01-01T00:00:00Z");

    tells_nothing(&case, &source, &made);
    let derivations = kenya.derivations(&made).await.unwrap();
    let from = derivations.from.unwrap();
    assert_eq!((from.source, from.officers), (source, vec!["Drafter".to_owned(), "Releaser".to_owned()]));
    assert_eq!(kenya.derivations(&source).await.unwrap().made[1].made, made);
    case.stop().await;
}

/// Whoever has every byte of the derived envelope learns nothing that leads to the other.
fn tells_nothing(case: &Case, source: &NoticeId, made: &NoticeId) {
    let (source_envelope, made_envelope) = (case.envelope(KENYA, source), case.envelope(KENYA, made));
    let header = made_envelope.header();
    assert!(header.derived_from.is_some(), "the header bears no handle");
    let bytes = made_envelope.encode();
    assert!(!contains(&bytes, source.as_bytes()), "the source's id");
    assert!(!contains(&bytes, source_envelope.header_digest().as_bytes()), "the source's digest");
    for portion in &source_envelope.header().portions {
        assert!(!contains(&bytes, portion.commitment.as_bytes()), "a commitment of the source");
        assert!(!contains(&bytes, portion.ciphertext_sha256.as_bytes()), "a digest of the source");
    }
    for word in ["CONFIDENTIAL", "ORCON", "SECRET", "REL TO"] {
        assert!(!contains(&bytes, word.as_bytes()), "`{word}`, which is of the source's labels");
    }
}

#[tokio::test]
async fn a_refused_release_sends_nothing() {
    let case = Case::start().await;
    let source = case.sent(&notice("CONFIDENTIAL", "SECRET")).await;
    let kenya = case.client(KENYA);
    let waiting = kenya.downgrade(&source, &downgrade(&[BORDER], &[0], "RESTRICTED")).await.unwrap();
    kenya.refuse_release(&waiting.id, &second("Releaser")).await.unwrap();
    assert!(kenya.releases().await.unwrap().is_empty());
    assert!(kenya.derivations(&source).await.unwrap().made.is_empty());
    let gone = refused(kenya.approve_release(&waiting.id, &second("Releaser")).await);
    assert_eq!(gone.code, "UNKNOWN_RELEASE");
    case.stop().await;
}

#[tokio::test]
async fn g03_what_may_not_be_released_is_refused_with_the_rule() {
    let case = Case::start().await;
    let source = case.sent(&notice("CONFIDENTIAL", "SECRET")).await;
    let kenya = case.client(KENYA);
    let code = async |what| {
        let facts = refused(kenya.downgrade(&source, &what).await);
        (facts.code, facts.message)
    };
    let (refusal, message) = code(downgrade(&[BORDER], &[0], "CONFIDENTIAL")).await;
    assert!(refusal == "NOT_RELEASED" && message.contains("fra/border may not access"), "{message}");
    let (refusal, message) = code(downgrade(&[BORDER], &[7], "RESTRICTED")).await;
    assert!(refusal == "NOT_RELEASED" && message.contains("no portion 7"), "{message}");
    let (refusal, _) = code(downgrade(&["usa/ncb"], &[0], "RESTRICTED")).await;
    assert_eq!(refusal, "NOT_RELEASED");
    let (refusal, _) = code(downgrade(&[BORDER], &[0], "SECRIT")).await;
    assert_eq!(refusal, "BAD_REQUEST");
    // Grounds without the person they are about make no notice.
    let (refusal, _) = code(downgrade(&[GERMANY], &[1], "RESTRICTED")).await;
    assert_eq!(refusal, "INVALID_NOTICE");
    let others =
        refused(case.client(FRANCE).downgrade(&source, &downgrade(&[BORDER], &[0], "RESTRICTED")).await);
    assert_eq!(others.code, "NOT_ORIGINATOR");
    let unknown: NoticeId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let facts = refused(kenya.downgrade(&unknown, &downgrade(&[BORDER], &[0], "RESTRICTED")).await);
    assert_eq!(facts.code, "UNKNOWN_NOTICE");
    case.stop().await;
}

#[tokio::test]
async fn g11_no_state_that_persons_are_protected_from_is_told_by_a_derived_notice() {
    let case = Case::start().await;
    let mut protective = notice("CONFIDENTIAL//H2", "SECRET//H2");
    protective["parts"][1]["citizenships"] = serde_json::json!(["DEU"]);
    protective["omissions"] = serde_json::json!([{ "state": "DEU", "reason": "NON_REFOULEMENT" }]);
    let source = case.sent(&protective).await;
    let kenya = case.client(KENYA);
    let facts = refused(kenya.downgrade(&source, &downgrade(&[GERMANY], &[0], "RESTRICTED")).await);
    assert!(
        facts.code == "NOT_RELEASED" && facts.message.contains("protected from DEU"),
        "{}",
        facts.message
    );
    let mut bare = downgrade(&[BORDER], &[0], "RESTRICTED");
    bare.drop_handling = vec!["H2".to_owned()];
    let facts = refused(kenya.downgrade(&source, &bare).await);
    assert!(facts.message.contains("add H2"), "{}", facts.message);
    kenya.downgrade(&source, &downgrade(&[BORDER], &[0], "RESTRICTED")).await.unwrap();
    case.stop().await;
}
