//! What an operator reads at the end that was refused: the alert of the other end, in words.

use valise_transport::{Client, CloseReason, ConnectError, Options, Rejection, Transport};

use crate::pki::{Authority, Issued, Leaf, List};
use crate::{listen, soon};

const REVOKED_SERIAL: u64 = 666;

/// How a broker of `authority`, which goes by `lists`, turns away an agency that presents `issued`.
async fn turned_away(authority: &Authority, lists: &[Vec<u8>], issued: &Issued) -> Rejection {
    let (_server, broker, endpoint) = listen(authority, Options::default());
    broker.swap_anchors(authority.anchors_with(lists));
    let transport = Transport::new(issued.credentials(), authority.anchors(), Options::default());
    let reason = soon("the refusal", async {
        match Client::new(&transport).connect(&endpoint, None).await {
            Ok(connection) => connection.closed().await,
            Err(ConnectError::Handshake { reason, .. }) => reason,
            Err(other) => panic!("{other:?}"),
        }
    })
    .await;
    let CloseReason::Refused(rejection) = reason else { panic!("{reason:?}") };
    rejection
}

#[tokio::test]
async fn g12_an_agency_that_is_refused_learns_what_is_wrong_with_its_certificate() {
    let authority = Authority::new();
    let lists = authority.lists(&List::revoking(REVOKED_SERIAL));
    let leaf = Leaf::agency("fra/ncb");
    let present = |issued: Issued| {
        let (authority, lists) = (&authority, &lists);
        async move { turned_away(authority, lists, &issued).await }
    };
    let revoked = present(authority.issue(&leaf.clone().serial(REVOKED_SERIAL))).await;
    assert_eq!(revoked, Rejection::Revoked);
    let expired = present(authority.issue(&Leaf { years: (2020, 2021), ..leaf.clone() })).await;
    assert_eq!(expired, Rejection::Expired);
    let early = present(authority.issue(&Leaf { years: (2080, 2090), ..leaf.clone() })).await;
    assert_eq!(early, Rejection::Expired);
    let foreign = present(Authority::new().issue(&leaf)).await;
    assert_eq!(foreign, Rejection::UnknownAuthority);
    let misplaced = present(authority.issue(&Leaf::broker("b2"))).await;
    assert_eq!(misplaced, Rejection::WrongPlace);
}

/// A broker whose own lists ran out must not tell its agencies that something is wrong with them.
#[tokio::test]
async fn g12_a_broker_whose_lists_ran_out_does_not_put_it_on_the_certificate() {
    let authority = Authority::new();
    let stale = authority.lists(&List { years: (2020, 2021), ..List::fresh() });
    for lists in [stale, Vec::new()] {
        let rejection = turned_away(&authority, &lists, &authority.issue(&Leaf::agency("fra/ncb"))).await;
        assert_eq!(rejection, Rejection::NotJudged);
        assert!(rejection.to_string().contains("its log says why"), "{rejection}");
    }
}
