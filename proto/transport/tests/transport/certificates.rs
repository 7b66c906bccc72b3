//! Certificates that are not to be accepted, presented to either side.

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use valise_proto::id::Timestamp;
use valise_transport::{
    Anchors, CertificateError, Client, CloseReason, ConnectError, Connection, Credentials, CredentialsError,
    HandshakeError, Options, Server, Transport, Usage,
};

use crate::pki::{Authority, Issued, Leaf, List, domain, now, uri_name};
use crate::{agency, listen, raw, soon};

const REVOKED_SERIAL: u64 = 666;

/// Whether an error is the one that must come.
type Expected = fn(&CertificateError) -> bool;

/// A chain and the error it must give.
struct Bad {
    what: &'static str,
    issued: Issued,
    expected: Expected,
}

/// What a cheat may present in the place of `right`, a leaf in order for `usage`.
fn bad_chains(authority: &Authority, usage: Usage) -> Vec<Bad> {
    let (right, other_role) = match usage {
        Usage::Client => (Leaf::agency("fra/ncb"), Leaf::broker("b1")),
        Usage::Server => (Leaf::broker("b1"), Leaf::agency("fra/ncb")),
    };
    let bad = |what, issued, expected| Bad { what, issued, expected };
    let of = |what, change: &dyn Fn(&mut Leaf), expected| {
        let mut leaf = right.clone();
        change(&mut leaf);
        Bad { what, issued: authority.issue(&leaf), expected }
    };
    let both = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let other_domain = uri_name(match usage {
        Usage::Client => "spiffe://other.example/agency/fra/ncb",
        Usage::Server => "spiffe://other.example/broker/b1",
    });
    let dns = || SanType::DnsName("b1.exchange.example".try_into().unwrap());
    let mut alone = authority.issue(&right);
    alone.chain.truncate(1);
    vec![
        bad("another authority's, of the same names", Authority::new().issue(&right), |e| {
            matches!(e, CertificateError::UnknownAuthority)
        }),
        bad("the leaf without its issuer", alone, |e| matches!(e, CertificateError::UnknownAuthority)),
        of(
            "another trust domain's, of the same authority",
            &|leaf| leaf.names = vec![other_domain.clone()],
            |e| {
                matches!(e, CertificateError::WrongTrustDomain { expected, got }
                if *expected == domain() && got.to_string() == "other.example")
            },
        ),
        bad(
            "the other role's",
            authority.issue(&other_role),
            match usage {
                Usage::Client => |e| matches!(e, CertificateError::WrongUsage(Usage::Client)),
                Usage::Server => |e| matches!(e, CertificateError::WrongUsage(Usage::Server)),
            },
        ),
        bad(
            "the other role's, issued for both sides",
            authority.issue(&Leaf { usages: both, ..other_role.clone() }),
            |e| matches!(e, CertificateError::WrongRole { .. }),
        ),
        bad(
            "the other role's, without a usage",
            authority.issue(&Leaf { usages: Vec::new(), ..other_role }),
            |e| matches!(e, CertificateError::WrongUsage(_)),
        ),
        of("without a usage", &|leaf| leaf.usages.clear(), |e| matches!(e, CertificateError::WrongUsage(_))),
        of("expired", &|leaf| leaf.years = (2020, 2021), |e| {
            matches!(e, CertificateError::Expired { not_after, now }
                if *not_after == time("2021-01-01T00:00:00Z") && now > not_after)
        }),
        of("not yet valid", &|leaf| leaf.years = (2080, 2090), |e| {
            matches!(e, CertificateError::NotYetValid { not_before, now }
                if *not_before == time("2080-01-01T00:00:00Z") && now < not_before)
        }),
        of("revoked", &|leaf| leaf.serial = REVOKED_SERIAL, |e| matches!(e, CertificateError::Revoked)),
        of("two identities", &|leaf| leaf.names.push(other_domain.clone()), not_spiffe),
        of("the same identity twice", &|leaf| leaf.names.push(leaf.names[0].clone()), not_spiffe),
        of("a DNS name only", &|leaf| leaf.names = vec![dns()], not_spiffe),
        of("a DNS name besides", &|leaf| leaf.names.push(dns()), not_spiffe),
        of("no name", &|leaf| leaf.names.clear(), not_spiffe),
        of(
            "a URI that is no identity",
            &|leaf| leaf.names = vec![uri_name("https://exchange.example/b1")],
            not_spiffe,
        ),
    ]
}

