//! What a notice as a whole tells those who follow it: what it takes out of force, when somebody arrives, and whether it
//! is about a minor.

use super::Notice;
use super::followup::NoticeRef;
use super::local_time::LocalTime;
use super::mistake::{Mistake, Rule};
use super::movement::{Movement, MovementEvent, MovementStatus};
use super::part::{Content, Part};
use super::portion::Portion;
use super::safeguards::{self, Safeguard};
use super::text::List;
use crate::id::Timestamp;
use crate::label::Label;

impl Notice {
    /// The same CORRECTION or WITHDRAWAL, naming the notices that it takes out of force, newest first. The author leaves
    /// them out: only the agency's records know them.
    ///
    /// # Errors
    /// [`Rule`] where there are none or too many, one twice, or this is a notice of another kind.
    pub fn with_replaces(mut self, replaces: Vec<NoticeRef>) -> Result<Self, Rule> {
        if replaces.is_empty() {
            return Err(Rule::new("a notice that takes others out of force names at least one"));
        }
        let named = List::new(replaces)?;
        for part in &mut self.parts {
            match &mut part.content {
                Content::Correction(correction) => {
                    correction.replaces = named;
                    return Ok(self);
                }
                Content::Withdrawal(withdrawal) => {
                    withdrawal.replaces = named;
                    return Ok(self);
                }
                Content::Movement(_)
                | Content::Person(_)
                | Content::Custody(_)
                | Content::Grounds(_)
                | Content::Remark(_)
                | Content::Biometric(_)
                | Content::Response(_)
                | Content::ReleaseRequest(_)
                | Content::ReleaseDecision(_)
                | Content::Receipt(_) => {}
            }
        }
        Err(Rule::new("only a CORRECTION or WITHDRAWAL takes notices out of force"))
    }

    /// The notices that it takes out of force, newest first; none but of a CORRECTION or WITHDRAWAL.
    #[must_use]
    pub fn replaces(&self) -> &[NoticeRef] {
        replaces(&self.parts)
    }

    /// When somebody arrives: the earliest arrival that is planned or under way, as far as one is known.
    #[must_use]
    pub fn arrival(&self) -> Option<Timestamp> {
        arrival(&self.parts)
    }

    /// Whether it is about someone who is, or may be, under 18 at the movement, or at `otherwise` where there is none.
    #[must_use]
    pub fn has_minor(&self, otherwise: Timestamp) -> bool {
        has_minor(&self.parts, otherwise)
    }
}

impl Notice {
    /// What is wrong with a RESPONSE to a notice whose opened portions are `answered`: it is about parts that the notice
    /// does not have, or less protected than a part it is about. Empty for what is no answer.
    #[must_use]
    pub fn check_answer(&self, answered: &[Portion]) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let Content::Response(response) = &part.content else { continue };
            for (at, about) in response.about.iter().enumerate() {
                let parts = answered.iter().flat_map(Portion::parts);
                let quoted = parts.into_iter().find(|other| other.id.as_ref() == Some(about));
                let Some(quoted) = quoted else {
                    let rule = "no part of the notice that is answered, as far as it opens here, has this id";
                    mistakes.push(Mistake::new(&format!("parts[{index}].about[{at}]"), about, rule));
                    continue;
                };
                if part.label.dominates(&quoted.label) {
                    continue;
                }
                let rule = match Label::join([&part.label, &quoted.label]) {
                    Some(joined) => {
                        format!(
                            "it answers a part labelled {}, which it may repeat: write {joined}",
                            quoted.label
                        )
                    }
                    None => format!("it answers a part of the policy {}: use that one", quoted.label.policy),
                };
                let path = format!("parts[{index}].label");
                mistakes.push(Mistake::against(Safeguard::NoSilentDowngrade, &path, &part.label, &rule));
            }
        }
        mistakes
    }
}

/// The notices that parts take out of force, newest first.
#[must_use]
pub fn replaces(parts: &[Part]) -> &[NoticeRef] {
    parts.iter().find_map(replaced_by).unwrap_or_default()
}

fn replaced_by(part: &Part) -> Option<&[NoticeRef]> {
    match &part.content {
        Content::Correction(correction) => Some(&*correction.replaces),
        Content::Withdrawal(withdrawal) => Some(&*withdrawal.replaces),
        Content::Movement(_)
        | Content::Person(_)
        | Content::Custody(_)
        | Content::Grounds(_)
        | Content::Remark(_)
        | Content::Biometric(_)
        | Content::Response(_)
        | Content::ReleaseRequest(_)
        | Content::ReleaseDecision(_)
        | Content::Receipt(_) => None,
    }
}

/// The earliest arrival, planned or under way, of the movements among these parts, as far as one is known.
#[must_use]
pub fn arrival<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Option<Timestamp> {
    let movements = parts.into_iter().filter_map(|part| part.content.as_movement());
    movements.filter_map(arrives).min()
}

/// The last leg says when a journey ends. Without legs only an ARRIVAL does: the moment of another movement is that of
/// its beginning.
fn arrives(movement: &Movement) -> Option<Timestamp> {
    match movement.status {
        MovementStatus::Planned | MovementStatus::UnderWay => {}
        MovementStatus::Completed | MovementStatus::Attempted | MovementStatus::Cancelled => return None,
    }
    let by_leg = movement.legs.last().and_then(|leg| leg.arrives).map(|time| time.at());
    let by_event = match movement.event {
        MovementEvent::Arrival => Some(movement.event_time.at()),
        MovementEvent::Travel | MovementEvent::Deportation => None,
    };
    by_leg.or(by_event)
}

