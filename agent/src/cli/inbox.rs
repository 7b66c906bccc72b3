//! Listing and searching what was received.

use clap::{Args, value_parser};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::Classification;

use super::client::ask;
use super::{Common, Outcome, render};
use crate::api::types::{InboxFilter, SearchRequest};

/// What `inbox` takes.
#[derive(Debug, Args)]
pub(super) struct InboxArgs {
    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on behind this notice: what the page before gave as the next
    #[arg(long, value_name = "ID")]
    before: Option<NoticeId>,
    /// Only this kind, such as TRAVEL
    #[arg(long, value_name = "KIND")]
    kind: Option<NoticeKind>,
    /// Only from this agency
    #[arg(long, value_name = "STATE/UNIT")]
    originator: Option<AgencyId>,
    /// Only with this precedence
    #[arg(long, value_name = "PRECEDENCE")]
    precedence: Option<Precedence>,
    /// Only with this classification of the whole
    #[arg(long, value_name = "CLASSIFICATION")]
    classification: Option<Classification>,
    /// Only what nobody was shown yet and still counts; without withdrawals of what nobody here was shown
    #[arg(long)]
    unread: bool,
    /// Only what still asks for an answer from here: not what was corrected, withdrawn or declined
    #[arg(long)]
    unanswered: bool,
    /// Only what should have been answered by now, and was not
    #[arg(long)]
    late: bool,
    /// Only what arrived at this time or later, such as 2035-06-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only what arrived before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only what holds all these words; the search is entered into the access journal
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Why you search, for the access journal
    #[arg(long, value_name = "TEXT", requires = "search")]
    reason: Option<String>,
    /// Who searches, while the node has no officers' accounts
    #[arg(long, value_name = "NAME", requires = "search")]
    officer: Option<String>,
}

pub(super) fn inbox(common: &Common, args: InboxArgs) -> Outcome {
    let only = |flag: bool| flag.then_some(true);
    let filter = InboxFilter {
        kind: args.kind,
        originator: args.originator,
        precedence: args.precedence,
        classification: args.classification,
        unread: only(args.unread),
        unanswered: only(args.unanswered),
        late: only(args.late),
        since: args.since,
        until: args.until,
        before: args.before,
        limit: Some(args.limit.into()),
    };
    let page = match args.search {
        None => ask(common, |node| async move { node.inbox_page(&filter).await })?,
        Some(text) => {
            let request = SearchRequest { text, reason: args.reason, officer: args.officer, filter };
            ask(common, |node| async move { node.search(&request).await })?
        }
    };
    if common.json {
        return render::json(&page);
    }
    tell!("{}", render::inbox(&page))
}
