//! The command as a process: what it prints and how it exits.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use valise_proto::renewal::SignedRenewalRequest;
use valise_proto::wire::session::Answer;

use crate::fixture::{DAY, MINUTE, now};
use crate::office::{LONG, Office};

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

/// The log of a child, line by line.
struct Log {
    lines: mpsc::Receiver<String>,
    read: String,
}

impl Log {
    fn of(child: &mut Child) -> Self {
        let (sender, lines) = mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        // Ends with the child, or when nobody listens any more.
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { lines, read: String::new() }
    }

    /// Reads until a line holds these words.
    fn until(&mut self, words: &str) {
        while !self.read.contains(words) {
            match self.lines.recv_timeout(LONG) {
                Ok(line) => self.read.extend([&line, "\n"]),
                Err(error) => panic!("`{words}` is not in the log ({error}): {}", self.read),
            }
        }
    }
}

#[test]
fn g12_the_log_warns_once_of_a_file_that_runs_out_and_holds_no_colours() {
    let mut office = Office::of_three();
    office.exchange.content.expires_at = now().plus(30 * MINUTE);
    office.publish();
    let config = office.config_file();
    let text = format!("reload_seconds = 1\n{}", std::fs::read_to_string(&config).unwrap());
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_valise-broker"))
        .args(["run", "--config", config.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = Log::of(&mut child);
    log.until("an hour or less is left: ");
    // Each takes a look of the broker to be noticed.
    for version in [2, 3] {
        office.exchange.change("fra/ncb");
        office.exchange.content.expires_at = now().plus(30 * DAY);
        office.publish();
        log.until(&format!("directory in force version={version}"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let read = log.read;
    let warnings: Vec<_> = read.lines().filter(|line| line.contains("directory version 1, issued")).collect();
    assert_eq!(warnings.len(), 1, "told more than once: {read}");
    for part in ["ERROR", "clock=", "directory.valise", "valise-ca publish"] {
        assert!(warnings[0].contains(part), "`{part}` is missing: {}", warnings[0]);
    }
    assert!(!read.contains('\u{1b}'), "escape sequences in a log that is not a terminal's: {read:?}");
}

#[test]
fn what_is_near_its_end_is_told_before_a_start_and_a_key_of_another_issue_with_what_to_do() {
    let mut office = Office::of_three();
    let config = office.config_file();
    let config = config.to_str().unwrap();
    office.exchange.content.expires_at = now().plus(30 * MINUTE);
    office.publish();
    let output = command(&["check-config", "--config", config]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: ") && stderr(&output).contains("directory.valise"));
    let output = command(&["check-config", "--config", config, "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&summary["freshness"][0]["kind"], &summary["freshness"][0]["urgency"]),
        (&"DIRECTORY".into(), &"LAST_HOUR".into())
    );
    // `valise-ca broker issue --replace` wrote both, and only the certificate was copied.
    office.certify(&office.exchange.issue(&office.exchange.broker(), 7));
    let other = office.exchange.issue(&office.exchange.broker(), 8);
    office.write(&office.config.certificates, other.chain.as_bytes());
    let output = command(&["check-config", "--config", config]);
    assert_eq!(output.status.code(), Some(2));
    for part in ["tls.crt", "tls.key", "copy both files", "valise-ca broker issue --replace"] {
        assert!(stderr(&output).contains(part), "`{part}` is missing: {}", stderr(&output));
    }
}

#[test]
fn completions_are_printed() {
    let output = command(&["completions", "bash"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("check-config"));
}
