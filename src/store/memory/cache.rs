//! What is kept for a time, in memory: values by their keys, each with its
//! end. Bounded: past its capacity what ends first goes. No lock, no clock of
//! its own.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::super::Key;

/// The values.
#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    values: HashMap<Key, (Instant, Vec<u8>)>,
    /// What ends first, first.
    ends: BTreeSet<(Instant, Key)>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, values: HashMap::new(), ends: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Vec<u8>> {
        let (end, value) = self.values.get(key)?;
        (*end > now).then(|| value.clone())
    }

    pub(super) fn put(&mut self, key: Key, value: Vec<u8>, end: Instant, now: Instant) {
        if let Some((old, _)) = self.values.insert(key, (end, value)) {
            self.ends.remove(&(old, key));
        }
        self.ends.insert((end, key));
        while let Some((end, key)) = self.ends.first().copied() {
            if end > now && self.ends.len() <= self.capacity {
                break;
            }
            self.ends.pop_first();
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_goes_and_past_the_capacity_what_ends_first() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut cache = Cache::new(2);
        cache.put([1; 16], vec![1], now + 3 * second, now);
        cache.put([2; 16], vec![2], now + second, now);
        cache.put([3; 16], vec![3], now + 2 * second, now);
        assert_eq!(cache.get(&[2; 16], now), None);
        assert_eq!(cache.get(&[1; 16], now), Some(vec![1]));
        cache.put([1; 16], vec![4], now + 9 * second, now);
        assert_eq!(cache.get(&[1; 16], now + 3 * second), Some(vec![4]));
        cache.put([5; 16], vec![5], now + 9 * second, now + 3 * second);
        assert_eq!((cache.values.len(), cache.ends.len()), (2, 2));
        assert_eq!(cache.get(&[3; 16], now), None, "it was over");
    }
}
