//! Six agencies, and the commands their officers give.

use std::error::Error;

use serde_json::Value;
use valise_proto::label::Classification;
use valise_tests::{AgencySpec, Network, notices};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;
/// What is changed in the JSON of a notice.
pub(crate) type Change<'a> = &'a dyn Fn(&mut Value);

pub(crate) const KENYA: &str = "ken/ncb";
/// Whom the notice of [`told_of`] is for.
pub(crate) const TOLD: [&str; 3] = ["deu/bka", "fra/ncb", "tur/border"];
pub(crate) const OFFICER: [&str; 4] = ["--officer", "Officer A. Example", "--reason", "a test"];
/// What `track` ends with where somebody is late or outstanding.
pub(crate) const ATTENTION: i32 = 3;

/// Kenya, three States that the deportation concerns, and two that it does not.
pub(crate) async fn six_agencies() -> Outcome<Network> {
    let net = Network::builder()
        .agency(KENYA)
        .agency("deu/bka")
        .agency("fra/ncb")
        .agency(AgencySpec::new("tur/border").cleared_to(Classification::Confidential))
        .agency("gbr/nca")
        .agency("xpo/general-secretariat")
        .start()
        .await?;
    Ok(net)
}

/// From Kenya to France through Turkey, of a German.
pub(crate) fn told_of() -> Value {
    notices::deportation("KEN", "FRA").through("TUR").of("DEU").into()
}

/// A command of an officer that must succeed, and its JSON.
pub(crate) async fn told(net: &Network, agency: &str, arguments: &[&str]) -> Outcome<Value> {
    let ran = net.agency(agency).run(&[&["--json"], arguments].concat()).await?;
    if ran.code != Some(0) {
        return Err(format!(
            "{agency} {arguments:?} ended with {:?}: {}{}",
            ran.code, ran.stdout, ran.stderr
        )
        .into());
    }
    Ok(ran.json()?)
}

/// A command of an officer that must be refused, and what it says.
pub(crate) async fn refused(net: &Network, agency: &str, arguments: &[&str]) -> Outcome<String> {
    let ran = net.agency(agency).run(arguments).await?;
    if ran.code == Some(0) {
        return Err(format!("{agency} {arguments:?} was not refused: {}", ran.stdout).into());
    }
    Ok(ran.stderr)
}

pub(crate) fn id(answer: &Value) -> Outcome<String> {
    Ok(answer["notice_id"].as_str().ok_or_else(|| format!("no notice id in {answer}"))?.to_owned())
}

/// What `track` says of one recipient.
pub(crate) fn of<'a>(track: &'a Value, agency: &str) -> &'a Value {
    let recipients = track.pointer("/status/recipients").and_then(Value::as_array);
    let recipients = recipients.map(Vec::as_slice).unwrap_or_default();
    recipients.iter().find(|recipient| recipient["agency"] == agency).unwrap_or(&Value::Null)
}

pub(crate) async fn track(net: &Network, notice: &str, wait: &str) -> Outcome<(i32, Value)> {
    let arguments = ["--json", "track", notice, "--wait", wait, "--timeout", "20"];
    let ran = net.agency(KENYA).run(&arguments).await?;
    Ok((ran.code.unwrap_or(-1), serde_json::from_str(&ran.stdout)?))
}

pub(crate) async fn sent(net: &Network, notice: &Value) -> Outcome<String> {
    let sent = net.agency(KENYA).send(notice.clone()).await?;
    for agency in TOLD {
        net.agency(agency).expect_notice(&sent).await?;
    }
    Ok(sent.id().to_string())
}
