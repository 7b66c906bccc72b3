//! What a notice says: the author's JSON, and the parts that come out of a sealed portion.

use valise_proto::label::{Classification, Label};
use valise_proto::notice::{Content, JSON_BYTES_MAX, Mistake, Notice, Part, Portion};
use valise_proto::wire::limits::{Limits, PARTS_MAX};

use crate::exchange;
use crate::oracle::{bounded, refused};

/// An author's JSON.
///
/// What is accepted is written and read back as the same notice, and so is each of its portions on the wire; what is
/// refused is refused with a mistake, each of which says where and what to do.
pub fn notice_json(json: &[u8]) -> bool {
    let (policy, now) = (exchange::policy(), exchange::now());
    let notice = match bounded(json.len(), || Notice::from_json(json, &policy, now)) {
        Ok(notice) => notice,
        Err(mistakes) => return told(&mistakes),
    };
    assert!(json.len() <= JSON_BYTES_MAX, "a notice of {} bytes", json.len());
    assert!((1..=PARTS_MAX).contains(&notice.parts().len()), "{} parts", notice.parts().len());
    assert!(notice.recipients().len() <= Limits::DEFAULT.recipients_max);
    let written = serde_json::to_vec(&notice.to_json()).unwrap();
    let back = Notice::from_json(&written, &policy, now);
    assert_eq!(back.as_ref(), Ok(&notice), "what was read is not what was written");
    for portion in notice.portions().into_iter().filter(is_complete) {
        let opened = Portion::decode(portion.label().clone(), &portion.encode());
        assert_eq!(opened.as_ref(), Ok(&portion), "a portion does not open as it was sealed");
        assert!(!portion.holds().is_empty(), "a portion of nothing");
    }
    true
}

/// Whether a portion can travel as it is. What takes notices out of force names them all, which the author leaves to the
/// agent.
pub(crate) fn is_complete(portion: &Portion) -> bool {
    let ends_others = |part: &Part| matches!(part.content, Content::Correction(_) | Content::Withdrawal(_));
    !portion.parts().iter().any(ends_others)
}

fn told(mistakes: &[Mistake]) -> bool {
    /// Longest path: 127 levels of nesting, of which an excerpt is shown.
    const PATH_BYTES_MAX: usize = 1024;
    assert!(!mistakes.is_empty(), "refused without a mistake");
    for mistake in mistakes {
        assert!(!mistake.path.is_empty() && mistake.path.len() <= PATH_BYTES_MAX, "where? {mistake:?}");
        assert!(!mistake.path.chars().any(char::is_control), "a path that commands a terminal: {mistake:?}");
        assert!(
            !mistake.value.chars().any(char::is_control),
            "a value that commands a terminal: {mistake:?}"
        );
        assert!(!mistake.rule.is_empty(), "what to do? {mistake:?}");
        refused(&SentenceOf(mistake));
    }
    false
}

/// A mistake, as it is shown.
#[derive(Debug)]
struct SentenceOf<'m>(&'m Mistake);

impl std::fmt::Display for SentenceOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The encoded parts of an opened portion.
///
/// What is read is the one encoding there is of what it says, and is shown as JSON without a stop.
pub fn parts(bytes: &[u8]) -> bool {
    let label = Label::plain(exchange::policy(), Classification::Restricted);
    let portion = match bounded(bytes.len(), || Portion::decode(label, bytes)) {
        Ok(portion) => portion,
        Err(error) => return refused(&error),
    };
    assert!((1..=PARTS_MAX).contains(&portion.parts().len()), "{} parts", portion.parts().len());
    assert_eq!(portion.encode().as_slice(), bytes, "what was read is not what was written");
    let shown = portion.to_json();
    assert_eq!(
        shown.get("parts").and_then(|parts| parts.as_array()).map(Vec::len),
        Some(portion.parts().len()),
        "a part is not shown"
    );
    assert!(!portion.holds().is_empty() && portion.receipt().is_none_or(|_| portion.parts().len() == 1));
    true
}