fn not_spiffe(error: &CertificateError) -> bool {
    matches!(error, CertificateError::NotSpiffe(_))
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn strict(authority: &Authority) -> Anchors {
    authority.anchors_with(&authority.lists(&List::revoking(REVOKED_SERIAL)))
}

/// A bare agency presents `issued`; why the broker refuses it.
async fn refused_by_broker(server: &Server, issued: &Issued) -> HandshakeError {
    let mut refusals = server.refusals();
    let client = raw::client(raw::client_tls(Some(issued), &[valise_transport::ALPN]));
    let connecting = client.connect(server.local_addr().unwrap(), raw::NAME).unwrap();
    let refused = async {
        // In TLS 1.3 the client is done before the server has seen its certificate.
        let connection = connecting.await;
        let refused = refusals.next().await.unwrap();
        if let Ok(connection) = connection {
            let ended = connection.closed().await;
            assert!(matches!(ended, quinn::ConnectionError::ConnectionClosed(_)), "not refused: {ended:?}");
        }
        refused
    };
    soon("the broker's refusal", refused).await.error
}

/// Why our agency refuses a bare broker that presents `issued`.
async fn refused_by_agency(client: &Client, issued: &Issued) -> ConnectError {
    let (_server, addr) = raw::server(issued, valise_transport::ALPN);
    soon("the agency's refusal", client.connect(&addr.to_string(), None)).await.unwrap_err()
}

#[tokio::test]
async fn g12_a_broker_refuses_every_agency_certificate_that_is_not_in_order() {
    let authority = Authority::new();
    let (mut server, transport, endpoint) = listen(&authority, Options::default());
    transport.swap_anchors(strict(&authority));
    for bad in bad_chains(&authority, Usage::Client) {
        let error = refused_by_broker(&server, &bad.issued).await;
        let HandshakeError::Certificate(error) = error else { panic!("{}: {error:?}", bad.what) };
        assert!((bad.expected)(&error), "{}: {error:?}", bad.what);
        assert!(transport.anchors().verify(&bad.issued.chain, Usage::Client, now()).is_err(), "{}", bad.what);
    }
    // The first connection that is handed out is the honest agency's.
    let (_, accepted) = crate::meet(&agency(&authority), &mut server, &endpoint).await;
    assert_eq!(accepted.peer().to_string(), "spiffe://exchange.example/agency/fra/ncb");
}

#[tokio::test]
async fn g12_an_agency_refuses_every_broker_certificate_that_is_not_in_order() {
    let authority = Authority::new();
    let transport = authority.transport(&Leaf::agency("fra/ncb"), Options::default());
    transport.swap_anchors(strict(&authority));
    for bad in bad_chains(&authority, Usage::Server) {
        let error = refused_by_agency(&Client::new(&transport), &bad.issued).await;
        let ConnectError::Certificate { source, .. } = error else { panic!("{}: {error:?}", bad.what) };
        assert!((bad.expected)(&source), "{}: {source:?}", bad.what);
    }
    let (_server, addr) = raw::server(&authority.issue(&Leaf::broker("b1")), valise_transport::ALPN);
    soon("the honest broker", Client::new(&transport).connect(&addr.to_string(), None)).await.unwrap();
}

/// Keys that are not Ed25519 fail before the chain is looked at: their signature is none that is offered.
#[tokio::test]
async fn g01_keys_other_than_ed25519_are_refused_by_either_side() {
    let authority = Authority::new();
    let (server, transport, _) = listen(&authority, Options::default());
    let no_signature = HandshakeError::Certificate(CertificateError::NoCertificate);
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let agency_leaf = authority.issue(&Leaf { algorithm, ..Leaf::agency("fra/ncb") });
        assert_eq!(refused_by_broker(&server, &agency_leaf).await, no_signature, "{algorithm:?}");
        let broker_leaf = authority.issue(&Leaf { algorithm, ..Leaf::broker("b1") });
        let error = refused_by_agency(&agency(&authority), &broker_leaf).await;
        assert!(
            matches!(error, ConnectError::Handshake { reason: CloseReason::Refused(_), .. }),
            "{algorithm:?}: {error:?}"
        );
        let verified = transport.anchors().verify(&agency_leaf.chain, Usage::Client, now());
        assert_eq!(verified, Err(CertificateError::WrongAlgorithm), "{algorithm:?}");
        let pem = agency_leaf.chain_pem();
        let own = Credentials::from_pem(pem.as_bytes(), agency_leaf.key.serialize_pem().as_bytes());
        assert!(
            matches!(own, Err(CredentialsError::Certificate(CertificateError::WrongAlgorithm))),
            "{algorithm:?}: {own:?}"
        );
    }
}

