//! Writes that go out together.
//!
//! A task that is about to write lets the other tasks that have something to
//! do come as far as their own writes. Then these follow one another closely:
//! the other side's kernel, which has to wake whoever reads, does so once for
//! all of them. On one machine waking takes longer than writing: plain requests
//! of 8 clients cost a fifth less so. Never holds up a task that is alone.

use std::future::poll_fn;
use std::task::Poll;

/// With so many at work at most, waiting costs one of them more than it saves
/// the others.
pub(crate) const FEW: usize = 2;

/// Lets other tasks have their turn, where more than a few are `at_work`.
pub(crate) async fn with_others(at_work: usize) {
    let mut may_go = at_work <= FEW;
    poll_fn(|cx| {
        if std::mem::replace(&mut may_go, true) {
            return Poll::Ready(());
        }
        // Behind all that are ready. tokio's own yield would look for new
        // events first, with a system call.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// In which order two tasks do their two steps.
    async fn steps(at_work: usize) -> Vec<&'static str> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let task = |read, write| {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                told.lock().unwrap().push(read);
                with_others(at_work).await;
                told.lock().unwrap().push(write);
            })
        };
        let (a, b) = (task("a reads", "a writes"), task("b reads", "b writes"));
        a.await.unwrap();
        b.await.unwrap();
        let told = told.lock().unwrap();
        told.clone()
    }

    #[tokio::test]
    async fn all_read_before_one_writes() {
        assert_eq!(steps(FEW + 1).await, ["a reads", "b reads", "a writes", "b writes"]);
    }

    #[tokio::test]
    async fn who_has_little_company_writes_at_once() {
        assert_eq!(steps(FEW).await, ["a reads", "a writes", "b reads", "b writes"]);
    }
}
