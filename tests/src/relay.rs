//! A UDP relay on loopback that loses, delays, duplicates, reorders, slows down or cuts off the datagrams of one agency, and
//! gives it another address in the middle of a conversation.
//!
//! It stands between an agency and the broker, so faults hit real QUIC traffic. Every choice comes from a seed, so that
//! a run can be repeated. It forwards only between loopback sockets it opened itself.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Largest UDP payload, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_527;
/// Datagrams held back by a delay; beyond it they are lost, as in any queue.
const DELAYED_MAX: usize = 4096;
/// How much longer than the others a datagram takes that is overtaken.
const OVERTAKEN: Duration = Duration::from_millis(15);
/// Longest wait for a turn on a narrow line; what would wait longer is lost, as in the queue of a router.
pub const QUEUE_MAX: Duration = Duration::from_millis(100);

/// What befalls each datagram of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing passes.
    pub cut: bool,
    /// Datagrams lost, in thousandths.
    pub loss_permille: u32,
    /// Datagrams sent twice, in thousandths.
    pub duplicate_permille: u32,
    /// Datagrams that those behind them overtake, in thousandths.
    pub reorder_permille: u32,
    /// How long each datagram is held back.
    pub delay: Duration,
    /// How many bytes pass in a second, as on a narrow line: datagrams queue for their turn, at most [`QUEUE_MAX`].
    /// Without it the line is as wide as the machine is fast.
    pub bytes_per_second: Option<u32>,
}

impl Faults {
    /// No fault.
    pub const NONE: Self = Self {
        cut: false,
        loss_permille: 0,
        duplicate_permille: 0,
        reorder_permille: 0,
        delay: Duration::from_millis(0),
        bytes_per_second: None,
    };
    /// Nothing passes.
    pub const CUT: Self = Self { cut: true, ..Self::NONE };
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the agency to the broker.
    ToBroker,
    /// From the broker to the agency.
    ToAgency,
}

/// One direction: its faults, and when its narrow line is free again.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    faults: Faults,
    free_at: Option<Instant>,
}

impl Line {
    /// How long a datagram that comes now takes to its other end, queueing included; `None` where the queue is full.
    fn transit(&mut self, len: usize, now: Instant) -> Option<Duration> {
        let Some(bytes_per_second) = self.faults.bytes_per_second else { return Some(self.faults.delay) };
        let free_at = self.free_at.filter(|free_at| *free_at > now).unwrap_or(now);
        if free_at - now > QUEUE_MAX {
            return None;
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let passed_at = free_at + Duration::from_secs(1) * len / bytes_per_second.max(1);
        self.free_at = Some(passed_at);
        Some(passed_at - now + self.faults.delay)
    }
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    to_broker: Line,
    to_agency: Line,
    random: u64,
    forwarded: u64,
    lost: u64,
    /// How often the agency got another address.
    moves: u64,
}

/// What befalls one datagram.
struct Fate {
    copies: u32,
    transit: Duration,
    overtaken: bool,
}

impl State {
    fn line(&mut self, direction: Direction) -> &mut Line {
        match direction {
            Direction::ToBroker => &mut self.to_broker,
            Direction::ToAgency => &mut self.to_agency,
        }
    }

    /// How often a datagram is to be sent, how long to hold it back, and whether others go before it.
    fn fate(&mut self, direction: Direction, len: usize, now: Instant) -> Fate {
        let faults = self.line(direction).faults;
        let arrives = !faults.cut && self.draw() >= faults.loss_permille;
        let transit = if arrives { self.line(direction).transit(len, now) } else { None };
        let Some(transit) = transit else {
            self.lost += 1;
            return Fate { copies: 0, transit: Duration::ZERO, overtaken: false };
        };
        self.forwarded += 1;
        let copies = if self.draw() < faults.duplicate_permille { 2 } else { 1 };
        // Without reordering no number is drawn, so that the seeds of before lose the same datagrams.
        let overtaken = faults.reorder_permille > 0 && self.draw() < faults.reorder_permille;
        Fate { copies, transit, overtaken }
    }