#[tokio::test]
async fn g01_an_issuing_authority_with_another_key_than_ed25519_is_refused() {
    let authority = Authority::with_issuing_key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (server, _, _) = listen(&authority, Options::default());
    let error = refused_by_broker(&server, &authority.issue(&Leaf::agency("fra/ncb"))).await;
    assert_eq!(error, HandshakeError::Certificate(CertificateError::WrongAlgorithm));
}

/// Revocation lists with which nobody is to be accepted.
fn bad_lists(authority: &Authority) -> Vec<(&'static str, Vec<Vec<u8>>, Expected)> {
    let fresh = List::fresh();
    let stale = List { years: (2020, 2021), ..List::fresh() };
    let future = List { years: (2080, 2090), ..List::fresh() };
    let (root, issuing) = (authority.root_list(&fresh), authority.issuing_list(&fresh));
    let unknown: Expected = |e| matches!(e, CertificateError::RevocationUnknown);
    let run_out: Expected = |e| {
        matches!(e, CertificateError::RevocationListExpired { next_update, now, .. }
            if *next_update == time("2021-01-01T00:00:00Z") && now > next_update)
    };
    let from_future: Expected = |e| {
        matches!(e, CertificateError::RevocationListNotYetValid { this_update, now, .. }
            if *this_update == time("2080-01-01T00:00:00Z") && now < this_update)
    };
    let revoking = authority.root_list(&List::revoking_the_issuing_authority());
    vec![
        ("none", Vec::new(), unknown),
        ("none of the root", vec![issuing.clone()], unknown),
        ("none of the issuing CA", vec![root.clone()], unknown),
        ("a stale one of the issuing CA", vec![root.clone(), authority.issuing_list(&stale)], run_out),
        ("a stale one of the root", vec![authority.root_list(&stale), issuing.clone()], run_out),
        ("one from the future", vec![root.clone(), authority.issuing_list(&future)], from_future),
        ("the issuing CA revoked", vec![revoking, issuing], |e| matches!(e, CertificateError::Revoked)),
        ("one signed by someone else", vec![root, Authority::new().issuing_list(&fresh)], |e| {
            matches!(e, CertificateError::Invalid(_))
        }),
    ]
}

#[tokio::test]
async fn g12_without_a_revocation_list_in_order_nobody_is_accepted_by_either_side() {
    let authority = Authority::new();
    let (server, broker, endpoint) = listen(&authority, Options::default());
    let honest = authority.issue(&Leaf::agency("fra/ncb"));
    let wary = authority.transport(&Leaf::agency("fra/ncb"), Options::default());
    for (what, lists, expected) in bad_lists(&authority) {
        broker.swap_anchors(authority.anchors_with(&lists));
        let error = refused_by_broker(&server, &honest).await;
        let HandshakeError::Certificate(error) = error else { panic!("{what}: {error:?}") };
        assert!(expected(&error), "{what}: {error:?}");

        let mut refusals = server.refusals();
        wary.swap_anchors(authority.anchors_with(&lists));
        let error = soon("a refusal", Client::new(&wary).connect(&endpoint, None)).await.unwrap_err();
        let ConnectError::Certificate { source, .. } = error else { panic!("{what}: {error:?}") };
        assert!(expected(&source), "{what}: {source:?}");
        let told = soon("the broker's record of it", refusals.next()).await.unwrap();
        assert!(matches!(told.error, HandshakeError::Closed(CloseReason::Refused(_))), "{what}: {told:?}");
    }
}

