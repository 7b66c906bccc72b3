//! Enrolment from the agency's side: the request that leaves, and the bundle that comes back.
//!
//! Claimed: a bundle is installed only if it answers the request made here, was made for the keys held here, carries
//! this agency's own certificate and a directory that its roots of trust verify, and is not older than what is held.
//! That those roots are the authority's is for two people to compare by telephone: the fingerprint. It is believed
//! once: where roots are held, a bundle brings no others.

use bytes::Bytes;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use thiserror::Error;
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::enrolment::{
    ENROLMENT_BYTES_MAX, EnrolmentBundle, EnrolmentError, EnrolmentRequest, SignedEnrolmentBundle,
    SignedEnrolmentRequest, Trust,
};
use valise_proto::id::{AgencyId, SpiffeId, Timestamp, TrustDomain};
use valise_transport::{Anchors, AnchorsError, CertificateError, Credentials, CredentialsError, Usage};

use crate::folder::{self, FileError, Folder};
use crate::vault::{Vault, VaultError};

/// Longest PEM text of a request or bundle: base64 is a third longer than what it carries.
pub(crate) const PEM_BYTES_MAX: usize = ENROLMENT_BYTES_MAX * 3 / 2;

/// Why an agency was not initialised or did not join. The data folder is as it was.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The keys.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// A request or bundle that is not to be acted upon.
    #[error("{0}")]
    Enrolment(#[from] EnrolmentError),
    /// The bundle's directory.
    #[error("the bundle's directory is refused: {0}")]
    Directory(#[from] DirectoryError),
    /// The bundle's certificates.
    #[error("the bundle's certificates are refused: {0}")]
    Credentials(#[from] CredentialsError),
    /// The bundle's roots or revocation lists.
    #[error("the bundle's roots of trust or revocation lists are refused: {0}")]
    Anchors(#[from] AnchorsError),
    /// The bundle's certificate, judged by the bundle's own roots, lists and trust domain.
    #[error("the bundle's certificate is refused, as every broker would refuse it: {0}")]
    Certificate(#[from] CertificateError),
    /// The bundle brings other roots of trust than those held.
    #[error(
        "the bundle brings other roots of trust or directory keys than {} joined by; nothing was installed. If its authority is the same, ask it by telephone what has changed; another exchange, or an authority begun anew, is joined with a data folder of its own: `valise-agent init --data FOLDER`", .0.path().display()
    )]
    OtherTrust(Folder),
    /// The certificate names someone else.
    #[error("the bundle's certificate is for {got}; this folder's keys belong to {expected}")]
    Identity {
        /// This agency.
        expected: SpiffeId,
        /// The certificate's.
        got: SpiffeId,
    },
    /// The directory does not list the keys held here.
    #[error(
        "the bundle's directory does not list {0} with the signing and sealing keys of this folder; have the authority publish again and make a new bundle"
    )]
    NotListed(AgencyId),
    /// The certificate request could not be made.
    #[error("the certificate request could not be made: {0}")]
    Request(#[from] rcgen::Error),
    /// `init` was not run, or not to its end.
    #[error("{} holds no enrolment request: run `valise-agent init` with this folder", .0.path().display())]
    NotInitialised(Folder),
    /// The node has not joined.
    #[error("{folder} has not joined an exchange: give {request} to the authority, then run `valise-agent join --data {folder} BUNDLE.pem` with the bundle that comes back", folder = .0.path().display(), request = .0.request().display())]
    NotJoined(Folder),
}

/// Makes the agency's keys and its enrolment request.
///
/// Keys that are there already are left alone; where an earlier run stopped between making keys and writing the
/// request, the request is made for those keys.
///
/// # Errors
/// [`EnrolError`]; [`VaultError::Exists`] where this was done before.
pub fn init(
    folder: &Folder,
    trust_domain: TrustDomain,
    agency: AgencyId,
    now: Timestamp,
) -> Result<SignedEnrolmentRequest, EnrolError> {
    let unfinished = folder.keys().exists() && !folder.request().exists();
    let vault = if unfinished { Vault::open(folder)? } else { Vault::create(folder)? };
    let identity = SpiffeId::agency(trust_domain.clone(), agency.clone());
    let csr = certificate_request(vault.tls_key_pem(), &identity)?;
    let request = EnrolmentRequest {
        trust_domain,
        agency,
        csr_der: csr,
        signing_key: vault.signing_key().verifying_key(),
        sealing_key: sealing_public(&vault)?,
        created_at: now,
    };
    let signed = request.sign(vault.signing_key());
    folder::replace(&folder.request(), signed.to_pem().as_bytes())?;
    Ok(signed)
}

fn sealing_public(vault: &Vault) -> Result<valise_proto::crypto::SealingPublicKey, EnrolError> {
    let key = vault.sealing_keys().first().ok_or(EnrolmentError::OtherSealingKey)?;
    Ok(key.public().clone())
}

/// The PKCS#10 request of a TLS key for a certificate of `identity`, DER.
pub(crate) fn certificate_request(tls_key_pem: &str, identity: &SpiffeId) -> Result<Bytes, rcgen::Error> {
    let key = KeyPair::from_pem(tls_key_pem)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = identity.as_agency().map_or_else(|| identity.to_string(), ToString::to_string);
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
    Ok(Bytes::copy_from_slice(params.serialize_request(&key)?.der()))
}

/// The request made here.
///
/// # Errors
/// [`EnrolError::NotInitialised`] where there is none.
pub fn request(folder: &Folder) -> Result<SignedEnrolmentRequest, EnrolError> {
    if !folder.request().exists() {
        return Err(EnrolError::NotInitialised(folder.clone()));
    }
    Ok(SignedEnrolmentRequest::from_pem(&folder::read_text(&folder.request(), PEM_BYTES_MAX)?)?)
}

/// Reads a bundle's text. Its fingerprint is to be compared before it is installed.
///
/// # Errors
/// [`EnrolError`].
pub fn read_bundle(path: &std::path::Path) -> Result<SignedEnrolmentBundle, EnrolError> {
    Ok(SignedEnrolmentBundle::from_pem(&folder::read_text(path, PEM_BYTES_MAX)?)?)
}

/// Installs a bundle whose fingerprint was compared.
///
/// The certificate chain is put in place last: until then the node counts as not joined.
///
/// # Errors
/// [`EnrolError`].
pub fn join(
    folder: &Folder,
    signed: &SignedEnrolmentBundle,
    now: Timestamp,
) -> Result<Directory, EnrolError> {
    let vault = Vault::open(folder)?;
    let request = request(folder)?;
    // The challenge is sealed to the key that was enrolled, which may be one of former times by now.
    let answers = vault.sealing_keys().iter().map(|key| signed.check_answers(&request, key));
    answers.reduce(|before, this| before.or(this)).ok_or(EnrolmentError::OtherSealingKey)??;
    let bundle = signed.bundle();
    let held = held_trust(folder)?;
    if held.is_some_and(|held| held != bundle.trust) {
        return Err(EnrolError::OtherTrust(folder.clone()));
    }
    let chain = chain_pem(&bundle.chain);
    let credentials = Credentials::from_pem(chain.as_bytes(), vault.tls_key_pem().as_bytes())?;
    if *credentials.identity() != bundle.identity {
        return Err(EnrolError::Identity {
            expected: bundle.identity.clone(),
            got: credentials.identity().clone(),
        });
    }
    let trust = &bundle.trust;
    let anchors = Anchors::new(trust.trust_domain.clone(), &trust.anchors, &bundle.crls)?;
    credentials.verify(&anchors, Usage::Client, now)?;
    let directory = Directory::verify(bundle.directory.clone(), trust)?;
    directory.check_fresh(now)?;
    check_listed(&directory, &request.request().agency, &vault)?;
    check_newer_than_held(folder, &directory, trust)?;
    install(folder, bundle, &chain)?;
    Ok(directory)
}

/// The roots that a folder joined by; none where it has not joined.
fn held_trust(folder: &Folder) -> Result<Option<Trust>, EnrolError> {
    if !folder.certificates().exists() {
        return Ok(None);
    }
    Ok(Some(Trust::from_pem(&folder::read_text(&folder.trust(), PEM_BYTES_MAX)?)?))
}

fn check_listed(directory: &Directory, agency: &AgencyId, vault: &Vault) -> Result<(), EnrolError> {
    let not_listed = || EnrolError::NotListed(agency.clone());
    let entry = directory.agency(agency).ok_or_else(not_listed)?;
    let signing = entry.signing_keys.iter().any(|key| key.key_id == vault.signing_key().key_id());
    let held: Vec<_> = vault.sealing_keys().iter().map(|key| key.public().key_id()).collect();
    let sealing = entry.sealing_keys.iter().any(|key| held.contains(&key.key_id));
    if signing && sealing { Ok(()) } else { Err(not_listed()) }
}

/// A folder that joined before keeps its directory unless the new one may take its place.
fn check_newer_than_held(folder: &Folder, directory: &Directory, trust: &Trust) -> Result<(), EnrolError> {
    if folder.certificates().exists() && folder.directory().exists() {
        let bytes = folder::read(&folder.directory(), valise_proto::wire::limits::DIRECTORY_BYTES_MAX)?;
        directory.check_may_replace(&Directory::verify(bytes.into(), trust)?)?;
    }
    Ok(())
}

fn install(folder: &Folder, bundle: &EnrolmentBundle, chain: &str) -> Result<(), EnrolError> {
    folder::replace(&folder.trust(), bundle.trust.to_pem().as_bytes())?;
    folder::replace(&folder.directory(), &bundle.directory)?;
    folder::replace(&folder.crls(), crls_pem(&bundle.crls).as_bytes())?;
    folder::replace(&folder.certificates(), chain.as_bytes())?;
    Ok(())
}

/// What a node that has joined acts upon.
#[derive(Debug)]
pub struct Membership {
    /// Who it is.
    pub agency: AgencyId,
    /// The roots of trust.
    pub trust: Trust,
    /// The directory it holds; its freshness has not been checked.
    pub directory: Directory,
    /// Its certificate chain and TLS key.
    pub credentials: Credentials,
    /// Revocation lists, DER.
    pub crls: Vec<Bytes>,
}

impl Membership {
    /// Reads what `join` installed.
    ///
    /// # Errors
    /// [`EnrolError`]; [`EnrolError::NotJoined`] where nothing was installed.
    pub fn open(folder: &Folder, vault: &Vault) -> Result<Self, EnrolError> {
        if !folder.certificates().exists() {
            return Err(EnrolError::NotJoined(folder.clone()));
        }
        let trust = Trust::from_pem(&folder::read_text(&folder.trust(), PEM_BYTES_MAX)?)?;
        let directory = folder::read(&folder.directory(), valise_proto::wire::limits::DIRECTORY_BYTES_MAX)?;
        let directory = Directory::verify(directory.into(), &trust)?;
        let chain = folder::read(&folder.certificates(), PEM_BYTES_MAX)?;
        let credentials = Credentials::from_pem(&chain, vault.tls_key_pem().as_bytes())?;
        let request = request(folder)?;
        let SpiffeId { trust_domain, .. } = credentials.identity();
        let expected = SpiffeId::agency(trust_domain.clone(), request.request().agency.clone());
        if *credentials.identity() != expected {
            return Err(EnrolError::Identity { expected, got: credentials.identity().clone() });
        }
        let crls = read_crls(folder)?;
        Ok(Self { agency: request.request().agency.clone(), trust, directory, credentials, crls })
    }
}

/// Revocation lists of the data folder, DER.
///
/// # Errors
/// [`EnrolError`].
pub fn read_crls(folder: &Folder) -> Result<Vec<Bytes>, EnrolError> {
    let text = folder::read(&folder.crls(), PEM_BYTES_MAX)?;
    Ok(read_pems(CRL_PEM_LABEL, &text)?)
}

/// What stands in a PEM text, all of it under this label.
///
/// # Errors
/// [`EnrolmentError::Pem`].
pub(crate) fn read_pems(expected: &'static str, text: &[u8]) -> Result<Vec<Bytes>, EnrolmentError> {
    let bad = |problem: String| EnrolmentError::Pem { expected, problem };
    let found = pem::parse_many(text).map_err(|error| bad(error.to_string()))?;
    if let Some(other) = found.iter().find(|one| one.tag() != expected) {
        return Err(bad(format!("it holds a `{}`", other.tag())));
    }
    Ok(found.into_iter().map(|one| Bytes::from(one.into_contents())).collect())
}

/// PEM label of a revocation list (RFC 7468 section 6).
const CRL_PEM_LABEL: &str = "X509 CRL";

/// Revocation lists as PEM text.
#[must_use]
pub fn crls_pem(crls: &[Bytes]) -> String {
    armour_all(CRL_PEM_LABEL, crls)
}

/// A certificate chain as PEM text.
pub(crate) fn chain_pem(chain: &[Bytes]) -> String {
    armour_all("CERTIFICATE", chain)
}

fn armour_all(label: &str, items: &[Bytes]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let pems: Vec<_> = items.iter().map(|der| pem::Pem::new(label, der.as_ref())).collect();
    pem::encode_many_config(&pems, config)
}
