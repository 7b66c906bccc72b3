//! The page of numbers, in OpenMetrics text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::counts::Counted;
use super::histogram::Observed;

/// Everything the page tells.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) version: &'static str,
    pub(crate) ready: bool,
    pub(crate) counted: Counted,
    pub(crate) batches: Observed,
    pub(crate) commits: Observed,
    /// Connections at present, and agencies that have one or more.
    pub(crate) connections: (usize, usize),
    pub(crate) queues: Vec<Queued>,
    /// Age of the oldest item that waits, in seconds, by precedence; 0 where none does.
    pub(crate) oldest: Vec<(&'static str, u64)>,
    /// What runs out, and the seconds until the first of its kind does: below 0 once it has.
    pub(crate) expiries: Vec<(&'static str, i64)>,
    pub(crate) directory_version: u64,
    pub(crate) store_bytes: Option<u64>,
    pub(crate) store_free_bytes: Option<u64>,
    pub(crate) log_entries: u64,
    pub(crate) renewals: usize,
    pub(crate) refused_files: usize,
}

/// Items that wait in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) agency: String,
    pub(crate) precedence: &'static str,
    pub(crate) items: usize,
}

/// Writes the page. Writing to a string does not fail.
pub(crate) fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("valise_broker");
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
        page.gauge("ready", "1 while /readyz says yes", u64::from(self.ready))?;
        self.encode_traffic(&mut page)?;
        self.encode_queues(&mut page)?;
        self.encode_store(&mut page)
    }
}

impl Snapshot {
    fn encode_traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let Counted { accepted, resubmitted, delivered, expired, refusals, partings, accept } = &self.counted;
        page.counter("notices_accepted", "Notices accepted", *accepted)?;
        page.counter("notices_resubmitted", "Notices submitted again and answered as before", *resubmitted)?;
        page.counter("items_delivered", "Items of inboxes that their agency acknowledged", *delivered)?;
        let help = "Notices whose time ran out before every recipient had acknowledged them";
        page.counter("notices_expired", help, *expired)?;
        page.counters("refusals", "Envelopes refused, by code", refusals)?;
        page.counters("sessions_ended", "Sessions that the broker ended, by the code it gave", partings)?;
        let help = "From an envelope read to its receipt released, of those that reached the store";
        page.histogram("accept", help, Some(&Unit::Seconds), accept)?;
        let (connections, agencies) = self.connections;
        page.gauge("connections", "Connections of agencies", size(connections))?;
        page.gauge("agencies_connected", "Agencies that have a connection", size(agencies))
    }

    fn encode_queues(&self, page: &mut Page<'_>) -> fmt::Result {
        let labels = self.queues.iter().map(|queue| {
            let labels = vec![("agency", queue.agency.as_str()), ("precedence", queue.precedence)];
            (labels, size(queue.items))
        });
        page.gauges("queue_items", "Items that wait for an agency", None, labels)?;
        let oldest = self.oldest.iter().map(|(precedence, age)| (vec![("precedence", *precedence)], *age));
        let help = "Age of the oldest item that waits; 0 where none does";
        page.gauges("oldest_item_age", help, Some(&Unit::Seconds), oldest)?;
        let expiries = self.expiries.iter().map(|(kind, left)| (vec![("kind", *kind)], *left));
        let help = "Until what this broker goes by runs out; below 0 once it has";
        page.gauges("expiry", help, Some(&Unit::Seconds), expiries)?;
        page.gauge("directory_version", "Version of the directory in force", self.directory_version)?;
        page.gauge("renewals_waiting", "Renewal requests not yet carried away", size(self.renewals))?;
        let help = "Published files that are not in force because they were refused";
        page.gauge("files_refused", help, size(self.refused_files))
    }

    fn encode_store(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("log_entries", "Entries of the log", self.log_entries)?;
        if let Some(bytes) = self.store_bytes {
            page.bytes("store_size", "Size of the store on disk", bytes)?;
        }
        if let Some(bytes) = self.store_free_bytes {
            page.bytes("store_free", "Space left on the disk of the store", bytes)?;
        }
        page.histogram("commit_batch_operations", "Operations committed together", None, &self.batches)?;
        let help = "From a batch begun to its end on stable storage";
        page.histogram("commit", help, Some(&Unit::Seconds), &self.commits)
    }
}

fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Writes one kind of line each.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn info(&mut self, version: &str) -> fmt::Result {
        let help = "The software that runs";
        self.0.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&[("version", version)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn bytes(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut gauge = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            gauge.encode_family(&labels)?.encode_gauge(&value)?;
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
            let labels = [("code", *code)];
            counter.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, unit: Option<&Unit>, held: &Observed) -> fmt::Result {
        let mut histogram = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        histogram.encode_histogram::<NoLabelSet>(held.sum, held.count, &held.buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::*;

    #[test]
    fn a_page_tells_every_number_once_and_ends_with_its_last_line() {
        let counts = Counts::default();
        counts.note_accepted();
        counts.note_answered(1, std::time::Duration::from_millis(3));
        let text = render(Snapshot {
            version: "1.2.3",
            ready: true,
            counted: counts.counted(),
            queues: vec![Queued { agency: "fra/ncb".to_owned(), precedence: "FLASH", items: 7 }],
            oldest: vec![("FLASH", 12)],
            expiries: vec![("DIRECTORY", -5)],
            store_bytes: Some(4096),
            ..Snapshot::default()
        });
        for line in [
            "valise_broker_build_info{version=\"1.2.3\"} 1",
            "valise_broker_ready 1",
            "valise_broker_notices_accepted_total 1",
            "valise_broker_refusals_total{code=\"QUOTA\"} 0",
            "valise_broker_accept_seconds_bucket{le=\"0.0025\"} 0",
            "valise_broker_accept_seconds_bucket{le=\"0.005\"} 1",
            "valise_broker_accept_seconds_bucket{le=\"+Inf\"} 1",
            "valise_broker_accept_seconds_sum 0.003",
            "valise_broker_accept_seconds_count 1",
            "valise_broker_queue_items{agency=\"fra/ncb\",precedence=\"FLASH\"} 7",
            "valise_broker_oldest_item_age_seconds{precedence=\"FLASH\"} 12",
            "valise_broker_expiry_seconds{kind=\"DIRECTORY\"} -5",
            "valise_broker_store_size_bytes 4096",
        ] {
            let told = text.lines().filter(|told| *told == line).count();
            assert_eq!(told, 1, "`{line}` is told {told} times:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(!text.contains("store_free"), "what is not known is told:\n{text}");
    }
}
