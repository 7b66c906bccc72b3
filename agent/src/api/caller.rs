//! Who asks: the officer behind a request to the local API, and what that officer may do.
//!
//! Claimed: nothing is done for a person before it is known who that is and that the role allows it, and a refusal is
//! in the access journal before it is answered. It holds because each handler that acts for a person takes a
//! [`Caller`], of which there is no other source than [`FromRequestParts`], and because [`journal_refusals`] stands
//! around all of them.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use base64::Engine;
use valise_proto::id::Timestamp;
use zeroize::Zeroizing;

use super::error::ApiError;
use crate::core::Change;
use crate::journal::{Deed, Entry, REASON_BYTES_MAX};
use crate::node::Desk;
use crate::officers::guard::{Known, NotKnown};
use crate::officers::{self, Role, Roles};

/// The header by which a caller on the Unix socket names the officer while there are no accounts.
const OFFICER_HEADER: &str = "x-valise-officer";
/// Who acts where nobody was named.
const UNNAMED: &str = "(unnamed)";
/// How long whoever failed to say who they are waits for the answer.
const FAILED_LOGIN_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// The way by which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Via {
    /// The Unix socket, which only the node's user can open.
    Socket,
    /// Loopback TCP, which everybody on the machine can reach.
    Tcp,
}

/// The officer behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Caller {
    /// The officer's name.
    pub(in crate::api) officer: String,
    /// What the officer may do.
    pub(in crate::api) roles: Roles,
    /// How the request came.
    pub(in crate::api) via: Via,
    /// Whether there have never been accounts, so that whoever opens the socket may do everything.
    pub(in crate::api) open: bool,
}

/// An attempt that was refused and is to be entered into the access journal before it is answered.
#[derive(Clone)]
pub(in crate::api) struct Attempt(pub(in crate::api) Box<Entry>);

impl Caller {
    /// Whether the officer has `role`.
    ///
    /// # Errors
    /// [`ApiError`], which is journalled.
    pub(in crate::api) fn must(&self, role: Role) -> Result<(), ApiError> {
        self.must_any(&[role])
    }

    /// Whether the officer has one of `roles`.
    ///
    /// # Errors
    /// [`ApiError`], which is journalled.
    pub(in crate::api) fn must_any(&self, roles: &[Role]) -> Result<(), ApiError> {
        if roles.iter().any(|role| self.roles.has(*role)) {
            return Ok(());
        }
        let needed = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ");
        Err(self.refused(
            "ROLE_MISSING",
            format_args!(
                "this needs the role {needed}; {officer} has: {roles}. Whoever runs the node can give it: valise-agent officer roles {officer:?} --role …",
                officer = self.officer,
                roles = self.roles
            ),
        ))
    }

    /// A refusal, 403, that is entered into the access journal.
    pub(in crate::api) fn refused(&self, code: &str, message: impl std::fmt::Display) -> ApiError {
        let error = ApiError::new(StatusCode::FORBIDDEN, code, message);
        let entry = |message: &str| self.entry(Deed::Refusal).saying(format_args!("{code}: {message}"));
        error.journalled(entry)
    }

    /// The officer in whose name the request acts: the account's, which a name in the request may repeat but not
    /// change. While there are no accounts, the name in the request, or else the one in the header.
    ///
    /// # Errors
    /// [`ApiError`] where there is none, or another.
    pub(in crate::api) fn acting_as(&self, named: Option<&str>) -> Result<String, ApiError> {
        let named = named.map(str::trim).filter(|name| !name.is_empty());
        match named {
            Some(named) if self.open => officers::name_of(named)
                .map_err(|error| ApiError::bad_request(format_args!("officer: {error}"))),
            Some(named) if named != self.officer => Err(self.refused(
                "OTHER_OFFICER",
                format_args!(
                    "officer: {named:?} is not the officer who asks, {:?}: leave the name out",
                    self.officer
                ),
            )),
            None if self.open && self.officer == UNNAMED => Err(ApiError::bad_request(
                "officer: name the officer who acts: --officer NAME, or the header X-Valise-Officer",
            )),
            Some(_) | None => Ok(self.officer.clone()),
        }
    }

    /// The reason that was stated for the access journal, without which nothing is opened once there are accounts.
    ///
    /// # Errors
    /// [`ApiError`] where it is missing or too long.
    pub(in crate::api) fn reason(&self, stated: Option<&str>) -> Result<Option<String>, ApiError> {
        let stated = stated.map(str::trim).filter(|reason| !reason.is_empty());
        match stated {
            None if self.open => Ok(None),
            None => Err(ApiError::bad_request(
                "reason: say why, for the access journal: --reason TEXT, such as the number of the case",
            )),
            Some(reason) if reason.len() > REASON_BYTES_MAX => Err(ApiError::bad_request(format_args!(
                "reason: {} bytes; at most {REASON_BYTES_MAX} are kept",
                reason.len()
            ))),
            Some(reason) => Ok(Some(reason.to_owned())),
        }
    }

