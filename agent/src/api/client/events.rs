//! Following what happens in the node.

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Bytes, Incoming};

use super::{ClientError, LocalClient, unusable};
use crate::api::events::EventFacts;
use crate::api::types::ErrorBody;

/// Longest line that is taken: far longer than any event.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What happens in a node, from where it was asked for. Dropping it ends it.
#[derive(Debug)]
pub struct Following {
    body: Incoming,
    read: Vec<u8>,
}

impl LocalClient {
    /// What happens after the event with this id; without one, from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, after: Option<&str>) -> Result<Following, ClientError> {
        let path =
            after.map_or_else(|| "/v1/events".to_owned(), |id| format!("/v1/events?after={}", encoded(id)));
        let response = self.open(Method::GET, &path, Bytes::new()).await?;
        if response.status().is_success() {
            return Ok(Following { body: response.into_body(), read: Vec::new() });
        }
        let bytes = response.into_body().collect().await.map_err(unusable)?.to_bytes();
        let refused: ErrorBody = serde_json::from_slice(&bytes).map_err(unusable)?;
        Err(ClientError::Refused(refused.error))
    }
}

impl Following {
    /// The next event; none once the node has ended the stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn next(&mut self) -> Result<Option<EventFacts>, ClientError> {
        loop {
            while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data: ") {
                    return serde_json::from_slice(data).map(Some).map_err(unusable);
                }
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(unusable("a line that does not end"));
            }
            // A node that stops ends the stream in the middle, which is an end like any other.
            let Some(Ok(frame)) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

/// A value behind the `?`: all but letters, digits and a few harmless signs is written as its bytes.
pub(super) fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}
