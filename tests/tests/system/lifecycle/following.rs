//! Answers, corrections and withdrawals.

use serde_json::{Value, json};
use valise_tests::{Network, notices};

use super::case::{
    ATTENTION, Change, KENYA, OFFICER, Outcome, TOLD, id, of, refused, sent, six_agencies, told, told_of,
    track,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_answers_and_the_originator_sees_who_is_left() -> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    for (agency, outcome) in [("fra/ncb", "WILL_ACT"), ("deu/bka", "MATCH")] {
        told(&net, agency, &[&["read", &notice][..], &OFFICER].concat()).await?;
        let answer = ["respond", &notice, "--outcome", outcome, "--about", "p1", "--text", "Seen."];
        let answer = told(&net, agency, &answer).await?;
        assert_eq!(answer["recipients"], json!([KENYA]), "an answer goes to whom it answers");
        net.agency(KENYA).expect_notice(id(&answer)?.parse::<valise_proto::id::NoticeId>()?).await?;
        let opened = told(&net, KENYA, &[&["read", &id(&answer)?][..], &OFFICER].concat()).await?;
        assert_eq!(opened["opened"][0]["content"]["parts"][0]["outcome"], outcome, "{opened:#}");
    }
    let seen = told(&net, KENYA, &["track", &notice]).await?;
    let answered = |agency: &str| of(&seen, agency)["answered"].clone();
    assert_eq!([answered("fra/ncb"), answered("deu/bka"), answered("tur/border")], [true, true, false]);
    let stranger = refused(&net, "gbr/nca", &["respond", &notice, "--outcome", "MATCH"]).await?;
    assert!(stranger.contains("there is no notice"), "{stranger}");
    let unsaid = refused(&net, "tur/border", &["respond", &notice, "--outcome", "NEED_MORE"]).await?;
    assert!(unsaid.contains("text"), "what is needed was not asked for: {unsaid}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_after_a_withdrawal_every_holder_has_purged_or_is_outstanding() -> Outcome {
    let net = six_agencies().await?;
    // Germany is away: its copy waits at the broker.
    net.agency("deu/bka").stop().await?;
    let waiting = net.agency(KENYA).send(told_of()).await?;
    for agency in ["fra/ncb", "tur/border"] {
        net.agency(agency).expect_notice(&waiting).await?;
    }
    let notice = waiting.id().to_string();
    let others = refused(&net, "fra/ncb", &["withdraw", &notice, "--reason", "Not ours."]).await?;
    assert!(others.contains("only its originator"), "{others}");
    let withdrawal =
        told(&net, KENYA, &["withdraw", &notice, "--reason", "Another person of the same name."]).await?;
    assert_eq!(withdrawal["recipients"], json!(TOLD), "somebody who got it is not told");
    let again = refused(&net, KENYA, &["withdraw", &notice, "--reason", "Twice."]).await?;
    assert!(again.contains("out of force already") && again.contains(&id(&withdrawal)?), "{again}");
    for agency in ["fra/ncb", "tur/border"] {
        net.agency(KENYA).expect_receipt(&waiting, agency, "PURGED").await?;
        let gone = refused(&net, agency, &[&["read", &notice][..], &OFFICER].concat()).await?;
        assert!(gone.contains("has withdrawn it") && gone.contains(&id(&withdrawal)?), "{gone}");
        let shown = told(&net, agency, &["show", &notice]).await?;
        let held = shown["portions"].as_array().ok_or("no portions")?;
        assert!(
            held.iter().all(|portion| portion["held"] == false),
            "{agency} still holds some of it: {shown:#}"
        );
    }
    let ran = net.agency(KENYA).run(&["--json", "track", &notice]).await?;
    assert_eq!(ran.code, Some(ATTENTION), "nobody is outstanding: {}", ran.stdout);
    let seen: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(seen["outstanding"][0]["agency"], "deu/bka");
    // It comes back: the copy was dropped, only the withdrawal is left, and it states that it holds nothing.
    net.agency("deu/bka").start().await?;
    let (code, seen) = track(&net, &notice, "purged").await?;
    assert_eq!((code, seen["outstanding"].as_array().map(Vec::len)), (0, Some(0)), "{seen:#}");
    let inbox = net.agency("deu/bka").inbox().await?;
    assert!(inbox.iter().all(|entry| entry.notice_id != waiting.id()), "the withdrawn copy was delivered");
    assert_eq!(of(&seen, "deu/bka")["steps"][0]["portions"], json!([]), "it held some of it");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_a_correction_reaches_everyone_who_got_the_original_and_the_original_is_purged() -> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    // Of a Briton after all, and not of a German: Germany is told too, because it was told before.
    let file = net.folder().join("corrected.json");
    let corrected: Value = notices::deportation("KEN", "FRA").through("TUR").of("GBR").into();
    std::fs::write(&file, serde_json::to_vec(&corrected)?)?;
    let file = file.display().to_string();
    let correction = told(&net, KENYA, &["correct", &notice, &file, "--reason", "The citizenship."]).await?;
    assert_eq!(correction["recipients"], json!(["deu/bka", "fra/ncb", "gbr/nca", "tur/border"]));
    let newest = id(&correction)?;
    for agency in ["deu/bka", "fra/ncb", "gbr/nca", "tur/border"] {
        net.agency(agency).expect_notice(newest.parse::<valise_proto::id::NoticeId>()?).await?;
        let opened = told(&net, agency, &[&["read", &newest][..], &OFFICER].concat()).await?;
        assert!(opened.to_string().contains("The citizenship."), "{agency} is not told what was wrong");
    }
    let (code, seen) = track(&net, &notice, "purged").await?;
    assert_eq!(code, 0, "{seen:#}");
    for agency in TOLD {
        assert_eq!(of(&seen, agency)["state"], "PURGED", "{seen:#}");
        let gone = refused(&net, agency, &[&["read", &notice][..], &OFFICER].concat()).await?;
        assert!(gone.contains("has corrected it") && gone.contains(&newest), "{gone}");
    }
    let old = refused(&net, KENYA, &["correct", &notice, &file, "--reason", "Again."]).await?;
    assert!(old.contains(&newest), "the newest is not named: {old}");
    // The withdrawal of the correction takes the whole chain out of force, for everyone who got any of it.
    let withdrawal = told(&net, KENYA, &["withdraw", &newest, "--reason", "All of it was wrong."]).await?;
    assert_eq!(withdrawal["recipients"], correction["recipients"]);
    let (code, seen) = track(&net, &newest, "purged").await?;
    assert_eq!(code, 0, "{seen:#}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_persons_are_protected_from_is_told_no_more_by_a_correction_whichever_way_it_is_sent()
-> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    let mut corrected = told_of();
    let fields = corrected.as_object_mut().ok_or("no object")?;
    fields.insert("label".to_owned(), json!("RESTRICTED//H2"));
    let omission = json!({ "state": "DEU", "reason": "NON_REFOULEMENT", "text": "A claim of asylum is under examination." });
    fields.insert("omissions".to_owned(), json!([omission]));
    let file = net.folder().join("corrected.json");
    std::fs::write(&file, serde_json::to_vec(&corrected)?)?;
    let by_command = ["correct", &notice, &file.display().to_string(), "--reason", "A claim."];
    let by_command = refused(&net, KENYA, &by_command).await?;
    let fields = corrected.as_object_mut().ok_or("no object")?;
    fields.insert("kind".to_owned(), json!("CORRECTION"));
    fields.insert("supersedes".to_owned(), json!(notice));
    let parts = fields.get_mut("parts").and_then(Value::as_array_mut).ok_or("no parts")?;
    parts.push(json!({ "type": "correction", "reason": "A claim." }));
    let whole = net.folder().join("whole.json");
    std::fs::write(&whole, serde_json::to_vec(&corrected)?)?;
    let by_file = refused(&net, KENYA, &["send", &whole.display().to_string()]).await?;
    for said in [by_command, by_file] {
        assert!(said.contains("withdraw that notice instead") && said.contains("article 33"), "{said}");
    }
    assert_eq!(net.agency("deu/bka").inbox().await?.len(), 1, "the State was told more");
    // The same holds once its agency is suspended: it may be let in again.
    let version = net.suspend("deu/bka").await?;
    net.agency(KENYA).expect_directory(version).await?;
    let said = refused(&net, KENYA, &["send", &whole.display().to_string()]).await?;
    assert!(said.contains("withdraw that notice instead"), "{said}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_a_holder_that_takes_part_no_more_is_outstanding_and_blocks_nobody() -> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    for agency in TOLD {
        net.agency(KENYA)
            .expect_receipt(notice.parse::<valise_proto::id::NoticeId>()?, agency, "DELIVERED")
            .await?;
    }
    let version = net.suspend("tur/border").await?;
    net.agency(KENYA).expect_directory(version).await?;
    let withdrawal = told(&net, KENYA, &["withdraw", &notice, "--reason", "A mistake."]).await?;
    assert_eq!(withdrawal["recipients"], json!(["deu/bka", "fra/ncb"]));
    for agency in ["deu/bka", "fra/ncb"] {
        net.agency(KENYA)
            .expect_receipt(notice.parse::<valise_proto::id::NoticeId>()?, agency, "PURGED")
            .await?;
    }
    let ran = net.agency(KENYA).run(&["--json", "track", &notice]).await?;
    let seen: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(ran.code, Some(ATTENTION), "{seen:#}");
    let outstanding = seen["outstanding"].as_array().ok_or("no list")?;
    assert_eq!(outstanding.iter().map(|one| &one["agency"]).collect::<Vec<_>>(), ["tur/border"], "{seen:#}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_about_what_came_and_is_no_less_protected_whichever_way_it_is_sent() -> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    let file = |answer: &Value| -> Outcome<String> {
        let path = net.folder().join("answer.json");
        std::fs::write(&path, serde_json::to_vec(answer)?)?;
        Ok(path.display().to_string())
    };
    let answer = |change: Change<'_>| {
        let mut answer = json!({ "kind": "RESPONSE", "precedence": "ROUTINE", "label": "RESTRICTED", "in_reply_to": notice,
            "parts": [{ "type": "response", "outcome": "MATCH", "about": ["p1"] }] });
        change(&mut answer);
        answer
    };
    let wrong: [(Change<'_>, &str); 4] = [
        (&|it| it["label"] = json!("UNCLASSIFIED"), "it answers a part labelled RESTRICTED"),
        (&|it| it["parts"][0]["about"] = json!(["p9"]), "no part of the notice that is answered"),
        (&|it| it["recipients"] = json!(["gbr/nca"]), "goes to the originator of what it answers"),
        (&|it| it["in_reply_to"] = json!("01890000-0000-7000-8000-000000000000"), "there is no notice"),
    ];
    for (change, words) in wrong {
        let said = refused(&net, "fra/ncb", &["send", &file(&answer(change))?]).await?;
        assert!(said.contains(words), "`{words}` is not told: {said}");
    }
    let sent = told(&net, "fra/ncb", &["send", &file(&answer(&|_| {}))?]).await?;
    assert_eq!(sent["recipients"], json!([KENYA]));
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_leaves_out_a_state_to_protect_persons_is_corrected_and_the_state_learns_nothing()
-> Outcome {
    let net = Network::builder()
        .agency(KENYA)
        .agency("fra/ncb")
        .agency("deu/bka")
        .agency("gbr/nca")
        .agency("tur/border")
        .agency("tun/ncb")
        .start()
        .await?;
    let example = notices::example("four-citizenships");
    let first = net.agency(KENYA).send(example.clone()).await?;
    let file = net.folder().join("corrected.json");
    std::fs::write(&file, serde_json::to_vec(&example)?)?;
    let correct =
        ["correct", &first.id().to_string(), &file.display().to_string(), "--reason", "A spelling."];
    let newest = told(&net, KENYA, &correct).await?;
    assert_eq!(newest["recipients"], json!(first.recipients()));
    for agency in first.recipients() {
        net.agency(agency.as_str())
            .expect_notice(id(&newest)?.parse::<valise_proto::id::NoticeId>()?)
            .await?;
    }
    // One inbox keeps its order: whatever else was for Tunisia has come.
    let later = net.agency(KENYA).send(notices::deportation("KEN", "TUN")).await?;
    net.agency("tun/ncb").expect_notice(&later).await?;
    assert_eq!(net.agency("tun/ncb").inbox().await?.len(), 1);
    net.stop().await;
    Ok(())
}