    /// A number below 1000, from splitmix64.
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((z ^ (z >> 31)) % 1000).unwrap_or_default()
    }
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    // Nothing panics while it holds the lock.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running relay; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    state: Shared,
    local_addr: SocketAddr,
    _stop: DropGuard,
}

impl Relay {
    /// Starts a relay to `target`, without faults. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As the operating system says, where no socket can be had.
    pub async fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let local_addr = front.local_addr()?;
        let state = State {
            target,
            to_broker: Line::default(),
            to_agency: Line::default(),
            random: seed,
            forwarded: 0,
            lost: 0,
            moves: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        let (front, shared, stopped) = (Arc::new(front), Arc::clone(&state), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                ended = forward(front, shared, &stopped) => tracing::warn!(?ended, "a relay ended"),
            }
        });
        Ok(Self { state, local_addr, _stop: stop.drop_guard() })
    }

    /// Where the agency is to connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Sends what comes from now on to another address: the broker restarted elsewhere.
    pub fn set_target(&self, target: SocketAddr) {
        lock(&self.state).target = target;
    }

    /// Sets the faults of one direction.
    pub fn set_faults(&self, direction: Direction, faults: Faults) {
        lock(&self.state).line(direction).faults = faults;
    }

    /// Gives the agency another address towards the broker, from its next datagram on, as a router does that has restarted:
    /// what the broker sends to the former one is lost.
    pub fn change_address(&self) {
        lock(&self.state).moves += 1;
    }

    /// Datagrams passed on and datagrams lost so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.forwarded, state.lost)
    }
}

/// One way through the relay: who is sent to, and what is held back on the way.
#[derive(Clone)]
struct Lane {
    state: Shared,
    direction: Direction,
    socket: Arc<UdpSocket>,
    /// The agency, for what goes to it; the broker's address may change.
    agency: SocketAddr,
    delayed: mpsc::Sender<(Vec<u8>, Instant)>,
    overtaken: mpsc::Sender<(Vec<u8>, Instant)>,
}

impl Lane {
    fn open(
        state: &Shared,
        direction: Direction,
        socket: &Arc<UdpSocket>,
        agency: SocketAddr,
        stop: &CancellationToken,
    ) -> Self {
        let (delayed, to_delay) = mpsc::channel(DELAYED_MAX);
        let (overtaken, behind) = mpsc::channel(DELAYED_MAX);
        let (state, socket) = (Arc::clone(state), Arc::clone(socket));
        let lane = Self { state, direction, socket, agency, delayed, overtaken };
        tokio::spawn(hold_back(lane.clone(), to_delay, stop.clone()));
        tokio::spawn(hold_back(lane.clone(), behind, stop.clone()));
        lane
    }

    async fn pass(&self, datagram: &[u8]) {
        let now = Instant::now();
        let Fate { copies, transit, overtaken } = lock(&self.state).fate(self.direction, datagram.len(), now);
        for _ in 0..copies {
            // A full queue loses what does not fit.
            if overtaken {
                let _ = self.overtaken.try_send((datagram.to_vec(), now + transit + OVERTAKEN));
            } else if transit.is_zero() {
                self.send(datagram).await;
            } else {
                let _ = self.delayed.try_send((datagram.to_vec(), now + transit));
            }
        }
    }

    async fn send(&self, datagram: &[u8]) {
        let to = match self.direction {
            Direction::ToBroker => lock(&self.state).target,
            Direction::ToAgency => self.agency,
        };
        // A datagram that cannot be sent is a datagram lost.
        let _ = self.socket.send_to(datagram, to).await;
    }
}

/// Sends each datagram when it is due; they keep their order.
async fn hold_back(lane: Lane, mut queue: mpsc::Receiver<(Vec<u8>, Instant)>, stop: CancellationToken) {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = queue.recv() => next,
        };
        let Some((datagram, due)) = next else { return };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due) => lane.send(&datagram).await,
        }
    }
}