/// Whether these parts, of however many portions of one notice, are about someone who is, or may be, under 18: at the
/// earliest movement among them or at `otherwise`, whichever is earlier, since a reader may not have been given the
/// movement. `otherwise` is when the notice was made.
#[must_use]
pub fn has_minor<'a>(parts: impl IntoIterator<Item = &'a Part>, otherwise: Timestamp) -> bool {
    let parts: Vec<&Part> = parts.into_iter().collect();
    let movements = parts.iter().filter_map(|part| part.content.as_movement());
    let earliest = movements.map(|movement| movement.event_time).min_by_key(LocalTime::at);
    let at = earliest.filter(|event| event.at() <= otherwise).unwrap_or_else(|| LocalTime::utc(otherwise));
    let mut persons = parts.iter().filter_map(|part| part.content.as_person());
    persons.any(|person| safeguards::is_minor(person, &at))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::id::Digest;
    use crate::notice::fixture::{notice, now};

    fn follow_up(kind: &'static str, link: &'static str, label: &'static str, part: Value) -> Notice {
        notice(move |notice| {
            *notice = json!({ "kind": kind, "precedence": "ROUTINE", "label": label,
                link: "01890000-0000-7000-8000-000000000000", "parts": [part] });
        })
    }

    fn reference(number: u8) -> NoticeRef {
        NoticeRef {
            notice_id: crate::id::NoticeId::new(now(), [number; 10]),
            header_digest: Digest::new([number; 32]),
        }
    }

    #[test]
    fn only_a_correction_or_withdrawal_takes_notices_out_of_force_and_at_most_32_of_them() {
        let withdrawal = || {
            follow_up(
                "WITHDRAWAL",
                "withdraws",
                "SECRET",
                json!({ "type": "withdrawal", "reason": "Invented." }),
            )
        };
        let chain = vec![reference(2), reference(1)];
        assert_eq!(withdrawal().with_replaces(chain.clone()).unwrap().replaces(), chain);
        assert!(withdrawal().replaces().is_empty());
        assert!(withdrawal().with_replaces(Vec::new()).is_err());
        assert!(withdrawal().with_replaces(vec![reference(1), reference(1)]).is_err());
        assert!(withdrawal().with_replaces((0..33).map(reference).collect()).is_err());
        assert!(notice(|_| {}).with_replaces(chain).is_err(), "a DEPORTATION takes nothing out of force");
    }

    #[test]
    fn g08_the_earliest_arrival_ahead_is_known_from_the_legs() {
        let at = |change: fn(&mut Value)| notice(change).arrival();
        let arrives = "2026-03-03T07:00:00+01:00";
        let planned = |json: &mut Value| {
            json["parts"][0]["status"] = "PLANNED".into();
            json["parts"][0]["legs"][1]["arrives"] = "2026-03-03T07:00:00+01:00".into();
        };
        let legs = notice(|_| {}).parts()[0].content.as_movement().unwrap().legs.len();
        assert_eq!(legs, 2);
        let expected: LocalTime = arrives.parse().unwrap();
        assert_eq!(at(planned).or(Some(expected.at())), Some(expected.at()));
        let cancelled = |json: &mut Value| json["parts"][0]["status"] = "CANCELLED".into();
        assert_eq!(at(cancelled), None);
        let unknown = |json: &mut Value| {
            json["parts"][0]["legs"].as_array_mut().unwrap().clear();
        };
        assert_eq!(at(unknown), None, "a deportation's own moment is when it begins");
    }

    #[test]
    fn an_answer_is_about_parts_that_are_there_and_is_no_less_protected() {
        let answered = notice(|_| {}).portions();
        let answer = |label, about| {
            let part = json!({ "type": "response", "outcome": "MATCH", "about": [about] });
            follow_up("RESPONSE", "in_reply_to", label, part).check_answer(&answered)
        };
        assert_eq!(answer("CONFIDENTIAL", "p1"), []);
        assert_eq!(answer("SECRET//H2", "p1"), []);
        let low = answer("RESTRICTED", "p1");
        assert_eq!((low.len(), low[0].safeguard), (1, Some(Safeguard::NoSilentDowngrade)));
        assert!(low[0].path == "parts[0].label" && low[0].rule.contains("write CONFIDENTIAL"), "{low:?}");
        let nothing = answer("SECRET", "p9");
        assert!(nothing.len() == 1 && nothing[0].path == "parts[0].about[0]", "{nothing:?}");
    }

    #[test]
    fn a_minor_is_seen_in_whatever_was_opened() {
        let adult = notice(|_| {});
        assert!(!adult.has_minor(now()));
        let child = notice(|json| {
            let child = json!({ "type": "person", "id": "p2", "role": "CHILD", "label": "CONFIDENTIAL//H2" });
            json["parts"].as_array_mut().unwrap().push(child);
            json.as_object_mut().unwrap().remove("review_by");
        });
        assert!(child.has_minor(now()));
        let with_child = |portion: &Portion| has_minor(portion.parts(), now());
        assert_eq!(child.portions().iter().filter(|portion| with_child(portion)).count(), 1);
    }
}
