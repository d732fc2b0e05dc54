//! Who tries keys until one fits.
//!
//! In comes the address of a request whose key was wrong, out comes whether
//! it may hear so, or has to wait. Never asked about a right key: who has one
//! always passes, wherever others guess from.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

/// How many wrong keys a minute one address may send.
const FAILURES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");

/// How many addresses are told apart.
const MAX_ADDRESSES: usize = 100_000;

/// After so many failures the addresses that are forgiven are dropped.
const SWEEP: u32 = 1024;

type Failures<C> = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Counts wrong keys by address.
#[derive(Debug)]
pub struct Guard<C: Clock = DefaultClock> {
    failures: Failures<C>,
    clock: C,
    count: AtomicU32,
    /// There are too many addresses: new and old ones count as one.
    full: AtomicBool,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Guard<C> {
    fn new(clock: C) -> Self {
        let quota = Quota::per_minute(FAILURES_PER_MINUTE);
        Self {
            failures: RateLimiter::dashmap_with_clock(quota, clock.clone()),
            clock,
            count: AtomicU32::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// A key from this address was wrong.
    ///
    /// # Errors
    /// If there were too many: how long to wait.
    pub fn failed(&self, address: IpAddr) -> Result<(), Duration> {
        if self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP) {
            self.failures.retain_recent();
            self.full.store(self.failures.len() >= MAX_ADDRESSES, Ordering::Relaxed);
        }
        let network = if self.full.load(Ordering::Relaxed) {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            network(address)
        };
        self.failures.check_key(&network).map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// What one client has: an IPv4 address, or the /64 that every IPv6 client
/// can pick addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn twenty_a_minute_then_one_every_three_seconds() {
        let clock = FakeRelativeClock::default();
        let guard = Guard::new(clock.clone());
        for _ in 0..20 {
            assert_eq!(guard.failed(ip("192.0.2.1")), Ok(()));
        }
        assert_eq!(guard.failed(ip("192.0.2.1")), Err(Duration::from_secs(3)));
        assert_eq!(guard.failed(ip("192.0.2.2")), Ok(()));
        clock.advance(Duration::from_secs(3));
        assert_eq!(guard.failed(ip("::ffff:192.0.2.1")), Ok(()));
        assert!(guard.failed(ip("192.0.2.1")).is_err());
    }

    #[test]
    fn neighbours_in_an_ipv6_network_are_one() {
        let guard = Guard::new(FakeRelativeClock::default());
        for host in 0..20 {
            assert_eq!(guard.failed(ip(&format!("2001:db8:0:1::{host}"))), Ok(()));
        }
        assert!(guard.failed(ip("2001:db8:0:1:ffff::1")).is_err());
        assert_eq!(guard.failed(ip("2001:db8:0:2::1")), Ok(()));
    }

    #[test]
    fn addresses_are_forgotten_and_bounded() {
        let clock = FakeRelativeClock::default();
        let guard = Guard::new(clock.clone());
        for number in 0..110_000 {
            let _ = guard.failed(IpAddr::from(u32::to_be_bytes(number)));
        }
        assert!(guard.failures.len() <= MAX_ADDRESSES + usize::try_from(SWEEP).unwrap());
        clock.advance(Duration::from_secs(120));
        for _ in 0..SWEEP {
            let _ = guard.failed(ip("192.0.2.1"));
        }
        assert!(guard.failures.len() <= 2, "{}", guard.failures.len());
        assert_eq!(guard.failed(ip("192.0.2.9")), Ok(()));
    }
}