    /// While there are no accounts: whoever can open the socket may do everything, under the name that is given.
    fn nameless(headers: &HeaderMap) -> Result<Self, ApiError> {
        let named = headers.get(OFFICER_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let officer = named.map(|name| officers::name_of(&name)).transpose();
        let officer =
            officer.map_err(|error| ApiError::bad_request(format_args!("X-Valise-Officer: {error}")))?;
        let officer = officer.unwrap_or_else(|| UNNAMED.to_owned());
        Ok(Self { officer, roles: Roles::all(), via: Via::Socket, open: true })
    }

    /// An entry about a deed of this officer. Its time is set when it is written.
    pub(in crate::api) fn entry(&self, deed: Deed) -> Entry {
        Entry::new(Timestamp::from_millis(0), &self.officer, deed)
    }
}

fn via(parts: &Parts) -> Via {
    // What came without a mark is treated as what may do least.
    parts.extensions.get::<Via>().copied().unwrap_or(Via::Tcp)
}

/// What a request carries to tell who asks.
enum Credential {
    Token(Zeroizing<String>),
    Password { name: String, password: Zeroizing<String> },
}

fn credential(headers: &HeaderMap) -> Result<Option<Credential>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let unusable =
        || unauthorized("LOGIN_FAILED", "the Authorization header is neither `Bearer TOKEN` nor `Basic …`");
    let text = value.to_str().map_err(|_| unusable())?;
    let (scheme, rest) = text.split_once(' ').ok_or_else(unusable)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Credential::Token(Zeroizing::new(rest.trim().to_owned()))));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unusable());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).map_err(|_| unusable())?;
    let pair = Zeroizing::new(String::from_utf8(decoded).map_err(|_| unusable())?);
    let (name, password) = pair.split_once(':').ok_or_else(unusable)?;
    let name = officers::name_of(name).map_err(|_| unusable())?;
    Ok(Some(Credential::Password { name, password: Zeroizing::new(password.to_owned()) }))
}

fn unauthorized(code: &str, message: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
}

impl FromRequestParts<Desk> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        let via = via(parts);
        let (guard, now) = (desk.office().guard(), desk.office().now());
        let open = guard.register().is_none();
        let (named, known) = match credential(&parts.headers)? {
            None if open && via == Via::Socket => return Self::nameless(&parts.headers),
            None => return Err(unauthorized("LOGIN_NEEDED", login_needed(via, open))),
            Some(Credential::Password { .. }) if via == Via::Tcp => {
                return Err(unauthorized("LOGIN_NEEDED", login_needed(via, open)));
            }
            Some(Credential::Token(secret)) => {
                let known = guard.by_token(&secret, now);
                if known.is_ok() {
                    note_use(desk, &secret).await?;
                }
                ("(a token)".to_owned(), known)
            }
            Some(Credential::Password { name, password }) => {
                let known = guard.by_password(&name, password, now).await;
                (name, known)
            }
        };
        match known {
            Ok(Known { officer, roles }) => Ok(Self { officer, roles, via, open: false }),
            Err(error) => Err(not_known(desk, &named, &error).await),
        }
    }
}

fn login_needed(via: Via, open: bool) -> &'static str {
    match (via, open) {
        (Via::Tcp, true) => {
            "over TCP an officer's token is needed, and no officer has an account yet: valise-agent officer add NAME --role ROLE, then valise-agent token issue NAME"
        }
        (Via::Tcp, false) => "over TCP an officer's token is needed: valise-agent token issue NAME",
        (Via::Socket, _) => {
            "say who asks: set VALISE_AGENT_TOKEN or give --token-file FILE (valise-agent token issue NAME makes a token)"
        }
    }
}

/// Notes, to the hour, when a token was used.
async fn note_use(desk: &Desk, secret: &str) -> Result<(), ApiError> {
    let (guard, now) = (desk.office().guard(), desk.office().now());
    if !guard.register().is_some_and(|register| register.is_use_news(secret, now)) {
        return Ok(());
    }
    let _alone = guard.changing().await;
    let Some(register) = guard.register() else { return Ok(()) };
    let mut register = (*register).clone();
    if register.note_use(secret, now) {
        desk.record(vec![Change::Officers(Box::new(register.clone()))]).await?;
        guard.replace(register);
    }
    Ok(())
}

/// Slows guessing down and enters it into the journal.
async fn not_known(desk: &Desk, named: &str, error: &NotKnown) -> ApiError {
    tokio::time::sleep(FAILED_LOGIN_PAUSE).await;
    let code = match error {
        NotKnown::Token | NotKnown::Password => "LOGIN_FAILED",
        NotKnown::Wait(_) | NotKnown::Busy => "LOGIN_BUSY",
    };
    let told = unauthorized(code, error);
    match desk.office().guard().is_journalled(desk.office().now()) {
        None => told,
        Some(left_out) => told.journalled(|message| {
            let before =
                if left_out == 0 { String::new() } else { format!("; {left_out} more before this one") };
            let entry = Entry::new(Timestamp::from_millis(0), named, Deed::LoginFailed);
            entry.saying(format_args!("{message}{before}"))
        }),
    }
}

/// Whoever runs the node: the Unix socket is open to that user alone, and some things are asked for there only.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Administrator;

impl FromRequestParts<Desk> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _desk: &Desk) -> Result<Self, ApiError> {
        match via(parts) {
            Via::Socket => Ok(Self),
            Via::Tcp => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "SOCKET_ONLY",
                "this is done on the node's Unix socket only, by whoever runs the node",
            )),
        }
    }
}

/// Whoever may see how the node is: on the Unix socket anybody who can open it, over TCP any officer.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Onlooker;

impl FromRequestParts<Desk> for Onlooker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        if via(parts) == Via::Tcp {
            Caller::from_request_parts(parts, desk).await?;
        }
        Ok(Self)
    }
}

/// Enters refusals that carry an [`Attempt`] into the access journal before they are answered.
pub(in crate::api) async fn journal_refusals(
    State(desk): State<Desk>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Some(Attempt(mut entry)) = response.extensions_mut().remove::<Attempt>() {
        entry.at = desk.office().now();
        if let Err(gone) = desk.journal(*entry).await {
            return axum::response::IntoResponse::into_response(ApiError::from(gone));
        }
    }
    response
}
