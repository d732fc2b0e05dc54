//! What is kept for a time.

use std::time::Duration;

use crate::stage::{HOUR, each, key, until};

#[test]
fn what_is_kept_is_found_by_its_key_everywhere() {
    each(async |stage| {
        assert_eq!(stage.store.cached(key(1)).await.unwrap(), None);
        stage.store.cache(key(1), b"7530600000000000777".to_vec(), HOUR).await.unwrap();
        stage.store.cache(key(2), vec![0, 255, b'\n'], HOUR).await.unwrap();
        let other = stage.again();
        assert_eq!(other.cached(key(1)).await.unwrap().as_deref(), Some(&b"7530600000000000777"[..]));
        assert_eq!(other.cached(key(2)).await.unwrap(), Some(vec![0, 255, b'\n']));
        assert_eq!(other.cached(key(3)).await.unwrap(), None);
        assert_eq!(stage.store.counts().await.unwrap().entries, 0, "it is no conversation");
    });
}

#[test]
fn what_is_kept_anew_takes_the_place_of_the_old() {
    each(async |stage| {
        stage.store.cache(key(1), vec![1], Duration::from_millis(1)).await.unwrap();
        stage.store.cache(key(1), vec![2], HOUR).await.unwrap();
        stage.store.cache(key(1), vec![3], HOUR).await.unwrap();
        assert_eq!(stage.store.cached(key(1)).await.unwrap(), Some(vec![3]));
    });
}

#[test]
fn what_is_over_is_not_found() {
    each(async |stage| {
        stage.store.cache(key(1), vec![1], Duration::from_millis(30)).await.unwrap();
        stage.store.cache(key(2), vec![2], HOUR).await.unwrap();
        until(async || stage.store.cached(key(1)).await.unwrap().is_none().then_some(())).await;
        stage.store.cache(key(3), vec![3], Duration::ZERO).await.unwrap();
        stage.store.cache(key(4), vec![4], HOUR).await.unwrap();
        assert_eq!(stage.store.cached(key(2)).await.unwrap(), Some(vec![2]));
        until(async || stage.store.cached(key(3)).await.unwrap().is_none().then_some(())).await;
    });
}
