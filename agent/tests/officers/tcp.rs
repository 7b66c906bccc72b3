//! The local API on loopback TCP.

use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valise_agent::api::officers::NewToken;
use valise_agent::journal::Deed;
use valise_agent::officers::Role;

use crate::case::Case;

const A: &str = "Officer A. Example";

/// The status and the body of one answer.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(!answer.to_lowercase().contains("access-control-allow"), "a page of another origin may read it");
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_over_tcp_nothing_is_done_without_a_token_or_for_another_host() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let case = Case::with(move |config| config.api_listen = Some(address)).await;
    let host = format!("host: {address}\r\n");
    for path in ["/v1/status", "/v1/inbox", "/v1/journal"] {
        assert_eq!(ask(address, path, &host).await.0, 401, "{path} without accounts");
    }
    case.officer(A, &[Role::Reader]).await;
    let token = NewToken { name: A.to_owned(), label: "tcp".to_owned(), days: 1 };
    let token = case.socket().issue_token(&token).await.unwrap().token;
    let with = |token: &str| format!("{host}authorization: Bearer {token}\r\n");
    assert_eq!(ask(address, "/v1/inbox", &with(&token)).await.0, 200);
    let (status, answer) = ask(address, "/v1/inbox", &with("vat_00")).await;
    assert!(status == 401 && answer.contains("LOGIN_FAILED"), "{answer}");
    assert_eq!(case.entries(Deed::LoginFailed).len(), 1);
    let (status, answer) = ask(address, "/v1/journal", &with(&token)).await;
    assert!(status == 403 && answer.contains("ROLE_MISSING"), "{answer}");
    let (status, answer) = ask(address, "/v1/officers", &with(&token)).await;
    assert!(status == 403 && answer.contains("SOCKET_ONLY"), "{answer}");
    let rebound = format!("host: valise.example\r\nauthorization: Bearer {token}\r\n");
    let (status, answer) = ask(address, "/v1/inbox", &rebound).await;
    assert!(status == 403 && answer.contains("WRONG_HOST"), "{answer}");
    case.node.stop().await;
}
