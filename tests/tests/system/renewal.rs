//! Certificates and keys change hands while notices flow: nobody at an agency does anything, no notice is lost or shown
//! twice, and no connection is dropped.
//!
//! Everybody is a process; the administrator and the operators type commands, and files are carried as they carry them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use valise_proto::id::{NoticeId, Timestamp};
use valise_tests::wait::until;
use valise_tests::{Agency, DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Pause between two notices of the load.
const PACE: Duration = Duration::from_millis(30);
/// How long a notice may take to be accepted while certificates change: less than it takes to notice that a connection
/// was lost.
const STALL_MAX: Duration = Duration::from_secs(4);
/// Notices that pass after the last change, over what took the place of the former connections.
const AFTERWARDS: usize = 50;
/// Most notices of one test: what one look at an inbox shows.
const LOAD_MAX: usize = 1000;

/// What was sent while something else went on.
#[derive(Default)]
struct Load {
    sent: RefCell<BTreeSet<NoticeId>>,
    done: Cell<bool>,
}

impl Load {
    /// Sends notices from `from` to `fra/ncb`, each once the one before is accepted, while `story` goes on.
    async fn during(&self, from: Agency<'_>, story: impl Future<Output = Outcome>) -> Outcome {
        let sending = async {
            let mut pace = tokio::time::interval(PACE);
            while !self.done.get() {
                pace.tick().await;
                assert!(self.count() < LOAD_MAX, "the story takes too long");
                let sent = from.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
                self.sent.borrow_mut().insert(sent.id());
                let accepted = async || {
                    let status = from.status_of(&sent).await.map_err(|error| error.to_string())?;
                    if status.state == "ACCEPTED" { Ok(()) } else { Err(status.state) }
                };
                until("the acceptance of a notice while certificates change", STALL_MAX, accepted).await?;
            }
            Outcome::Ok(())
        };
        let story = async {
            let told = story.await;
            self.done.set(true);
            told
        };
        let (sent, told) = tokio::join!(sending, story);
        told.and(sent)
    }

    fn count(&self) -> usize {
        self.sent.borrow().len()
    }

    /// Waits until so many more have been accepted.
    async fn goes_on(&self) -> Outcome {
        let wanted = self.count() + AFTERWARDS;
        until(
            "more notices",
            DEADLINE,
            async || {
                if self.count() >= wanted { Ok(()) } else { Err(self.count()) }
            },
        )
        .await?;
        Ok(())
    }

    /// Every notice is in the inbox once, and nothing else.
    async fn has_arrived_at(&self, recipient: Agency<'_>) -> Outcome {
        let sent = self.sent.borrow().clone();
        for id in &sent {
            recipient.expect_notice(*id).await?;
        }
        let inbox = recipient.inbox().await?;
        let shown: BTreeSet<NoticeId> = inbox.iter().map(|entry| entry.notice_id).collect();
        assert_eq!(shown, sent);
        assert_eq!(inbox.len(), sent.len(), "a notice is shown twice");
        Ok(())
    }
}

/// Two agencies whose certificates are due at once.
async fn due() -> Outcome<Network> {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb");
    let net =
        net.agencies_as_processes().broker_as_process().first_certificates_for(Duration::from_secs(140));
    Ok(net.start().await?)
}

/// Two agencies with certificates for the usual time.
async fn fresh() -> Outcome<Network> {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb");
    Ok(net.agencies_as_processes().broker_as_process().start().await?)
}

/// The broker keeps so many renewal requests.
async fn spooled(net: &Network, count: usize) -> Outcome {
    until(&format!("{count} renewal requests in the spool"), DEADLINE, async || {
        let waiting = net.broker().status().await.map_err(|error| error.to_string())?.spool.waiting;
        if waiting == count { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await?;
    Ok(())
}

async fn certificate_ends(agency: Agency<'_>) -> Outcome<Timestamp> {
    Ok(agency.client()?.status().await?.certificate.not_after)
}

/// Waits until the agency's certificate ends later than `before`, over a connection that began after `since`.
async fn is_renewed(agency: Agency<'_>, before: Timestamp, since: Option<Timestamp>) -> Outcome {
    let client = agency.client()?;
    until("a newer certificate on a newer connection", DEADLINE, async || {
        let status = client.status().await.map_err(|error| error.to_string())?;
        let (end, connection) = (status.certificate.not_after, status.connection);
        if end > before && connection.connected && connection.since > since {
            Ok(())
        } else {
            Err(format!("it ends at {end}: {connection:?}"))
        }
    })
    .await?;
    Ok(())
}

async fn connected_since(agency: Agency<'_>) -> Outcome<Option<Timestamp>> {
    Ok(agency.client()?.status().await?.connection.since)
}

/// What a node logs when it has no connection any more.
fn times_disconnected(agency: Agency<'_>) -> Outcome<usize> {
    Ok(agency.log()?.lines().filter(|line| line.contains("not connected")).count())
}

/// The names of the keys that are in use, by kind.
async fn keys_in_use(agency: Agency<'_>) -> Outcome<BTreeSet<(String, String)>> {
    let keys = agency.run(&["keys", "--json"]).await?.json()?;
    let word = |key: &serde_json::Value, field: &str| key[field].as_str().unwrap_or_default().to_owned();
    let all = keys.as_array().cloned().unwrap_or_default();
    let current = all.iter().filter(|key| word(key, "state") == "CURRENT");
    Ok(current.map(|key| (word(key, "kind"), word(key, "key_id"))).collect())
}

/// Waits until none of the `former` keys is in use, and three others are.
async fn keys_are_exchanged(agency: Agency<'_>, former: &BTreeSet<(String, String)>) -> Outcome {
    until("three new keys in use", DEADLINE, async || {
        let now = keys_in_use(agency).await.map_err(|error| error.to_string())?;
        if now.len() == 3 && now.is_disjoint(former) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_under_load_loses_no_notice_and_drops_no_connection() -> Outcome {
    let net = due().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let load = Load::default();
    load.during(ken, async {
        let before = [(ken, certificate_ends(ken).await?), (fra, certificate_ends(fra).await?)];
        let since = [connected_since(ken).await?, connected_since(fra).await?];
        // Nobody told them to.
        spooled(&net, 2).await?;
        let told = net.carry_renewals().await?;
        for ((agency, end), since) in before.into_iter().zip(since) {
            is_renewed(agency, end, since)
                .await
                .map_err(|error| format!("{error}; the authority: {told}"))?;
        }
        load.goes_on().await
    })
    .await?;
    load.has_arrived_at(fra).await?;
    assert_eq!((times_disconnected(ken)?, times_disconnected(fra)?), (0, 0), "a connection was dropped");
    // What was granted no longer waits, and the second run finds nothing.
    spooled(&net, 0).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_under_load_and_no_notice_is_lost() -> Outcome {
    let net = fresh().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let load = Load::default();
    load.during(ken, async {
        for agency in [ken, fra] {
            let former = keys_in_use(agency).await?;
            assert_eq!(former.len(), 3, "{former:?}");
            agency.run(&["keys", "rotate", "--json"]).await?.json()?;
            spooled(&net, 1).await?;
            net.carry_renewals().await?;
            keys_are_exchanged(agency, &former).await?;
        }
        load.goes_on().await
    })
    .await?;
    load.has_arrived_at(fra).await?;
    let first: Vec<NoticeId> = load.sent.borrow().iter().copied().take(5).collect();
    for id in first {
        assert_eq!(fra.read(id, "Officer A. Example").await?.notice.portions.len(), 1);
    }
    assert_eq!((times_disconnected(ken)?, times_disconnected(fra)?), (0, 0), "a connection was dropped");
    net.stop().await;
    Ok(())
}

/// What is under way while keys change is signed with one that is former when it arrives, and sealed to one, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_with_and_sealed_to_former_keys_is_still_opened() -> Outcome {
    let net = fresh().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let (kens, fras) = (keys_in_use(ken).await?, keys_in_use(fra).await?);
    fra.run(&["keys", "rotate", "--json"]).await?.json()?;
    ken.run(&["keys", "rotate", "--json"]).await?.json()?;
    spooled(&net, 2).await?;
    fra.stop().await?;
    let sent = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    ken.expect_accepted(&sent).await?;
    net.carry_renewals().await?;
    keys_are_exchanged(ken, &kens).await?;
    fra.start().await?;
    fra.expect_notice(&sent).await?;
    keys_are_exchanged(fra, &fras).await?;
    assert_eq!(fra.read(&sent, "Officer A. Example").await?.notice.portions.len(), 1);
    ken.expect_receipt(&sent, "fra/ncb", "READ").await?;
    // And the other way round, with the keys of now.
    let answer = fra.send(notices::deportation("FRA", "KEN").of("KEN")).await?;
    ken.expect_notice(&answer).await?;
    net.stop().await;
    Ok(())
}

/// An agency without a line to the broker renews all the same.
#[tokio::test(flavor = "multi_thread")]
async fn files_carried_by_hand_renew_as_well() -> Outcome {
    let net = due().await?;
    let ken = net.agency("ken/ncb");
    let before = certificate_ends(ken).await?;
    ken.partition()?;
    let (request, published) = (net.folder().join("ken.renewal.pem"), net.folder().join("carried-back"));
    let (request, published) = (request.display().to_string(), published.display().to_string());
    ken.run(&["renew", "--out", &request, "--json"]).await?.json()?;
    net.ca(&["renew", &request, "--out", &published, "--json"]).await?.json()?;
    ken.run(&["install", &published, "--json"]).await?.json()?;
    assert!(certificate_ends(ken).await? > before, "the certificate is the former one");
    net.publish().await?;
    ken.reconnect()?;
    ken.expect_connected().await?;
    net.stop().await;
    Ok(())
}
