//! Figures of the process under the names that every Prometheus client library uses, read from `/proc/self` when
//! they are scraped. (The metrics library has a collector of its own, behind a feature that pingora does not
//! enable.) Only Linux has these files; elsewhere the figures are left out. Used by `registry` alone.

use std::fs;

use pingora_prometheus::prometheus::core::{Collector, Desc, Describer};
use pingora_prometheus::prometheus::proto::MetricFamily;
use pingora_prometheus::prometheus::{Counter, Gauge};
use rustix::process::{Resource, getrlimit};

use super::names::{self, Family};
use super::registry::Result;

/// Ticks a second of the times in `/proc`: `USER_HZ`, which Linux has fixed at 100 for programs (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

const FAMILIES: [Family; 6] = [
    names::PROCESS_CPU,
    names::PROCESS_RESIDENT_MEMORY,
    names::PROCESS_OPEN_FDS,
    names::PROCESS_MAX_FDS,
    names::PROCESS_START_TIME,
    names::PROCESS_THREADS,
];

/// The collector.
#[derive(Clone, Debug)]
pub(super) struct ProcessFigures {
    descs: Vec<Desc>,
    /// When the machine was booted, in seconds since 1970.
    booted: Option<f64>,
}

impl ProcessFigures {
    pub(super) fn new() -> Result<Self> {
        let mut descs = Vec::new();
        for family in FAMILIES {
            descs.push(family.opts().describe()?);
        }
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Ok(Self { descs, booted: field(&stat, "btime") })
    }
}

impl Collector for ProcessFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").unwrap_or_default());
        let start_time = self.booted.zip(stat.started).map(|(booted, started)| booted + started);
        let mut families = Vec::new();
        // Made anew each time: a counter of the library cannot be set.
        if let (Some(cpu), Ok(counter)) = (stat.cpu, Counter::with_opts(names::PROCESS_CPU.opts())) {
            counter.inc_by(cpu);
            families.extend(counter.collect());
        }
        for (family, value) in [
            (names::PROCESS_RESIDENT_MEMORY, field(&status, "VmRSS:").map(|kib| kib * 1024.0)),
            (names::PROCESS_OPEN_FDS, open_fds()),
            (names::PROCESS_MAX_FDS, max_fds()),
            (names::PROCESS_START_TIME, start_time),
            (names::PROCESS_THREADS, field(&status, "Threads:")),
        ] {
            if let (Some(value), Ok(gauge)) = (value, Gauge::with_opts(family.opts())) {
                gauge.set(value);
                families.extend(gauge.collect());
            }
        }
        families
    }
}

/// What is wanted of `/proc/self/stat`, in seconds.
#[derive(Debug, Default, PartialEq)]
struct Stat {
    /// User and system time.
    cpu: Option<f64>,
    /// After boot.
    started: Option<f64>,
}

impl Stat {
    fn parse(stat: &str) -> Self {
        // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
        let Some((_, rest)) = stat.rsplit_once(')') else { return Self::default() };
        // `rest` begins with field 3.
        let seconds = |field: usize| -> Option<f64> {
            rest.split_ascii_whitespace().nth(field - 3)?.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_SECOND)
        };
        Self { cpu: seconds(14).zip(seconds(15)).map(|(user, system)| user + system), started: seconds(22) }
    }
}

/// The first number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Since Linux 6.2 the directory's size says how many there are, at no cost; before that it is 0 and they have to be counted,
/// which is ten milliseconds of a processor for ten thousand.
fn open_fds() -> Option<f64> {
    let told = fs::metadata("/proc/self/fd").ok()?.len();
    let count = if told > 0 { told } else { counted_fds()? };
    u32::try_from(count).ok().map(f64::from)
}

fn counted_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    u64::try_from(entries.saturating_sub(1)).ok()
}

fn max_fds() -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "no system allows 2^53 descriptors")]
    getrlimit(Resource::Nofile).current.map(|limit| limit as f64)
}

#[cfg(test)]
mod tests {
    use pingora_prometheus::prometheus::TextEncoder;

    use super::*;

    #[test]
    fn descriptors_are_as_many_as_are_counted_one_by_one() {
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process may open some meanwhile, where they are threads.
        let (told, counted) = (open_fds().unwrap(), f64::from(u32::try_from(counted_fds().unwrap()).unwrap()));
        assert!(told >= 50.0 && (told - counted).abs() < 50.0, "{told} or {counted}");
        drop(files);
    }

    #[test]
    fn a_program_name_cannot_shift_the_fields() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 12345 1 2";
        assert_eq!(Stat::parse(stat), Stat { cpu: Some(3.0), started: Some(123.45) });
        assert_eq!(Stat::parse(""), Stat::default());
        assert_eq!(Stat::parse("42 (x) S 1"), Stat::default());
    }

    #[test]
    fn the_figures_of_this_process_are_plausible() {
        let text = TextEncoder::new().encode_to_string(&ProcessFigures::new().unwrap().collect()).unwrap();
        let value = |family: &Family| field(&text, &format!("{} ", family.name)).unwrap();
        assert!(value(&names::PROCESS_RESIDENT_MEMORY) > 1e6);
        assert!(value(&names::PROCESS_OPEN_FDS) >= 3.0);
        assert!(value(&names::PROCESS_MAX_FDS) >= value(&names::PROCESS_OPEN_FDS));
        assert!(value(&names::PROCESS_THREADS) >= 1.0);
        assert!(value(&names::PROCESS_START_TIME) > 1.6e9);
        assert!(value(&names::PROCESS_CPU) >= 0.0);
    }
}
