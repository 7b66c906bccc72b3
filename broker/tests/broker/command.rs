//! The command as a process: what it prints and how it exits.

use std::process::{Command, Output};

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

#[test]
fn completions_are_printed() {
    let output = command(&["completions", "bash"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("check-config"));
}
