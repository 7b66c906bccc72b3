//! The command as a process: what it prints and how it exits.

use std::process::{Command, Output};

use valise_proto::renewal::SignedRenewalRequest;
use valise_proto::wire::session::Answer;

use crate::office::Office;

fn command(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valise-broker"));
    command.args(arguments).env_remove("VALISE_BROKER_CONFIG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_configuration_in_order_is_summed_up() {
    let office = Office::of_three();
    let config = office.config_file();
    let config = config.to_str().unwrap();
    let output = command(&["check-config", "--config", config]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("spiffe://exchange.example/broker/b1"), "{}", stdout(&output));
    let output = command(&["check-config", "--config", config, "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(summary["directory"]["version"], 1);
    assert!(!office.config.data.exists(), "checking made the data folder");
}

#[test]
fn every_mistake_of_a_configuration_is_told_with_exit_code_2() {
    let office = Office::of_three();
    let path = office.path("broker.toml");
    std::fs::write(&path, "listen = 'nowhere'\ncolour = 1\n").unwrap();
    let output = command(&["check-config", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    for word in ["listen", "colour", "data", "certificates", "publication"] {
        assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
    }
    let output = command(&["run", "--config", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let told: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(told["error"]["mistakes"].as_array().unwrap().len(), 8);
}

#[test]
fn a_file_that_cannot_be_used_is_told() {
    let office = Office::of_three();
    let config = office.config_file();
    std::fs::remove_file(office.config.crls()).unwrap();
    let output = command(&["check-config", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("valise-ca publish"), "{}", stderr(&output));
    let output = command(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("crls.pem"), "{}", stderr(&output));
}

#[test]
fn a_configuration_that_is_not_there_and_a_broker_that_does_not_run_are_failures() {
    let office = Office::of_three();
    let output = command(&["run", "--config", office.path("none.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output).matches("No such file").count(),
        1,
        "the reason is told once: {}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("none.toml"), "{}", stderr(&output));
    let output = command(&["status", "--config", office.config_file().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("valise-broker run"), "{}", stderr(&output));
    assert_eq!(command(&["status"]).status.code(), Some(2), "a usage error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_broker_is_asked_and_not_started_twice() {
    let office = Office::of_three();
    let broker = office.start().await;
    let config = office.config_file();
    let config = config.to_str().unwrap();
    let output = command(&["status", "--config", config, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let status: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&status["sessions"], &status["directory"]["version"]), (&0.into(), &1.into()));
    let output = command(&["status", "--socket", office.config.status_socket.to_str().unwrap()]);
    assert!(stdout(&output).contains("all empty"), "{}", stdout(&output));
    let output = command(&["run", "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by another broker"), "{}", stderr(&output));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spool_is_carried_out_while_the_broker_runs_and_again_without_harm() {
    let office = Office::of_three();
    let broker = office.start().await;
    let config = office.config_file();
    let config = config.to_str().unwrap();
    let output = command(&["spool", "list", "--config", config]);
    assert!(stdout(&output).contains("No renewal request waits"), "{}", stdout(&output));
    let request = crate::renewal::in_order(&office.exchange, "fra/ncb");
    let france = office.connect(&broker, "fra/ncb").await;
    assert_eq!(crate::renewal::send(&france, &request).await, Answer::Spooled(request.digest()));
    std::fs::write(office.config.renewal_spool.join("spoilt.pem"), b"spoilt").unwrap();
    let output = command(&["spool", "list", "--config", config, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let listed: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(listed["waiting"][0]["agency"], "fra/ncb");
    assert_eq!(listed["waiting"][0]["fingerprint"], request.fingerprint().as_str());
    assert!(listed["unreadable"][0].as_str().unwrap().contains("spoilt.pem"), "{listed}");
    let out = office.path("medium/renewals");
    for (written, unchanged) in [(1, 0), (0, 1)] {
        let output =
            command(&["spool", "export", "--config", config, "--out", out.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let exported: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        let counts = ["written", "unchanged"].map(|key| exported[key].as_array().unwrap().len());
        assert_eq!(counts, [written, unchanged]);
    }
    let carried = std::fs::read_to_string(out.join("fra.ncb.pem")).unwrap();
    assert_eq!(SignedRenewalRequest::from_pem(&carried).unwrap(), request);
    let output = command(&["status", "--config", config]);
    assert!(stdout(&output).contains("waiting to be carried to the authority"), "{}", stdout(&output));
    broker.stop().await;
}

#[test]
fn a_medium_that_cannot_be_written_to_is_told_by_its_name() {
    let office = Office::of_three();
    let (config, out) = (office.config_file(), office.path("medium"));
    std::fs::write(&out, b"not a folder").unwrap();
    for arguments in [["spool", "export", "--config", config.to_str().unwrap()].as_slice(), &["man"]] {
        let output = command(&[arguments, &["--out", out.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("medium"), "{}", stderr(&output));
    }
}

#[test]
fn a_man_page_is_written_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&["man", "--out", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["valise-broker.1", "valise-broker-run.1", "valise-broker-spool-export.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}: {text}");
    }
}

#[test]
fn completions_are_printed() {
    let output = command(&["completions", "bash"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("check-config"));
}
