//! What officers are told by the commands they give, on standard output, standard error and by the exit code.

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
