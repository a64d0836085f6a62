//! A histogram of durations. [HOT: an observation is two additions, of whole numbers; the library's takes five atomic
//! operations and a loop around a floating-point sum.]
//!
//! Made and read by `series`. What a scrape sees of the requests that end meanwhile may be in the buckets and not yet in
//! the sum.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pingora_prometheus::prometheus::core::Collector;
use pingora_prometheus::prometheus::proto::{self, MetricFamily};
use pingora_prometheus::prometheus::{Histogram, HistogramOpts, Opts};

use super::names::LATENCY_BUCKETS;
use super::registry::Result;

/// See the module's text. Its buckets are [`LATENCY_BUCKETS`].
#[derive(Debug)]
pub(super) struct Durations {
    /// Knows name, help and labels; nothing is observed in it.
    template: Histogram,
    /// How many there were in each bucket, and behind the last.
    counts: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    /// All of them together. It begins anew after 584 years of requests, as counters may.
    nanos: AtomicU64,
}

impl Durations {
    pub(super) fn new(opts: Opts) -> Result<Self> {
        let buckets = LATENCY_BUCKETS.iter().map(Duration::as_secs_f64).collect();
        let template = Histogram::with_opts(HistogramOpts { common_opts: opts, buckets })?;
        Ok(Self { template, counts: [const { AtomicU64::new(0) }; _], nanos: AtomicU64::new(0) })
    }

    /// Counts one.
    #[inline]
    pub(super) fn observe(&self, took: Duration) {
        let bucket = LATENCY_BUCKETS.iter().position(|most| took <= *most).unwrap_or(LATENCY_BUCKETS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// As the library would have it.
    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut histogram = proto::Histogram::default();
        let mut sum = 0;
        let mut up_to = |count: &AtomicU64| {
            sum += count.load(Ordering::Relaxed);
            sum
        };
        let buckets = LATENCY_BUCKETS.iter().zip(&self.counts).map(|(most, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(most.as_secs_f64());
            bucket.set_cumulative_count(up_to(count));
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.counts.last().map_or(0, up_to));
        histogram.set_sample_sum(Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64());
        let mut families = self.template.collect();
        for metric in families.iter_mut().flat_map(MetricFamily::mut_metric) {
            metric.set_histogram(histogram.clone());
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use pingora_prometheus::prometheus::TextEncoder;

    use super::*;

    #[test]
    fn it_says_what_the_librarys_would() {
        let ours = Durations::new(Opts::new("a_seconds", "Of a.").const_label("b", "c")).unwrap();
        for nanos in [0, 99_999, 100_000, 100_001, 3_000_000, 1_000_000_000, 60_000_000_000, 90_000_000_000] {
            let took = Duration::from_nanos(nanos);
            ours.observe(took);
            ours.template.observe(took.as_secs_f64());
        }
        let text = |families: &[MetricFamily]| TextEncoder::new().encode_to_string(families).unwrap();
        assert_eq!(text(&ours.collect()), text(&ours.template.collect()));
    }
}
