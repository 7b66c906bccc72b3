//! Rates: how much one agency may submit, and how often it may open a stream.
//!
//! Claimed, against an agency that floods (G10): what it makes this broker do in a second is bounded, whatever it sends
//! and over however many connections. It holds because every envelope is paid for before it is decoded or verified, from
//! buckets that all connections of the agency share; because refusals are paid for too, and whoever has used those up is
//! not read from until there are more, so that QUIC's flow control holds it back; and because the last part of every
//! bucket is kept for urgent notices, so that an agency's own ROUTINE traffic does not cost it its FLASH (G8).
//!
//! The clock that is handed in should be one that nobody sets. One that goes back all the same gives nothing and takes
//! nothing: filling goes on from where it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::refusal::{Refusal, RefusalCode};

/// The part of a bucket that is kept for IMMEDIATE and FLASH: one of so many.
const URGENT_SHARE: u64 = 4;
/// Levels are kept in thousandths, so that a bucket fills by whole numbers in each millisecond.
const THOUSANDTHS: u64 = 1000;

/// So much in a second on average, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What comes back in each second; at least 1.
    pub per_second: u64,
    /// The most that can be saved up; at least 1.
    pub burst: u64,
}

/// What every agency is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Envelopes submitted; as many may be refused.
    pub envelopes: Rate,
    /// Bytes of them.
    pub bytes: Rate,
    /// Streams opened.
    pub streams: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            envelopes: Rate { per_second: 1000, burst: 10_000 },
            bytes: Rate { per_second: 16 * 1024 * 1024, burst: 128 * 1024 * 1024 },
            streams: Rate { per_second: 50, burst: 500 },
        }
    }
}

/// What is to be done with an envelope that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Verify it.
    Take,
    /// Refuse it unread.
    Refuse(Refusal),
    /// Read nothing more from this stream for so long, then ask again.
    Hold(Duration),
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    thousandths: u64,
    at: Timestamp,
}

impl Bucket {
    fn full(rate: Rate, now: Timestamp) -> Self {
        Self { rate, thousandths: rate.burst.saturating_mul(THOUSANDTHS), at: now }
    }

    fn fill(&mut self, now: Timestamp) {
        let millis = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let more = millis.saturating_mul(self.rate.per_second);
        let most = self.rate.burst.saturating_mul(THOUSANDTHS);
        self.thousandths = self.thousandths.saturating_add(more).min(most);
        self.at = now;
    }

    /// How long until `amount` is there and `kept` would be left; zero where it is now. What a full bucket could not give
    /// is given by a full one.
    fn wait(&self, amount: u64, kept: u64) -> Duration {
        let needed = amount.saturating_add(kept).min(self.rate.burst).saturating_mul(THOUSANDTHS);
        let missing = needed.saturating_sub(self.thousandths);
        Duration::from_millis(missing.div_ceil(self.rate.per_second.max(1)))
    }

    fn take(&mut self, amount: u64) {
        self.thousandths = self.thousandths.saturating_sub(amount.saturating_mul(THOUSANDTHS));
    }

    fn kept_from(&self, precedence: Precedence) -> u64 {
        match precedence {
            Precedence::Routine | Precedence::Priority => self.rate.burst / URGENT_SHARE,
            Precedence::Immediate | Precedence::Flash => 0,
        }
    }
}

#[derive(Debug)]
struct Account {
    envelopes: Bucket,
    bytes: Bucket,
    refusals: Bucket,
    streams: Bucket,
}

impl Account {
    fn new(rates: &Rates, now: Timestamp) -> Self {
        Self {
            envelopes: Bucket::full(rates.envelopes, now),
            bytes: Bucket::full(rates.bytes, now),
            refusals: Bucket::full(rates.envelopes, now),
            streams: Bucket::full(rates.streams, now),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Verdict {
        let wait = self.refusals.wait(1, 0);
        if !wait.is_zero() {
            return Verdict::Hold(wait);
        }
        self.refusals.take(1);
        Verdict::Refuse(refusal)
    }
}

/// What each agency has left. There are never more accounts than agencies that were given certificates.
#[derive(Debug)]
pub struct Accounts {
    rates: Rates,
    accounts: BTreeMap<AgencyId, Account>,
}

impl Accounts {
    /// Nobody has submitted anything yet.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, accounts: BTreeMap::new() }
    }

    /// An envelope of `len` bytes came.
    pub fn handle_envelope(
        &mut self,
        agency: &AgencyId,
        precedence: Precedence,
        len: usize,
        now: Timestamp,
    ) -> Verdict {
        let account = self.account(agency, now);
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        account.envelopes.fill(now);
        account.bytes.fill(now);
        account.refusals.fill(now);
        let count_wait = account.envelopes.wait(1, account.envelopes.kept_from(precedence));
        let bytes_wait = account.bytes.wait(len, account.bytes.kept_from(precedence));
        let wait = count_wait.max(bytes_wait);
        if wait.is_zero() {
            account.envelopes.take(1);
            account.bytes.take(len);
            return Verdict::Take;
        }
        let Rate { per_second, burst } =
            if count_wait >= bytes_wait { account.envelopes.rate } else { account.bytes.rate };
        let what = if count_wait >= bytes_wait { "envelopes" } else { "bytes of envelopes" };
        let detail = format!(
            "an agency may submit {per_second} {what} a second and {burst} at once, a quarter of which is kept for IMMEDIATE and FLASH"
        );
        account.refuse(Refusal::new(RefusalCode::Quota, detail).retry_after(wait))
    }

    /// An envelope came that is refused whatever the agency has left.
    pub fn handle_refused(&mut self, agency: &AgencyId, refusal: Refusal, now: Timestamp) -> Verdict {
        let account = self.account(agency, now);
        account.refusals.fill(now);
        account.refuse(refusal)
    }

    /// A stream is about to be taken: how long that has to wait. Where it need not, it is paid for.
    pub fn handle_stream(&mut self, agency: &AgencyId, now: Timestamp) -> Duration {
        let account = self.account(agency, now);
        account.streams.fill(now);
        let wait = account.streams.wait(1, 0);
        if wait.is_zero() {
            account.streams.take(1);
        }
        wait
    }

    fn account(&mut self, agency: &AgencyId, now: Timestamp) -> &mut Account {
        let rates = self.rates;
        self.accounts.entry(agency.clone()).or_insert_with(|| Account::new(&rates, now))
    }
}