/// Otherwise whoever orders the lists could hide a revocation behind one from before it.
#[test]
fn g12_of_two_revocation_lists_of_one_issuer_the_newer_counts_in_any_order() {
    let authority = Authority::new();
    let chain = authority.issue(&Leaf::agency("fra/ncb").serial(REVOKED_SERIAL)).chain;
    let root = authority.root_list(&List::fresh());
    let before = authority.issuing_list(&List { number: 255, ..List::fresh() });
    let after = authority.issuing_list(&List { number: 256, ..List::revoking(REVOKED_SERIAL) });
    for lists in [[root.clone(), before.clone(), after.clone()], [after, before, root]] {
        let anchors = authority.anchors_with(&lists);
        assert_eq!(anchors.verify(&chain, Usage::Client, now()), Err(CertificateError::Revoked));
        let numbers: Vec<_> = anchors.revocations().iter().map(|list| list.number.clone()).collect();
        assert_eq!(numbers, [vec![1, 0], vec![1]], "the older list is still held");
    }
}

/// A clock that is set back must not bring a certificate or a list back to life.
#[test]
fn g12_a_clock_that_is_set_back_accepts_nobody() {
    let authority = Authority::new();
    let chain = authority.issue(&Leaf::agency("fra/ncb")).chain;
    let anchors = authority.anchors();
    assert!(anchors.verify(&chain, Usage::Client, now()).is_ok());
    // The lists, the CA certificates and the leaf are of 2020 or earlier.
    for clock in ["2019-12-31T23:54:59Z", "1970-01-01T00:00:00Z"] {
        let verified = anchors.verify(&chain, Usage::Client, time(clock));
        assert!(
            matches!(verified, Err(CertificateError::RevocationListNotYetValid { .. })),
            "{clock}: {verified:?}"
        );
    }
    // Within the five minutes that clocks may differ by, the leaf itself is still too young.
    let verified = anchors.verify(&chain, Usage::Client, time("2019-12-31T23:55:01Z"));
    assert!(matches!(verified, Err(CertificateError::NotYetValid { .. })), "{verified:?}");
}

#[tokio::test]
async fn g12_a_peer_revoked_while_connected_is_found_by_a_recheck() {
    let authority = Authority::new();
    let (mut server, broker, endpoint) = listen(&authority, Options::default());
    let leaf = Leaf::agency("fra/ncb").serial(REVOKED_SERIAL);
    let client = Client::new(&authority.transport(&leaf, Options::default()));
    let (_ours, theirs): (Connection, Connection) = crate::meet(&client, &mut server, &endpoint).await;
    assert_eq!(theirs.recheck(), Ok(()));
    let newer = strict(&authority);
    assert_eq!(
        theirs.check_under(&newer),
        Err(CertificateError::Revoked),
        "a list can be tried before it is in force"
    );
    assert_eq!(theirs.recheck(), Ok(()));
    broker.swap_anchors(newer);
    assert_eq!(theirs.recheck(), Err(CertificateError::Revoked));
}

/// The list comes into force after the handshake and before the connection is handed out: nobody would recheck it.
#[tokio::test]
async fn g12_a_peer_revoked_between_handshake_and_acceptance_is_not_handed_out() {
    let authority = Authority::new();
    let (mut server, broker, endpoint) = listen(&authority, Options::default());
    let mut refusals = server.refusals();
    let leaf = Leaf::agency("fra/ncb").serial(REVOKED_SERIAL);
    let revoked = Client::new(&authority.transport(&leaf, Options::default()));
    let ours = soon("the handshake", revoked.connect(&endpoint, None)).await.unwrap();
    // A stream the broker has credited means that its end of the handshake is done too.
    let (mut sender, _receiver) = ours.open(16, 0).await.unwrap();
    sender.send("hello"[..].into()).await.unwrap();
    soon("the broker's end of the handshake", sender.finish_and_wait()).await;
    broker.swap_anchors(strict(&authority));
    let honest = agency(&authority);
    let (_honest, accepted) = crate::meet(&honest, &mut server, &endpoint).await;
    assert_eq!(accepted.recheck(), Ok(()), "the revoked agency was handed out");
    let refused = soon("the refusal", refusals.next()).await.unwrap();
    assert_eq!(refused.error, HandshakeError::Certificate(CertificateError::Revoked));
    let reason = soon("the end of the revoked agency", ours.closed()).await;
    let key_not_active = u64::from(valise_proto::refusal::RefusalCode::KeyNotActive.number());
    assert!(matches!(reason, CloseReason::Peer { code, .. } if code == key_not_active), "{reason:?}");
}

