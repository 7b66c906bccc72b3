//! Any order of steps, crashes among them.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Turn {
    Tick,
    Write,
    Deliver(usize),
    Answer(bool),
    Disconnect,
    Crash,
    Send,
    Renew,
    UseLeaving(usize),
    Leave,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        3 => Just(Turn::Tick),
        4 => Just(Turn::Write),
        4 => (0..5_usize).prop_map(Turn::Deliver),
        4 => any::<bool>().prop_map(Turn::Answer),
        1 => Just(Turn::Disconnect),
        1 => Just(Turn::Crash),
        2 => Just(Turn::Send),
        2 => Just(Turn::Renew),
        3 => (0..10_usize).prop_map(Turn::UseLeaving),
        1 => Just(Turn::Leave),
    ];
    prop::collection::vec(turn, 0..60)
}

proptest! {
    #[test]
    fn g04_g05_whatever_crashes_no_notice_is_lost_or_shown_twice(turns in turns()) {
        let mut node = Node::new(5);
        let mut promised = BTreeSet::new();
        let mut sent = 0;
        for turn in turns {
            match turn {
                Turn::Tick => node.tick(),
                Turn::Write => node.write(),
                Turn::Deliver(n) => node.deliver(n),
                Turn::Answer(refuse) => node.answer(refuse),
                Turn::Disconnect => node.disconnect(),
                Turn::Crash => node.crash(),
                Turn::Renew => node.core.handle_renewed(node.now),
                Turn::UseLeaving(choice) => node.use_leaving(choice),
                Turn::Leave => node.leave(),
                Turn::Send if sent < 4 => {
                    node.send(sent);
                    sent += 1;
                }
                Turn::Send => {}
            }
            for event in node.events.drain(..) {
                if let Event::Queued(notice_id) = event {
                    promised.insert(notice_id);
                }
            }
        }
        node.settle();
        prop_assert!(node.inbox.is_empty(), "an item of the inbox was never acknowledged");
        prop_assert_eq!(node.disk.shown.len(), 5, "a notice was lost");
        prop_assert!(node.disk.shown.values().all(|times| *times == 1), "a notice was shown twice");
        prop_assert_eq!(node.disk.replies, 5, "each notice is answered with one receipt");
        prop_assert!(promised.is_subset(&node.accepted), "a notice that was promised was not accepted");
        prop_assert!(node.disk.outbox.is_empty(), "something stayed in the outbox");
    }
}
