//! The officers' accounts, managed by whoever runs the node.
//!
//! Claimed: accounts are changed over the Unix socket only, and each change is in the access journal in the same batch.
//! Names and secrets are in bodies, never in addresses.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::Timestamp;
use zeroize::Zeroizing;

use super::caller::Administrator;
use super::error::ApiError;
use super::handlers::{Answer, body_of};
use super::types::ErrorBody;
use crate::core::Change;
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::officers::password::PasswordHash;
use crate::officers::register::{Register, RegisterError};
use crate::officers::{Role, Roles};

/// Who changes accounts.
const ADMINISTRATOR: &str = "(administrator)";

/// One officer, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfficerFacts {
    /// The name.
    pub name: String,
    /// What the officer may do.
    pub roles: Vec<Role>,
    /// Whether nothing is taken from the officer for the time being.
    pub disabled: bool,
    /// Since when there is the account.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// The tokens.
    pub tokens: Vec<TokenFacts>,
}

/// One token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenFacts {
    /// By this it is revoked.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Since when there is it.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// Until when it is taken.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// When it was used last, to the hour.
    #[schema(value_type = Option<String>)]
    pub used: Option<Timestamp>,
}

/// An account to be made.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOfficer {
    /// The name.
    pub name: String,
    /// What the officer may do.
    pub roles: Vec<Role>,
    /// The password, of at least 12 characters.
    pub password: String,
}

/// Another password for an officer. Tokens issued before end.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The officer.
    pub name: String,
    /// The password, of at least 12 characters.
    pub password: String,
}

/// Other roles for an officer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoles {
    /// The officer.
    pub name: String,
    /// These and no others.
    pub roles: Vec<Role>,
}

/// Whether anything is taken from an officer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDisabled {
    /// The officer.
    pub name: String,
    /// Whether the account is disabled.
    pub disabled: bool,
}

/// Which officer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichOfficer {
    /// The officer.
    pub name: String,
}

/// A token to be issued.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// For which officer.
    pub name: String,
    /// What it is for.
    pub label: String,
    /// For how many days it is taken.
    pub days: u64,
}

/// A token, which is shown this once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// By this it is revoked.
    pub id: String,
    /// Until when it is taken.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// The token.
    pub token: String,
}

/// Which token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichToken {
    /// Its id.
    pub id: String,
}

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(officers, add_officer))
        .routes(routes!(set_password))
        .routes(routes!(set_roles))
        .routes(routes!(set_disabled))
        .routes(routes!(remove_officer))
        .routes(routes!(issue_token))
        .routes(routes!(revoke_token))
}

type Body = Result<Bytes, BytesRejection>;

fn read<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)
}

/// Changes the accounts in force: what results, and the entry that tells of it, are on stable storage before they count.
async fn change<T>(
    desk: &Desk,
    work: impl FnOnce(&mut Register, Timestamp) -> Result<(T, String), RegisterError>,
) -> Answer<T> {
    let guard = desk.office().guard();
    let _alone = guard.changing().await;
    let now = desk.office().now();
    let mut register = guard.register().map(|register| (*register).clone()).unwrap_or_default();
    let (answer, detail) = work(&mut register, now)?;
    let entry = Entry::new(now, ADMINISTRATOR, Deed::OfficerChanged).saying(detail);
    desk.record(vec![Change::Officers(Box::new(register.clone())), Change::Journal(Box::new(entry))]).await?;
    guard.replace(register);
    Ok(Json(answer))
}

async fn hashed(password: String) -> Result<PasswordHash, ApiError> {
    let password = Zeroizing::new(password);
    let hashed = tokio::task::spawn_blocking(move || PasswordHash::of(&password));
    Ok(hashed.await.map_err(ApiError::internal)?.map_err(RegisterError::from)?)
}

/// The officers and their tokens, without secrets.
#[utoipa::path(get, path = "/v1/officers", tag = "officers",
    responses((status = 200, body = Vec<OfficerFacts>), (status = "default", body = ErrorBody)))]
async fn officers(State(desk): State<Desk>, _: Administrator) -> Json<Vec<OfficerFacts>> {
    let register = desk.office().guard().register();
    let officers = register.iter().flat_map(|register| register.officers());
    let token = |(id, token): (&str, &crate::officers::register::Token)| TokenFacts {
        id: id.to_owned(),
        label: token.label.clone(),
        since: token.since,
        until: token.until,
        used: token.used,
    };
    let facts = officers.map(|(name, account)| OfficerFacts {
        name: name.to_owned(),
        roles: account.roles.into(),
        disabled: account.disabled,
        since: account.since,
        tokens: account.tokens().map(token).collect(),
    });
    Json(facts.collect())
}

