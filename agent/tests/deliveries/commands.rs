//! What officers are told by the commands they give, on standard output, standard error and by the exit code.

use std::path::Path;
use std::process::Output;

use crate::case::Case;
use crate::fixture::notice_json;

/// What `--wait` waited for has not come in time.
const NOT_YET: i32 = 4;

/// Runs a command at France's node.
pub async fn run(case: &Case, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_valise-agent"));
    command.arg("--data").arg(case.office.data("fra/ncb")).args(arguments);
    command.env_remove("VALISE_AGENT_TOKEN");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What a command says on standard output.
pub async fn says(case: &Case, arguments: &[&str]) -> String {
    String::from_utf8(run(case, arguments).await.stdout).unwrap()
}

/// The exit code, and what is said on standard error.
pub async fn ends(case: &Case, arguments: &[&str]) -> (i32, String) {
    let output = run(case, arguments).await;
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

/// A file with the notice of the tests, to Kenya, which never fetches it.
pub fn notice_file(case: &Case) -> String {
    let file = case.office.path().join("notice.json");
    std::fs::write(&file, notice_json("ken/ncb").to_string()).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn who_waits_in_vain_is_told_what_is_still_to_come_and_by_the_exit_code() {
    let case = Case::start().await;
    let file = notice_file(&case);
    let (code, said) = ends(&case, &["send", &file, "--wait", "delivered", "--timeout", "1"]).await;
    assert_eq!(code, NOT_YET, "{said}");
    assert!(said.contains("not delivered to every recipient within 1 seconds"), "{said}");
    assert!(said.contains("0 of 1 so far; still to come: ken/ncb (PENDING)"), "{said}");
    let next = said.trim_end().rsplit_once("To wait on: valise-agent ").unwrap().1;
    let mut next: Vec<&str> = next.split(' ').collect();
    assert_eq!((next[0], next[2], next[3]), ("track", "--wait", "delivered"), "{said}");
    next.extend(["--timeout", "1", "--json"]);
    let (code, said) = ends(&case, &next).await;
    assert!(code == NOT_YET && said.contains("still to come: ken/ncb"), "{code}: {said}");
    next[3] = "answered";
    let (code, said) = ends(&case, &next).await;
    assert!(code == NOT_YET && said.contains("not answered by every recipient"), "{code}: {said}");
    next[3] = "accepted";
    assert_eq!(ends(&case, &next).await.1, "", "something is missed that has come");
    let help = says(&case, &["--help"]).await;
    assert!(help.contains("4  what --wait waits for has not come"), "{help}");
    case.node.stop().await;
}

#[tokio::test]
async fn the_journal_tells_of_a_correction_under_both_notices_it_concerns() {
    let case = Case::start().await;
    let file = notice_file(&case);
    let id = |told: String| {
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["notice_id"].as_str().unwrap().to_owned()
    };
    let first = id(says(&case, &["--json", "send", &file]).await);
    let second =
        id(says(&case, &["--json", "correct", &first, &file, "--reason", "The date of birth."]).await);
    for notice in [&first, &second] {
        let told = says(&case, &["journal", "--deed", "CORRECT", "--notice", notice]).await;
        let words = format!("{second}  takes the place of {first}: CORRECTION ");
        assert!(told.lines().count() == 1 && told.contains(&words), "{notice}: {told}");
    }
    let told = says(&case, &["--json", "journal", "--notice", &first, "--deed", "CORRECT"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((told[0]["about"].as_str(), told[0]["concerns"].as_str()), (Some(&*second), Some(&*first)));
    case.node.stop().await;
}

#[tokio::test]
async fn the_status_says_of_how_many_it_lists_the_newest_and_how_to_list_all() {
    let case = Case::start().await;
    for _ in 0..11 {
        case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap();
    }
    let told = says(&case, &["status"]).await;
    assert!(told.contains("10 of 11 notices sent from here; all: valise-agent status --limit 11"), "{told}");
    let all = says(&case, &["status", "--limit", "11"]).await;
    assert!(!all.contains("; all:") && all.matches("  DEPORTATION  ").count() == 11, "{all}");
    let few = case.client().status_listing(Some(2)).await.unwrap();
    assert_eq!((few.sent.len(), few.totals.sent), (2, 11));
    case.node.stop().await;
}

/// Runs the example of two agencies with a function of the shell in the place of `valise-agent`.
fn two_agencies(body: &str) -> Output {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/two-agencies");
    let mut command = std::process::Command::new(example);
    command.args(["a", "b"]).env("BASH_FUNC_valise-agent%%", format!("() {{ {body}\n}}"));
    command.output().unwrap()
}

#[test]
fn the_example_of_two_agencies_ends_with_what_a_failing_step_said_and_its_code() {
    // The first step succeeds, the second does not, and says why on standard output, as `--json` does.
    let second = r#"case " $* " in *" send "*) echo '  "notice_id": "n1",' ;; *) echo 'no reading today'; exit 7 ;; esac"#;
    let ended = two_agencies(second);
    let (told, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!((ended.status.code(), &*told), (Some(7), "sent n1\n"), "{said}");
    assert!(said.contains("the step \"read\" failed (7)") && said.contains("no reading today"), "{said}");
    // A step that succeeds and gives no id has failed too.
    let ended = two_agencies("echo '{ \"state\": \"odd\" }'");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && said.contains("the step \"sent\" failed"), "{said}");
    assert!(said.contains("odd"), "{said}");
}

#[test]
fn the_help_says_in_which_two_ways_preview_is_asked_and_what_disabling_does() {
    let help = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_valise-agent"));
        String::from_utf8(command.args(arguments).arg("--help").output().unwrap().stdout).unwrap()
    };
    let preview = help(&["preview"]);
    assert!(preview.contains("preview [OPTIONS] <FILE.json>\n"), "{preview}");
    assert!(preview.contains("preview [OPTIONS] --notice <ID>\n"), "{preview}");
    let disable = help(&["officer", "disable"]);
    assert!(
        disable.contains("Shut an officer out") && disable.contains("Let the officer in again"),
        "{disable}"
    );
}
