//! The page of numbers, in OpenMetrics text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Counted;

/// Everything the page tells.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) version: &'static str,
    pub(crate) ready: bool,
    pub(crate) connected: bool,
    pub(crate) counted: Counted,
    /// Envelopes that no broker has accepted yet, by precedence.
    pub(crate) outbox: Vec<(&'static str, usize)>,
    /// Notices in the inbox, and those of them that an officer was shown; not known where the store cannot be read.
    pub(crate) inbox: Option<(usize, usize)>,
    /// What runs out, and the seconds until the first of its kind does: below 0 once it has.
    pub(crate) expiries: Vec<(&'static str, i64)>,
    pub(crate) directory_version: u64,
    /// How far this node's clock was ahead of the broker's when they last met, in seconds.
    pub(crate) clock_ahead: Option<i64>,
    pub(crate) store_bytes: Option<u64>,
    pub(crate) store_free_bytes: Option<u64>,
}

/// Writes the page. Writing to a string does not fail.
pub(crate) fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("valise_agent");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    // A page that breaks off would lack its last line, which whoever reads it looks for.
    let _ = encode(&mut text, &registry);
    text
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.info(self.version)?;
        page.gauge("ready", "1 while /readyz says yes", None, u64::from(self.ready))?;
        page.gauge("connected", "1 while a broker is connected", None, u64::from(self.connected))?;
        self.encode_counters(&mut page)?;
        self.encode_gauges(&mut page)
    }
}

impl Snapshot {
    fn encode_counters(&self, page: &mut Page<'_>) -> fmt::Result {
        let Counted { accepted, lapsed, received, set_aside, purged, unanswered, connected, refusals } =
            &self.counted;
        page.counter("connections", "Connections made", *connected)?;
        page.counter("accepted", "Notices and receipts of ours that a broker took", *accepted)?;
        page.counter(
            "lapsed",
            "Notices and receipts of ours that expired before a broker took them",
            *lapsed,
        )?;
        page.counter("received", "Notices that arrived and can be read", *received)?;
        page.counter("set_aside", "Deliveries that are not shown", *set_aside)?;
        page.counter("purged", "Notices deleted because they were corrected or withdrawn", *purged)?;
        let help = "Notices of ours whose time for answers ended with an answer missing";
        page.counter("deadlines_missed", help, *unanswered)?;
        page.counters("refusals", "Refusals by the broker, by code", refusals)
    }

    fn encode_gauges(&self, page: &mut Page<'_>) -> fmt::Result {
        let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let outbox = self.outbox.iter().map(|(precedence, items)| (*precedence, size(*items)));
        let help = "Notices and receipts that no broker has accepted yet";
        page.gauges("outbox_items", help, None, "precedence", outbox)?;
        if let Some((held, read)) = self.inbox {
            page.gauge("inbox_notices", "Notices in the inbox", None, size(held))?;
            let help = "Notices in the inbox that no officer was shown";
            page.gauge("inbox_unread", help, None, size(held.saturating_sub(read)))?;
        }
        let help = "Until what this node goes by runs out; below 0 once it has";
        page.gauges("expiry", help, Some(&Unit::Seconds), "kind", self.expiries.iter().copied())?;
        page.gauge("directory_version", "Version of the directory in force", None, self.directory_version)?;
        if let Some(seconds) = self.clock_ahead {
            let help = "How far this node's clock was ahead of the broker's when they last met";
            page.gauge("clock_ahead", help, Some(&Unit::Seconds), seconds)?;
        }
        if let Some(bytes) = self.store_bytes {
            page.gauge("store_size", "Size of the store on disk", Some(&Unit::Bytes), bytes)?;
        }
        if let Some(bytes) = self.store_free_bytes {
            page.gauge("store_free", "Space left on the disk of the store", Some(&Unit::Bytes), bytes)?;
        }
        Ok(())
    }
}

/// Writes one kind of line each.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn info(&mut self, version: &str) -> fmt::Result {
        let help = "The software that runs";
        self.0.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&[("version", version)])
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: impl Iterator<Item = (&'static str, V)>,
    ) -> fmt::Result {
        let mut gauge = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (of, value) in values {
            gauge.encode_family(&[(label, of)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut counter = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        counter.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters(&mut self, name: &str, help: &str, by_code: &[(&'static str, u64)]) -> fmt::Result {
        let mut counter = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (code, value) in by_code {
            counter.encode_family(&[("code", *code)])?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use valise_proto::refusal::RefusalCode;

    use super::super::Counts;
    use super::*;

    #[test]
    fn a_page_tells_every_number_once_and_ends_with_its_last_line() {
        let counts = Counts::default();
        counts.note_refused(RefusalCode::Quota);
        counts.note_refused(RefusalCode::Unknown(77));
        let text = render(Snapshot {
            version: "1.2.3",
            connected: true,
            counted: counts.counted(),
            outbox: vec![("FLASH", 2)],
            inbox: Some((5, 3)),
            expiries: vec![("CERTIFICATE", -5)],
            clock_ahead: Some(-1),
            ..Snapshot::default()
        });
        for line in [
            "valise_agent_build_info{version=\"1.2.3\"} 1",
            "valise_agent_ready 0",
            "valise_agent_connected 1",
            "valise_agent_refusals_total{code=\"QUOTA\"} 1",
            "valise_agent_refusals_total{code=\"UNKNOWN\"} 1",
            "valise_agent_outbox_items{precedence=\"FLASH\"} 2",
            "valise_agent_inbox_notices 5",
            "valise_agent_inbox_unread 2",
            "valise_agent_expiry_seconds{kind=\"CERTIFICATE\"} -5",
            "valise_agent_clock_ahead_seconds -1",
        ] {
            let told = text.lines().filter(|told| *told == line).count();
            assert_eq!(told, 1, "`{line}` is told {told} times:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
