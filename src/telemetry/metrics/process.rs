//! What the kernel knows of this process, under the names that every
//! Prometheus client uses. Where there is no `/proc`, nothing is shown.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

pub(super) fn register(registry: &mut Registry) {
    let gauge = |value: u64| {
        let gauge: Gauge<u64, AtomicU64> = Gauge::default();
        gauge.set(value);
        gauge
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = resident_bytes(&status) {
        let help = "Memory of the process that is in RAM";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, gauge(bytes));
    }
    let fds = std::fs::read_dir("/proc/self/fd").ok().and_then(|fds| u64::try_from(fds.count()).ok());
    if let Some(count) = fds {
        registry.register("process_open_fds", "Files and sockets that are open", gauge(count));
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(count) = max_fds(&limits) {
        registry.register("process_max_fds", "Files and sockets that may be open", gauge(count));
    }
}

/// From `/proc/self/status`: `VmRSS:     12345 kB`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// From `/proc/self/limits`: `Max open files   1024   524288   files`, the
/// first of which counts.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_forms_are_read() {
        let status = "VmHWM:\t   20000 kB\nVmRSS:\t   12345 kB\n";
        assert_eq!(resident_bytes(status), Some(12345 * 1024));
        let limits = "Max processes  1 2 processes\nMax open files            1024                 524288               files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!((resident_bytes(""), max_fds("Max open files unlimited")), (None, None));
    }
}