#[tokio::test]
async fn new_credentials_are_presented_from_the_next_handshake_on_and_connections_live_on() {
    let authority = Authority::new();
    let (mut server, broker, endpoint) = listen(&authority, Options::default());
    let client = agency(&authority);
    let (ours, theirs) = crate::meet(&client, &mut server, &endpoint).await;
    let renewed = authority.issue(&Leaf::broker("b2")).credentials();
    broker.swap_credentials(renewed);
    assert_eq!(broker.identity().to_string(), "spiffe://exchange.example/broker/b2");
    let (newer, _theirs) = crate::meet(&client, &mut server, &endpoint).await;
    assert_eq!(newer.peer().to_string(), "spiffe://exchange.example/broker/b2");
    crate::echo(&ours, &theirs).await;
    assert_eq!(ours.peer().to_string(), "spiffe://exchange.example/broker/b1");
}

/// Credentials that no peer would accept must not replace those in force.
#[test]
fn credentials_that_nobody_would_accept_are_refused_when_they_are_read() {
    let authority = Authority::new();
    let issued = authority.issue(&Leaf::agency("fra/ncb"));
    let (chain, key) = (issued.chain_pem(), issued.key.serialize_pem());
    let other_key = authority.issue(&Leaf::agency("fra/ncb")).key.serialize_pem();
    let read = |chain: &str, key: &str| Credentials::from_pem(chain.as_bytes(), key.as_bytes());
    assert_eq!(read(&chain, &key).unwrap().not_after(), time("2090-01-01T00:00:00Z"));
    assert!(matches!(read(&chain, &other_key), Err(CredentialsError::Mismatch(_))));
    assert!(matches!(read("", &key), Err(CredentialsError::Certificate(CertificateError::NoCertificate))));
    assert!(matches!(read(&chain, ""), Err(CredentialsError::Pem { what: "private key", .. })));
    let two = Leaf { names: vec![uri_name("spiffe://exchange.example/broker/b1"); 2], ..Leaf::broker("b1") };
    let two = authority.issue(&two);
    let refused = read(&two.chain_pem(), &two.key.serialize_pem());
    assert!(
        matches!(refused, Err(CredentialsError::Certificate(CertificateError::NotSpiffe(_)))),
        "{refused:?}"
    );
    assert_eq!(
        format!("{:?}", read(&chain, &key).unwrap()),
        "Credentials(spiffe://exchange.example/agency/fra/ncb)"
    );
}

/// The real `Transport` presents such a chain without noticing: its own clock and lists are not its peers'.
#[tokio::test]
async fn g12_an_agency_learns_that_the_broker_refused_its_expired_certificate() {
    let authority = Authority::new();
    let (server, _, endpoint) = listen(&authority, Options::default());
    let mut refusals = server.refusals();
    let expired = authority.issue(&Leaf { years: (2020, 2021), ..Leaf::agency("fra/ncb") });
    let transport = Transport::new(expired.credentials(), authority.anchors(), Options::default());
    let refused = soon("the refusal", async {
        match Client::new(&transport).connect(&endpoint, None).await {
            Ok(connection) => connection.closed().await,
            Err(ConnectError::Handshake { reason, .. }) => reason,
            Err(other) => panic!("{other:?}"),
        }
    })
    .await;
    assert!(matches!(refused, CloseReason::Refused(_)), "{refused:?}");
    let refused = soon("the broker's record of it", refusals.next()).await.unwrap();
    assert!(
        matches!(refused.error, HandshakeError::Certificate(CertificateError::Expired { .. })),
        "{refused:?}"
    );
}
