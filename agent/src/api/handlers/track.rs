//! The way of a notice that was sent from here.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::outstanding::{self, Followed};
use super::sent::met;
use super::{Answer, Asked, WAIT_MAX, apart, id_of};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::{ErrorBody, NoticeStatus, OutstandingFacts, RecipientStatus, TrackFacts, Until};
use crate::api::views;
use crate::node::office::Office;
use crate::node::{Desk, alarms};
use crate::officers::Role;
use crate::release::standing::out_of_force;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(track))
}

/// What may be asked of a notice's way.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct TrackQuery {
    /// Answer not before this has happened, or `timeout` seconds have passed.
    #[param(inline)]
    wait: Option<Until>,
    /// Seconds, 30 unless given, at most 600.
    timeout: Option<u64>,
}

/// Every step of a notice at every recipient, who is late with an answer, and who is not known to have it.
#[utoipa::path(get, path = "/v1/notices/{id}/track", tag = "follow-ups", params(("id" = String, Path, description = "The notice's id"), TrackQuery),
    responses((status = 200, body = TrackFacts), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn track(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(query): Asked<TrackQuery>,
) -> Answer<TrackFacts> {
    caller.must_any(&[Role::Drafter, Role::Reader, Role::Releaser])?;
    let id = id_of(&id)?;
    if let Some(wait) = query.wait {
        let timeout = Duration::from_secs(query.timeout.unwrap_or(30)).min(WAIT_MAX);
        desk.wait_until(timeout, |store| {
            Ok::<_, ApiError>(store.sent(&id)?.is_none_or(|sent| met(wait, &sent)))
        })
        .await?;
    }
    Ok(Json(apart(&desk, move |office| way_of(office, &id)).await?))
}

fn way_of(office: &Office, id: &NoticeId) -> Result<TrackFacts, ApiError> {
    let store = office.store();
    let sent = match store.sent(id)? {
        Some(sent) => sent,
        None if store.received(id)?.is_some() => return Err(ApiError::was_received(id)),
        None => return Err(ApiError::unknown_notice(id)),
    };
    let followed = outstanding::followed(store, id)?;
    let owing = alarms::late(&sent);
    let status = NoticeStatus {
        out_of_force: out_of_force(office, id, office.agency())?,
        ..views::notice_status(&sent)
    };
    let mut track = way(status, &owing, followed.as_ref(), office.now());
    outstanding::add_untold(office, id, &mut track)?;
    track.rests_on = outstanding::rests_on(office, id)?;
    Ok(track)
}

/// `followed` says what took the notice out of force, if something did: then whoever has not proved that it purged it is
/// outstanding, also who takes no part any more and could not be told.
fn way(status: NoticeStatus, owing: &[AgencyId], followed: Option<&Followed>, at: Timestamp) -> TrackFacts {
    let over = status.deadline_passed || status.respond_by.is_some_and(|respond_by| respond_by <= at);
    let late = if over { owing.to_vec() } else { Vec::new() };
    let outstanding = status.recipients.iter().filter_map(|recipient| {
        let untold = followed.and_then(|followed| untold(followed, recipient));
        let reason = untold.or_else(|| not_fetched(&status, recipient));
        let reason = reason.or_else(|| unproved(followed?, recipient))?;
        Some(OutstandingFacts { agency: recipient.agency.clone(), reason })
    });
    let outstanding = outstanding.collect();
    TrackFacts { status, late, outstanding, not_told: Vec::new(), rests_on: None, at }
}

fn unproved(followed: &Followed, recipient: &RecipientStatus) -> Option<String> {
    let kind = followed.kind;
    (recipient.state != "PURGED")
        .then(|| format!("a {kind} took it out of force; no proof came that it was purged"))
}

/// Why a holder could not be told that the notice is out of force, where that is so.
fn untold(followed: &Followed, recipient: &RecipientStatus) -> Option<String> {
    let Followed { kind, untold } = followed;
    let reason = untold.get(&recipient.agency).filter(|_| recipient.state != "PURGED")?;
    Some(format!("a {kind} took it out of force; {reason}"))
}

/// Why a recipient is not known to have the notice, where it is not.
fn not_fetched(status: &NoticeStatus, recipient: &RecipientStatus) -> Option<String> {
    let last = || recipient.steps.last().and_then(|step| step.reason.clone());
    match recipient.state.as_str() {
        "PENDING" => Some(match status.state.as_str() {
            "QUEUED" => "still queued here: no broker has taken it".to_owned(),
            "REFUSED" => "refused by the broker".to_owned(),
            "LAPSED" => "it expired here before a broker could be reached".to_owned(),
            _ => "not fetched yet".to_owned(),
        }),
        "EXPIRED" => Some("it expired at the broker and was never fetched".to_owned()),
        "REJECTED" => Some(last().unwrap_or_else(|| "rejected".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use valise_proto::envelope::NoticeKind;
    use valise_proto::label::Classification;
    use valise_proto::receipt::ReceiptKind;

    use super::*;
    use crate::fixture::{Exchange, agency};
    use crate::store::{Sent, SentRecord};

    const RECIPIENTS: [&str; 4] = ["deu/bka", "fra/ncb", "ken/ncb", "tur/border"];
    const KINDS: [ReceiptKind; 6] = [
        ReceiptKind::Delivered,
        ReceiptKind::Read,
        ReceiptKind::Actioned,
        ReceiptKind::Rejected,
        ReceiptKind::Purged,
        ReceiptKind::Expired,
    ];

    proptest! {
        /// Whatever came of a notice: once it is out of force, who has not proved that it purged it is outstanding.
        #[test]
        fn g11_after_a_withdrawal_everybody_has_purged_or_is_outstanding(
            said in proptest::collection::vec((0..RECIPIENTS.len(), 0..KINDS.len()), 0..12),
            accepted in any::<bool>(),
            answered in proptest::collection::btree_set(0..RECIPIENTS.len(), 0..4),
        ) {
            let secret = Classification::Secret;
            let members: Vec<_> = std::iter::once("gbr/nca").chain(RECIPIENTS).map(|name| (name, secret)).collect();
            let exchange = Exchange::new(&members);
            let envelope = exchange.envelope("gbr/nca", &RECIPIENTS, b"x", |_| {});
            let receipt = |(who, kind): &(usize, usize)| {
                let (who, kind) = (RECIPIENTS[*who], KINDS[*kind]);
                if kind == ReceiptKind::Expired {
                    let mut receipt = exchange.answer(&envelope, None).receipt().clone();
                    (receipt.kind, receipt.recipient) = (kind, Some(agency(who)));
                    return receipt.sign(&exchange.broker_key);
                }
                exchange.receipt(kind, who, &envelope)
            };
            let mut receipts: Vec<_> = said.iter().map(receipt).collect();
            receipts.extend(accepted.then(|| exchange.answer(&envelope, None)));
            let sent = Sent {
                record: SentRecord::of(envelope.header(), envelope.header_digest()),
                receipts,
                lapsed_at: None,
                unsent: None,
                deadline_passed: false,
                answered: answered.iter().map(|who| agency(RECIPIENTS[*who])).collect(),
            };
            let untold = std::collections::BTreeMap::from([(agency("fra/ncb"), "may access no portion".to_owned())]);
            for kind in [NoticeKind::Withdrawal, NoticeKind::Correction] {
                let followed = Followed { kind, untold: untold.clone() };
                let way = way(views::notice_status(&sent), &[], Some(&followed), exchange.start);
                for (place, name) in RECIPIENTS.iter().enumerate() {
                    let purged = said.iter().any(|(who, kind)| *who == place && KINDS[*kind] == ReceiptKind::Purged);
                    let listed = way.outstanding.iter().filter(|one| one.agency.as_str() == *name).count();
                    prop_assert_eq!(listed, usize::from(!purged), "{}: {:?}", name, way.outstanding);
                }
            }
        }
    }
}
