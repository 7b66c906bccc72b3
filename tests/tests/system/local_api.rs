//! The local API as programs use it: an example client that knows the OpenAPI document alone, and follow-ups.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::Value;
use valise_agent::api::client::{ClientError, Until};
use valise_agent::api::officers::{NewOfficer, NewToken};
use valise_agent::api::types::{CorrectRequest, RespondRequest, WithdrawRequest};
use valise_agent::config::Config;
use valise_agent::officers::Role;
use valise_tests::{AgencySpec, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

fn socket(net: &Network, agency: &str) -> Result<String, Box<dyn Error>> {
    Ok(Config::of_folder(net.agency(agency).folder()?)?.socket.display().to_string())
}

fn refused<T>(answer: Result<T, ClientError>) -> Result<(String, String), Box<dyn Error>> {
    match answer {
        Err(ClientError::Refused(error)) => Ok((error.code, error.message)),
        Err(other) => Err(other.into()),
        Ok(_) => Err("it was done".into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_client_sends_reads_answers_and_tracks_by_the_published_document_alone() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/client.py");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("notice.json");
    let notice: Value = notices::deportation("KEN", "FRA").of("FRA").into();
    std::fs::write(&file, notice.to_string())?;
    let output = tokio::process::Command::new("python3")
        .arg("-B")
        .arg(here)
        .args(["--sender", &socket(&net, "ken/ncb")?, "--recipient", &socket(&net, "fra/ncb")?])
        .args(["--officer", "Officer A. Example", "--text", "Officers will meet the flight."])
        .arg(&file)
        .output()
        .await
        .map_err(|error| format!("python3 cannot be run, which this test needs: {error}"))?;
    let (told, errors) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    let steps: Vec<Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, ["previewed", "sent", "arrived", "read", "answered", "tracked"]);
    let id = steps.get(1).and_then(|sent| sent["notice_id"].as_str()).ok_or("no id")?.parse()?;
    let track = net.agency("ken/ncb").client()?.track(&id).await?;
    assert!(track.status.recipients.iter().any(|one| one.agency.as_str() == "fra/ncb" && one.answered));
    net.stop().await;
    Ok(())
}

/// An address on loopback that nobody listens on at present.
fn free_address() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_example_client_works_over_tcp_with_an_officers_token_and_with_no_other() -> Outcome {
    let address = free_address()?;
    let listening = AgencySpec::new("fra/ncb").config(&format!("[api]\nlisten = \"{address}\"\n"));
    let net = Network::builder().agency("ken/ncb").agency(listening).start().await?;
    let france = net.agency("fra/ncb").client()?;
    let (name, roles) = ("Officer A. Example".to_owned(), vec![Role::Reader, Role::Drafter]);
    let officer = NewOfficer { name: name.clone(), roles, password: "correct horse battery".to_owned() };
    france.add_officer(&officer).await?;
    let issued = france.issue_token(&NewToken { name, label: "desk".to_owned(), days: 1 }).await?;
    let folder = tempfile::tempdir()?;
    let (file, token) = (folder.path().join("notice.json"), folder.path().join("token.txt"));
    std::fs::write(&file, Value::from(notices::deportation("KEN", "FRA").of("FRA")).to_string())?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/client.py");
    let sender = socket(&net, "ken/ncb")?;
    let client = async |secret: &str| -> Result<std::process::Output, Box<dyn Error>> {
        std::fs::write(&token, secret)?;
        let mut command = tokio::process::Command::new("python3");
        command.arg("-B").arg(&here).args(["--sender", &sender]);
        command.args(["--recipient", &format!("http://{address}")]).arg("--recipient-token").arg(&token);
        Ok(command.arg("--officer").arg("Officer A. Example").arg(&file).output().await?)
    };
    let refused = client("vat_00").await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("LOGIN_FAILED"), "{said}");
    assert_eq!(net.broker().status().await?.log_entries, 0, "something was sent all the same");
    let done = client(&issued.token).await?;
    let (told, errors) = (String::from_utf8(done.stdout)?, String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{told}{errors}");
    let steps: Vec<Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, ["previewed", "sent", "arrived", "read", "answered", "tracked"]);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_answered_by_its_recipient_and_tracked_by_its_originator() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let sent = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    fra.expect_notice(&sent).await?;
    let text = Some("Officers will meet the flight.".to_owned());
    let answer = RespondRequest { outcome: "WILL_ACT".to_owned(), text, ..RespondRequest::default() };
    // Whoever sent it does not answer it.
    let (code, said) = refused(ken.client()?.respond(&sent.id(), &answer).await)?;
    assert_eq!(code, "SENT_NOT_RECEIVED", "{said}");
    let answer = fra.client()?.respond(&sent.id(), &answer).await?;
    assert_eq!(answer.recipients.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["ken/ncb"]);
    let track = ken.client()?.track_after(&sent.id(), Until::Answered, 30).await?;
    assert!(track.status.recipients.iter().all(|one| one.answered), "{track:?}");
    assert_eq!((track.late.len(), track.outstanding.len()), (0, 0), "{track:?}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_originator_corrects_and_withdraws_a_notice_and_only_the_newest() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let notice: Value = notices::deportation("KEN", "FRA").of("FRA").into();
    let sent = ken.send(notice.clone()).await?;
    fra.expect_notice(&sent).await?;
    let correct = CorrectRequest { reason: "The flight was another.".to_owned(), notice };
    let withdraw = WithdrawRequest { reason: "It was somebody else.".to_owned(), label: None };
    let (code, said) = refused(fra.client()?.withdraw(&sent.id(), &withdraw).await)?;
    assert_eq!(code, "NOT_ORIGINATOR", "{said}");
    let (code, _) = refused(fra.client()?.correct(&sent.id(), &correct).await)?;
    assert_eq!(code, "NOT_ORIGINATOR");
    let unknown = "0190b6f0-0000-7000-8000-000000000000".parse()?;
    let (code, said) = refused(ken.client()?.withdraw(&unknown, &withdraw).await)?;
    assert!(code == "UNKNOWN_NOTICE" && said.contains("0190b6f0"), "{said}");
    let newer = ken.client()?.correct(&sent.id(), &correct).await?;
    assert_eq!(fra.expect_notice(newer.notice_id).await?.supersedes, Some(sent.id()));
    let (code, said) = refused(ken.client()?.withdraw(&sent.id(), &withdraw).await)?;
    assert!(code == "SUPERSEDED" && said.contains(&newer.notice_id.to_string()), "{said}");
    let last = ken.client()?.withdraw(&newer.notice_id, &withdraw).await?;
    assert_eq!(fra.expect_notice(last.notice_id).await?.withdraws, Some(newer.notice_id));
    net.stop().await;
    Ok(())
}