/// A socket towards the broker, for one of the agency's; what serves it ends when it is dropped.
struct Upstream {
    lane: Lane,
    /// How often the agency had moved when it was opened.
    moves: u64,
    _stop: DropGuard,
}

impl Upstream {
    async fn open(
        front: &Arc<UdpSocket>,
        state: &Shared,
        (agency, moves): (SocketAddr, u64),
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let stop = stop.child_token();
        let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let home = Lane::open(state, Direction::ToAgency, front, agency, &stop);
        tokio::spawn(answer(Arc::clone(&back), home, stop.clone()));
        let lane = Lane::open(state, Direction::ToBroker, &back, agency, &stop);
        Ok(Self { lane, moves, _stop: stop.drop_guard() })
    }
}

/// Takes what comes from the agency; each of its sockets gets one of its own towards the broker, and another whenever the
/// agency has moved.
async fn forward(front: Arc<UdpSocket>, state: Shared, stop: &CancellationToken) -> io::Result<()> {
    let mut upstreams: HashMap<SocketAddr, Upstream> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (len, agency) = front.recv_from(&mut buffer).await?;
        let moves = lock(&state).moves;
        if upstreams.get(&agency).is_none_or(|upstream| upstream.moves != moves) {
            upstreams.insert(agency, Upstream::open(&front, &state, (agency, moves), stop).await?);
        }
        if let Some(upstream) = upstreams.get(&agency) {
            upstream.lane.pass(buffer.get(..len).unwrap_or_default()).await;
        }
    }
}

