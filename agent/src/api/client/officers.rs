//! Accounts and the access journal.

use std::fmt::Write;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use valise_proto::id::Digest;

use super::{ClientError, LocalClient, unusable};
use crate::api::journal::JournalHead;
use crate::api::officers::{
    IssuedToken, NewOfficer, NewPassword, NewRoles, NewToken, OfficerFacts, SetDisabled, WhichOfficer,
    WhichToken,
};
use crate::journal::{Query, Written};

impl LocalClient {
    async fn tell<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.post(path, Bytes::from(serde_json::to_vec(body).map_err(unusable)?)).await
    }

    /// The officers and their tokens.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn officers(&self) -> Result<Vec<OfficerFacts>, ClientError> {
        self.get("/v1/officers").await
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_officer(&self, officer: &NewOfficer) -> Result<(), ClientError> {
        self.tell("/v1/officers", officer).await
    }

    /// Gives an officer another password.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_password(&self, password: &NewPassword) -> Result<(), ClientError> {
        self.tell("/v1/officers/password", password).await
    }

    /// Gives an officer other roles.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_roles(&self, roles: &NewRoles) -> Result<(), ClientError> {
        self.tell("/v1/officers/roles", roles).await
    }

    /// Disables or enables an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_disabled(&self, disabled: &SetDisabled) -> Result<(), ClientError> {
        self.tell("/v1/officers/disable", disabled).await
    }

    /// Removes an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_officer(&self, name: &str) -> Result<(), ClientError> {
        self.tell("/v1/officers/remove", &WhichOfficer { name: name.to_owned() }).await
    }

    /// Issues a token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn issue_token(&self, token: &NewToken) -> Result<IssuedToken, ClientError> {
        self.tell("/v1/tokens", token).await
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.tell("/v1/tokens/revoke", &WhichToken { id: id.to_owned() }).await
    }

    /// Entries of the access journal, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn journal(&self, query: &Query, limit: usize) -> Result<Vec<Written>, ClientError> {
        let mut path = format!("/v1/journal?limit={limit}");
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                path.push_str(&format!("&{name}="));
                encode(&value, &mut path);
            }
        };
        add("since", query.since.map(|since| since.to_string()));
        add("officer", query.officer.clone());
        add("deed", query.deed.map(|deed| deed.to_string()));
        add("notice", query.about.map(|about| about.to_string()));
        self.get(&path).await
    }

    /// Where the access journal ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn journal_head(&self) -> Result<JournalHead, ClientError> {
        self.get("/v1/journal/head").await
    }

    /// Goes through the whole access journal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_journal(&self, noted: Option<&Digest>) -> Result<JournalHead, ClientError> {
        let noted = noted.map(|noted| format!("?head={noted}")).unwrap_or_default();
        self.get(&format!("/v1/journal/verify{noted}")).await
    }
}

/// Percent-encodes all but what RFC 3986 leaves to everybody.
fn encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}
