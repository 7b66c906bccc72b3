//! The example client, given what it cannot use: it finds that out before it sends anything.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use valise_agent::officers::Role;

use crate::case::Case;
use crate::fixture::notice_json;

const A: &str = "Officer A. Example";

/// An address on loopback that nobody listens on at present.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What the client says when it is given these, and that it ends with an error having sent nothing.
async fn says(case: &Case, arguments: &[&str]) -> String {
    let file = case.office.path().join("notice.json");
    std::fs::write(&file, notice_json("ken/ncb").to_string()).unwrap();
    let mut command = std::process::Command::new("python3");
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/client.py"));
    command.args(arguments).arg(file);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {said}");
    assert!(said.starts_with("client.py: nothing was sent. "), "{arguments:?}: {said}");
    let sent = case.node.desk().office().store().sent_records(1).unwrap();
    assert!(sent.is_empty(), "{arguments:?}: something was sent all the same");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_example_client_checks_who_acts_and_where_before_it_sends_anything() {
    let address = free_address();
    let case = Case::with(move |config| config.api_listen = Some(address)).await;
    let socket = case.office.config("fra/ncb", None).socket.display().to_string();
    let tcp = format!("http://{address}");
    let both = ["--sender", &socket, "--recipient", &socket];
    let said = says(&case, &both).await;
    assert!(
        said.contains("the sender: nobody has an account there: say who acts with --officer NAME"),
        "{said}"
    );
    case.officer(A, &[Role::Reader]).await;
    let over_tcp = ["--sender", &tcp, "--recipient", &socket, "--officer", A];
    let said = says(&case, &over_tcp).await;
    assert!(said.contains("LOGIN_NEEDED") && said.contains("--sender-token FILE"), "{said}");
    let said = says(&case, &[&both[..], &["--officer", A]].concat()).await;
    assert!(said.contains("asks who acts: give --sender-token FILE"), "{said}");
    let token = case.office.path().join("token.txt");
    let with = token.display().to_string();
    let said = says(&case, &[&both[..], &["--sender-token", &with]].concat()).await;
    assert!(said.contains("the token cannot be read from"), "{said}");
    std::fs::write(&token, "vat_00\n").unwrap();
    for sender in [&socket, &tcp] {
        let said = says(&case, &["--sender", sender, "--recipient", &socket, "--sender-token", &with]).await;
        assert!(said.contains("LOGIN_FAILED") && said.contains("The token was taken from"), "{said}");
    }
    let nobody = format!("http://{}", free_address());
    let said = says(&case, &["--sender", &nobody, "--recipient", &socket]).await;
    assert!(said.contains("no answer from") && said.contains("is the node running"), "{said}");
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_example_client_finds_a_recipient_that_may_not_answer_before_it_sends_anything() {
    let case = Case::start().await;
    let socket = case.office.config("fra/ncb", None).socket.display().to_string();
    let (drafter, reader) = (case.token(A, &[Role::Drafter]).await, case.token("B", &[Role::Reader]).await);
    let file = |name: &str, token: &str| {
        let path = case.office.path().join(name);
        std::fs::write(&path, token).unwrap();
        path.display().to_string()
    };
    let (drafter, reader) = (file("drafter", &drafter), file("reader", &reader));
    let both = ["--sender", &socket, "--recipient", &socket, "--sender-token", &drafter];
    let said = says(&case, &[&both[..], &["--recipient-token", &reader]].concat()).await;
    assert!(said.contains("the recipient: ") && said.contains("ROLE_MISSING"), "{said}");
    case.node.stop().await;
}