/// Takes what comes back from the broker.
async fn answer(back: Arc<UdpSocket>, home: Lane, stop: CancellationToken) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = back.recv(&mut buffer) => received,
        };
        match received {
            Ok(len) => home.pass(buffer.get(..len).unwrap_or_default()).await,
            // While the broker is down the kernel says so here; that is to be expected.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn socket() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
    }

    async fn hears(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 64];
        let received = tokio::time::timeout(Duration::from_millis(300), socket.recv_from(&mut buffer)).await;
        received.ok().map(|received| received.map(|(len, from)| (buffer[..len].to_vec(), from)).unwrap())
    }

    #[tokio::test]
    async fn datagrams_pass_both_ways_until_the_relay_is_cut() {
        let (agency, broker) = (socket().await, socket().await);
        let relay = Relay::start(broker.local_addr().unwrap(), 1).await.unwrap();
        agency.send_to(b"there", relay.local_addr()).await.unwrap();
        let (there, from) = hears(&broker).await.expect("nothing came to the broker");
        assert_eq!(there, b"there");
        broker.send_to(b"back", from).await.unwrap();
        assert_eq!(hears(&agency).await.expect("nothing came back").0, b"back");

        relay.set_faults(Direction::ToBroker, Faults::CUT);
        agency.send_to(b"lost", relay.local_addr()).await.unwrap();
        assert!(hears(&broker).await.is_none(), "a cut relay let something pass");
        broker.send_to(b"still", from).await.unwrap();
        assert_eq!(hears(&agency).await.expect("the other way was not cut").0, b"still");
    }

    #[tokio::test]
    async fn a_relay_follows_the_broker_to_another_address() {
        let (agency, old, new) = (socket().await, socket().await, socket().await);
        let relay = Relay::start(old.local_addr().unwrap(), 1).await.unwrap();
        relay.set_target(new.local_addr().unwrap());
        agency.send_to(b"x", relay.local_addr()).await.unwrap();
        assert!(hears(&new).await.is_some(), "nothing came to the new address");
    }

    #[tokio::test]
    async fn losses_and_duplicates_come_as_often_as_asked() {
        let (agency, broker) = (socket().await, socket().await);
        let relay = Relay::start(broker.local_addr().unwrap(), 7).await.unwrap();
        relay.set_faults(Direction::ToBroker, Faults { loss_permille: 500, ..Faults::NONE });
        for _ in 0..200 {
            agency.send_to(b"x", relay.local_addr()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut came = 0;
        while hears(&broker).await.is_some() {
            came += 1;
        }
        assert!((40..160).contains(&came), "{came} of 200 passed a relay that loses half");
    }

    #[tokio::test]
    async fn an_agency_that_moves_has_another_address_and_is_no_more_heard_at_the_former() {
        let (agency, broker) = (socket().await, socket().await);
        let relay = Relay::start(broker.local_addr().unwrap(), 1).await.unwrap();
        agency.send_to(b"before", relay.local_addr()).await.unwrap();
        let (_, former) = hears(&broker).await.expect("nothing came to the broker");
        relay.change_address();
        agency.send_to(b"after", relay.local_addr()).await.unwrap();
        let (_, now) = hears(&broker).await.expect("nothing came from the new address");
        assert_ne!(former, now);
        broker.send_to(b"lost", former).await.unwrap();
        assert!(hears(&agency).await.is_none(), "the former address still leads to the agency");
        broker.send_to(b"back", now).await.unwrap();
        assert_eq!(hears(&agency).await.expect("nothing came back").0, b"back");
    }

    #[tokio::test]
    async fn some_datagrams_are_overtaken_and_none_is_lost() {
        let (agency, broker) = (socket().await, socket().await);
        let relay = Relay::start(broker.local_addr().unwrap(), 3).await.unwrap();
        relay.set_faults(Direction::ToBroker, Faults { reorder_permille: 300, ..Faults::NONE });
        for number in 0..50 {
            agency.send_to(&[number], relay.local_addr()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut came = Vec::new();
        while let Some((datagram, _)) = hears(&broker).await {
            came.extend(datagram);
        }
        assert!(!came.is_sorted(), "they came as they were sent");
        came.sort_unstable();
        assert_eq!(came, (0..50).collect::<Vec<_>>());
    }

    /// Sends `count` datagrams of `len` bytes at once; returns how many come, and how long after the first was sent
    /// the last of them came.
    async fn burst(relay: &Relay, broker: &UdpSocket, count: usize, len: usize) -> (usize, Duration) {
        let agency = socket().await;
        let begun = Instant::now();
        for _ in 0..count {
            agency.send_to(&vec![0; len], relay.local_addr()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (mut came, mut last) = (0, Duration::ZERO);
        while hears(broker).await.is_some() {
            (came, last) = (came + 1, begun.elapsed());
        }
        (came, last)
    }

    #[tokio::test]
    async fn a_delay_holds_each_datagram_back_and_not_those_behind_it_longer() {
        let broker = socket().await;
        let relay = Relay::start(broker.local_addr().unwrap(), 1).await.unwrap();
        let delay = Duration::from_millis(100);
        relay.set_faults(Direction::ToBroker, Faults { delay, ..Faults::NONE });
        let (came, last) = burst(&relay, &broker, 20, 10).await;
        assert_eq!(came, 20);
        assert!(last >= delay, "the last came after {last:?}");
        assert!(last < delay * 10, "delays add up: the last came after {last:?}");
    }

    #[tokio::test]
    async fn a_narrow_line_passes_what_it_can_and_loses_what_would_queue_too_long() {
        let broker = socket().await;
        let relay = Relay::start(broker.local_addr().unwrap(), 1).await.unwrap();
        // 5 ms for each datagram, so the queue holds about 20 of them.
        let narrow = Faults { bytes_per_second: Some(100_000), ..Faults::NONE };
        relay.set_faults(Direction::ToBroker, narrow);
        let (came, last) = burst(&relay, &broker, 200, 500).await;
        assert!((20..200).contains(&came), "{came} of 200 passed");
        let least = Duration::from_millis(5) * u32::try_from(came).unwrap();
        assert!(last >= least, "{came} datagrams that take 5 ms each came within {last:?}");
        assert_eq!(relay.counts().1, 200 - u64::try_from(came).unwrap(), "what was lost was not counted");
    }
}
