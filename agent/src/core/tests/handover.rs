//! One connection takes the place of another.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A core with this connection up, told what a shell would tell it by hand.
struct ByHand {
    core: Core,
    now: Timestamp,
}

impl ByHand {
    fn new() -> Self {
        let mut by_hand = Self { core: core_of(Memory::default()), now: stock().exchange.start };
        assert_eq!(by_hand.told(), ["connect"]);
        by_hand.up(1);
        by_hand
    }

    fn up(&mut self, session: u64) {
        self.core.handle_connected(SessionId(session), &broker("b1"), 2, self.now);
    }

    fn down(&mut self, session: u64, ending: Ending) {
        self.core.handle_disconnected(SessionId(session), ending, self.now);
    }

    /// Lets time pass and returns what is asked for.
    fn after(&mut self, pause: Duration) -> Vec<String> {
        self.now = self.now.plus(pause);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        self.core.handle_timeout(self.now);
        let mut told = Vec::new();
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Persist { ticket, .. } => self.core.handle_persisted(&[ticket], self.now),
                Effect::Submit { session, .. } => told.push(format!("submit on {}", session.0)),
                Effect::Acknowledge { session, .. } => told.push(format!("acknowledge on {}", session.0)),
                Effect::Connect => told.push("connect".to_owned()),
                Effect::Retire { session } => told.push(format!("retire {}", session.0)),
                Effect::Close { session, .. } => told.push(format!("close {}", session.0)),
                Effect::Notify(_) | Effect::Review(_) => {}
            }
        }
        told
    }

    fn send(&mut self, n: usize) {
        self.core.handle_send(Box::new(stock().outgoing[n].clone())).unwrap();
    }

    fn accept(&mut self, session: u64, n: usize) {
        let envelope = &stock().outgoing[n].envelope;
        let answer = answer_to(envelope, None);
        self.core.handle_answer(SessionId(session), envelope.header().notice_id, answer, self.now);
    }

    fn deliver(&mut self, session: u64, n: usize) {
        let (received, reply) = stock().incoming[n].clone();
        let precedence = received.envelope.header().precedence;
        let place = Place { session: SessionId(session), precedence, cursor: Cursor::new(7) };
        let arrival = Arrival::Notice {
            received: Box::new(received),
            reply: Some(Box::new(reply)),
            purges: Vec::new(),
        };
        self.core.handle_arrival(place, arrival, self.now);
    }
}

#[test]
fn g04_g05_a_new_connection_takes_over_and_the_old_one_gives_the_answers_it_owes() {
    let mut node = ByHand::new();
    node.send(0);
    assert_eq!(node.told(), ["submit on 1"]);
    node.core.handle_renewed(node.now);
    assert_eq!(node.told(), ["connect"], "the old connection must stay meanwhile");
    node.send(1);
    assert_eq!(node.told(), ["submit on 1"], "until the new one is up, the old one serves");
    node.up(2);
    node.send(2);
    assert_eq!(node.told(), ["submit on 2"]);
    node.accept(1, 0);
    assert_eq!(node.after(SECOND), [""; 0], "it owes an answer still");
    node.accept(1, 1);
    assert_eq!(node.told(), ["retire 1"]);
    assert_eq!(node.told(), [""; 0], "once is enough");
    node.down(1, Ending::Passing);
    node.accept(2, 2);
    assert_eq!(node.after(SECOND), [""; 0]);
    assert!(node.core.is_idle() && node.core.outbox_len() == 0);
}

#[test]
fn g04_what_the_old_connection_never_answered_is_submitted_again_on_the_new_one() {
    let mut node = ByHand::new();
    node.send(0);
    node.told();
    node.core.handle_renewed(node.now);
    node.told();
    node.up(2);
    assert_eq!(node.after(SECOND * 9), [""; 0]);
    assert_eq!(node.after(SECOND), ["retire 1"]);
    node.down(1, Ending::Passing);
    assert_eq!(node.told(), ["submit on 2"]);
    node.accept(2, 0);
    assert_eq!(node.core.outbox_len(), 0);
}

#[test]
fn g05_what_both_connections_deliver_is_taken_in_once_and_acknowledged_on_each() {
    let mut node = ByHand::new();
    node.core.handle_renewed(node.now);
    node.told();
    node.up(2);
    node.deliver(1, 0);
    node.deliver(2, 0);
    let told = node.told();
    let acknowledged: Vec<_> = told.iter().filter(|effect| effect.starts_with("acknowledge")).collect();
    assert_eq!(acknowledged, ["acknowledge on 2", "acknowledge on 1"]);
    assert_eq!(told.iter().filter(|effect| effect.starts_with("submit")).count(), 1, "{told:?}");
}

#[test]
fn g04_a_successor_that_does_not_come_about_costs_nothing_and_is_tried_again() {
    let mut node = ByHand::new();
    node.core.handle_renewed(node.now);
    node.told();
    node.down(2, Ending::Passing);
    node.send(0);
    assert_eq!(node.told(), ["submit on 1"]);
    node.accept(1, 0);
    assert_eq!(node.after(SECOND), ["connect"]);
    // The old one ends while the new one is dialled: no second call is made, and the new one is the only one.
    node.send(1);
    node.told();
    node.down(1, Ending::Passing);
    assert_eq!(node.after(SECOND), [""; 0]);
    node.up(3);
    assert_eq!(node.told(), ["submit on 3"]);
    assert_eq!(node.after(SECOND * 30), [""; 0], "there is nothing to retire");
}

#[test]
fn g10_one_who_is_excluded_asks_ever_more_rarely_unless_something_changed() {
    let mut node = ByHand::new();
    for call in 1..12 {
        node.down(call, Ending::Excluded);
        let shortest = SECOND * (5 << (call - 1).min(6)).min(300);
        assert_eq!(node.after(shortest - SECOND), [""; 0], "call {call} is too soon");
        assert_eq!(node.after(shortest + SECOND * 2), ["connect"], "call {call} does not come");
    }
    node.down(12, Ending::Excluded);
    assert_eq!(node.told(), [""; 0]);
    node.core.handle_renewed(node.now);
    assert_eq!(node.told(), ["connect"], "its standing changed, so it may try at once");
}