/// Makes an account. The first one ends the open socket, for ever.
#[utoipa::path(post, path = "/v1/officers", tag = "officers", request_body = NewOfficer,
    responses((status = 200), (status = "default", body = ErrorBody)))]
async fn add_officer(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<()> {
    let NewOfficer { name, roles, password } = read(body)?;
    let (hash, roles) = (hashed(password).await?, Roles::from(roles));
    change(&desk, |register, now| {
        register.add(&name, roles, hash, now)?;
        Ok(((), format!("added {name:?}: {roles}")))
    })
    .await
}

/// Gives an officer another password; tokens issued before end.
#[utoipa::path(post, path = "/v1/officers/password", tag = "officers", request_body = NewPassword,
    responses((status = 200), (status = "default", body = ErrorBody)))]
async fn set_password(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<()> {
    let NewPassword { name, password } = read(body)?;
    let hash = hashed(password).await?;
    change(&desk, |register, _| {
        register.set_password(&name, hash)?;
        Ok(((), format!("another password for {name:?}; earlier tokens end")))
    })
    .await
}

/// Gives an officer these roles and no others.
#[utoipa::path(post, path = "/v1/officers/roles", tag = "officers", request_body = NewRoles,
    responses((status = 200), (status = "default", body = ErrorBody)))]
async fn set_roles(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<()> {
    let NewRoles { name, roles } = read(body)?;
    let roles = Roles::from(roles);
    change(&desk, |register, _| {
        register.set_roles(&name, roles)?;
        Ok(((), format!("roles of {name:?}: {roles}")))
    })
    .await
}

/// Takes nothing from an officer for the time being, or takes it again.
#[utoipa::path(post, path = "/v1/officers/disable", tag = "officers", request_body = SetDisabled,
    responses((status = 200), (status = "default", body = ErrorBody)))]
async fn set_disabled(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<()> {
    let SetDisabled { name, disabled } = read(body)?;
    change(&desk, |register, _| {
        register.set_disabled(&name, disabled)?;
        let word = if disabled { "disabled" } else { "enabled" };
        Ok(((), format!("{word} {name:?}")))
    })
    .await
}

/// Removes an account and its tokens. What the officer did stays in the journal.
#[utoipa::path(post, path = "/v1/officers/remove", tag = "officers", request_body = WhichOfficer,
    responses((status = 200), (status = "default", body = ErrorBody)))]
async fn remove_officer(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<()> {
    let WhichOfficer { name } = read(body)?;
    change(&desk, |register, _| {
        register.remove(&name)?;
        Ok(((), format!("removed {name:?}")))
    })
    .await
}

/// Issues a token, which is shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "officers", request_body = NewToken,
    responses((status = 200, body = IssuedToken), (status = "default", body = ErrorBody)))]
async fn issue_token(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<IssuedToken> {
    let NewToken { name, label, days } = read(body)?;
    change(&desk, |register, now| {
        let issued = register.issue(&name, &label, days, now)?;
        let detail = format!("token {} for {name:?} ({label}) until {}", issued.id, issued.until);
        let token = issued.secret.as_str().to_owned();
        Ok((IssuedToken { id: issued.id, until: issued.until, token }, detail))
    })
    .await
}

/// Ends a token.
#[utoipa::path(post, path = "/v1/tokens/revoke", tag = "officers", request_body = WhichToken,
    responses((status = 200), (status = "default", body = ErrorBody)))]
async fn revoke_token(State(desk): State<Desk>, _: Administrator, body: Body) -> Answer<()> {
    let WhichToken { id } = read(body)?;
    change(&desk, |register, _| {
        let name = register.revoke(&id)?;
        Ok(((), format!("revoked token {id} of {name:?}")))
    })
    .await
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        let (status, code) = match &error {
            RegisterError::Name(_)
            | RegisterError::Password(_)
            | RegisterError::NoRole
            | RegisterError::Days
            | RegisterError::Label => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            RegisterError::Exists(_) => (StatusCode::CONFLICT, "OFFICER_EXISTS"),
            RegisterError::Unknown(_) => (StatusCode::NOT_FOUND, "UNKNOWN_OFFICER"),
            RegisterError::UnknownToken(_) => (StatusCode::NOT_FOUND, "UNKNOWN_TOKEN"),
            RegisterError::Full | RegisterError::TooManyTokens(_) => (StatusCode::CONFLICT, "TOO_MANY"),
        };
        Self::new(status, code, error)
    }
}
