//! Renewal over a connection: the request goes to the broker's spool, and the certificate comes back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::Rng;
use valise_proto::wire::session::{Answer, Query};
use valise_transport::{CertificateError, Connection};

use super::engine::Input;
use super::installing::{self, NotInstalled};
use super::link::{Call, LinkError, ask};
use super::office::Office;
use super::publication;
use crate::clock::randomness;
use crate::renewal::{Pending, Refused, Spooled};

/// How often a certificate is asked for while a request waits for one: the longest; half of it is the shortest.
const ASK_EVERY: Duration = Duration::from_secs(4 * 60);

impl Call {
    /// Sends the renewal request that waits, and asks for a newer certificate: once now, whenever something newer was
    /// published, and every few minutes while a request waits.
    pub(super) async fn keep_renewed(&self, connection: &Connection) -> Infallible {
        let mut stirred = self.office.stirred();
        let mut wanted = true;
        loop {
            stirred.borrow_and_update();
            let waits = match self.send_request(connection).await {
                Ok(waits) => waits,
                Err(error) => {
                    tracing::warn!(%error, "a renewal request was not handed to the broker");
                    true
                }
            };
            if (wanted || waits)
                && let Err(error) = self.fetch_certificate(connection).await
            {
                tracing::warn!(%error, "no newer certificate was had from the broker");
            }
            tokio::select! {
                changed = stirred.changed() => wanted = changed.is_ok(),
                () = tokio::time::sleep(jittered(ASK_EVERY)) => wanted = false,
            }
        }
    }

    /// Hands over the request that waits, if the broker is not known to keep it. Returns whether one waits.
    async fn send_request(&self, connection: &Connection) -> Result<bool, LinkError> {
        let pending = self.apart(|office| Pending::read(&office.config().folder)).await?;
        let Some(pending) = pending? else { return Ok(false) };
        let Some(bytes) = pending.to_send(connection.peer(), self.office.now()) else { return Ok(true) };
        match ask(connection, Query::Renewal(bytes)).await? {
            Answer::Spooled(digest) if digest == pending.request().digest() => {
                tracing::info!(broker = %connection.peer(), "the broker keeps the renewal request for the authority");
                let broker = connection.peer().clone();
                self.note(pending, move |pending, office| {
                    let spooled = Spooled { at: office.now(), broker };
                    pending.note_spooled(&office.config().folder, spooled)
                })
                .await?;
            }
            Answer::Refusal(refusal) => {
                tracing::warn!(%refusal, "the broker does not take the renewal request");
                let broker = connection.peer().clone();
                self.note(pending, move |pending, office| {
                    let refused = Refused { at: office.now(), broker, reason: refusal.to_string() };
                    pending.note_refused(&office.config().folder, refused)
                })
                .await?;
            }
            Answer::Spooled(_) => return Err(LinkError::Protocol("it keeps another renewal request")),
            Answer::Publication(_) | Answer::NoticeStatus(_) | Answer::Certificate(_) => {
                return Err(LinkError::Protocol("it answered another question"));
            }
        }
        Ok(true)
    }

    async fn note(
        &self,
        mut pending: Pending,
        note: impl FnOnce(&mut Pending, &Office) -> Result<(), crate::folder::FileError> + Send + 'static,
    ) -> Result<(), LinkError> {
        self.apart(move |office| {
            let _alone = office.publishing();
            // Another may have been made meanwhile, and then this one is of no more account.
            let same = Pending::read(&office.config().folder).ok().flatten();
            if same.is_some_and(|same| same.request().digest() == pending.request().digest()) {
                return note(&mut pending, office);
            }
            Ok(())
        })
        .await??;
        Ok(())
    }

    /// Asks for the newest certificate and puts it in place where it is newer than the one in use.
    async fn fetch_certificate(&self, connection: &Connection) -> Result<(), LinkError> {
        let chain = match ask(connection, Query::Certificate).await? {
            Answer::Certificate(chain) if chain.is_empty() => return Ok(()),
            Answer::Certificate(chain) => chain,
            Answer::Refusal(refusal) => return Err(LinkError::Goodbye(refusal)),
            Answer::Publication(_) | Answer::NoticeStatus(_) | Answer::Spooled(_) => {
                return Err(LinkError::Protocol("it answered another question"));
            }
        };
        let taken = match self.take_chain(chain.clone()).await? {
            // Issued by an authority that follows another: its list is to be had first.
            Err(NotInstalled::Certificate(CertificateError::RevocationUnknown)) => {
                self.fetch_lists_for(connection, chain.clone()).await?;
                self.take_chain(chain).await?
            }
            taken => taken,
        };
        self.office.note_certificate(taken.as_ref().err().map(ToString::to_string));
        match taken {
            Ok(false) => Ok(()),
            Ok(true) => {
                // Now that it is in use, the request may be answered.
                self.office.stir();
                self.tell(Input::Renewed).await
            }
            Err(error) => {
                tracing::warn!(%error, "a certificate was not put in place");
                Ok(())
            }
        }
    }

    async fn take_chain(&self, chain: Vec<Bytes>) -> Result<Result<bool, NotInstalled>, LinkError> {
        self.apart(move |office| installing::take_chain(office, &chain)).await
    }

    /// Takes revocation lists that our own new certificate cannot do without.
    async fn fetch_lists_for(&self, connection: &Connection, chain: Vec<Bytes>) -> Result<(), LinkError> {
        let Answer::Publication(offered) = ask(connection, Query::Publication).await? else {
            return Err(LinkError::Protocol("it answered another question"));
        };
        let taken = self.apart(move |office| {
            let Ok(Some(candidate)) = installing::candidate(office, &chain) else { return Ok(()) };
            let witness = |anchors: &valise_transport::Anchors| {
                let now = office.now();
                candidate.credentials.verify(anchors, valise_transport::Usage::Client, now).map(|_| ())
            };
            publication::take_seen_by(office, &witness, &offered)
        });
        Ok(taken.await??)
    }

    /// Files and keys take disk and CPU; they are not for the tasks that do I/O.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Office) -> T + Send + 'static,
    ) -> Result<T, LinkError> {
        let office = Arc::clone(&self.office);
        let done = tokio::task::spawn_blocking(move || work(&office)).await;
        done.map_err(|_| LinkError::Ended("the node is stopping"))
    }
}

/// Between half of `longest` and `longest`, so that agencies do not all ask in the same moment.
fn jittered(longest: Duration) -> Duration {
    let half = longest / 2;
    let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_millis(randomness().next_u64() % span)
}
