//! What a node tells whoever watches it on loopback: `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::network::NetworkError;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrape {
    /// The status: 200, or 503 with reasons.
    pub status: u16,
    /// The page, or the reasons, one a line.
    pub text: String,
}

impl Scrape {
    /// The value of one line of the page of numbers, such as `valise_agent_outbox_items{precedence="FLASH"}`.
    #[must_use]
    pub fn value(&self, line: &str) -> Option<f64> {
        let found = self.text.lines().find_map(|told| told.strip_prefix(line)?.strip_prefix(' '));
        found.and_then(|value| value.parse().ok())
    }
}

/// Asks the node that serves its metrics at `address`, if it does.
pub(crate) async fn scrape(address: Option<SocketAddr>, path: &str) -> Result<Scrape, NetworkError> {
    let unserved = || NetworkError::State("no metrics are served: set `metrics_listen`".to_owned());
    let address = address.ok_or_else(unserved)?;
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked.await.map_err(|error| NetworkError::State(format!("{address}{path}: {error}")))?;
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, text)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Scrape { status, text: text.to_owned() })
    });
    parsed.ok_or_else(|| NetworkError::State(format!("{address}{path}: not an answer: {answer}")))
}
