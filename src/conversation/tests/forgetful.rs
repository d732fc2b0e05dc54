//! A store that has forgotten everything, its secret too.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::memory::Memory;
use crate::store::{Counts, Listed, Outcome, Pending};

#[derive(Debug)]
struct Forgetful {
    /// The last is the one that is asked.
    stores: Mutex<Vec<Arc<Memory>>>,
    /// The next claim finds out that everything is forgotten.
    strange: AtomicBool,
    /// After so many claims more comes one that fails, or never ends.
    fails_after: Mutex<Option<(usize, Fails)>>,
}

#[derive(Clone, Copy, Debug)]
enum Fails {
    WithAnError,
    Never,
}

impl Forgetful {
    fn now(&self) -> Arc<Memory> {
        let stores = self.stores.lock().unwrap();
        Arc::clone(stores.last().unwrap())
    }

    fn forget_all(&self) {
        self.stores.lock().unwrap().push(memory());
        self.strange.store(true, Ordering::SeqCst);
    }
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(Duration::from_secs(3600)).unwrap())
}

impl Store for Forgetful {
    fn secret(&self) -> Pending<'_, [u8; 32]> {
        // As long as nobody has found out, the old one is believed.
        let stores = self.stores.lock().unwrap();
        let at = stores.len() - 1 - usize::from(self.strange.load(Ordering::SeqCst));
        let known = Arc::clone(&stores[at]);
        Box::pin(async move { known.secret().await })
    }

    fn claim(&self, by: By, lease: Duration) -> Pending<'_, Claimed> {
        Box::pin(async move {
            if self.strange.swap(false, Ordering::SeqCst) {
                return Err(Unavailable("it has another secret".to_owned()));
            }
            let fails = match &mut *self.fails_after.lock().unwrap() {
                Some((0, fails)) => Some(*fails),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            match fails {
                Some(Fails::WithAnError) => Err(Unavailable("it is away".to_owned())),
                Some(Fails::Never) => std::future::pending().await,
                None => self.now().claim(by, lease).await,
            }
        })
    }

    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Pending<'_, Vec<Lease>> {
        Box::pin(async move { self.now().renew(leases, lease).await })
    }

    fn settle(&self, lease: Lease, outcome: Outcome) -> Pending<'_, Settled> {
        Box::pin(async move { self.now().settle(lease, outcome).await })
    }

    fn insert(&self, entry: Entry) -> Pending<'_, ()> {
        Box::pin(async move { self.now().insert(entry).await })
    }

    fn purge(&self, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move { self.now().purge(limit).await })
    }

    fn list(&self, after: Option<Id>, limit: usize) -> Pending<'_, Vec<Listed>> {
        Box::pin(async move { self.now().list(after, limit).await })
    }

    fn forget(&self, id: Id) -> Pending<'_, Option<Entry>> {
        Box::pin(async move { self.now().forget(id).await })
    }

    fn counts(&self) -> Pending<'_, Counts> {
        Box::pin(async move { self.now().counts().await })
    }

    fn cached(&self, key: Key) -> Pending<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.now().cached(key).await })
    }

    fn cache(&self, key: Key, value: Vec<u8>, life: Duration) -> Pending<'_, ()> {
        Box::pin(async move { self.now().cache(key, value, life).await })
    }
}

#[tokio::test]
async fn after_the_store_has_forgotten_its_secret_a_name_is_looked_for_under_the_new_one() {
    let store = Arc::new(Forgetful {
        stores: Mutex::new(vec![memory()]),
        strange: AtomicBool::new(false),
        fails_after: Mutex::default(),
    });
    let old = Client { memory: Conversations::new(store.clone()), ..client() };
    old.begin(Some("n"), &["one"]).await.answer("c1", "1", "a").await;
    assert_eq!(old.begin(Some("n"), &["two"]).await.note, "continued");
    store.forget_all();
    // A gateway that has just begun knows the new secret only.
    let begun = old.begin(Some("n"), &["three"]).await;
    assert_eq!(begun.note, "new");
    begun.answer("c2", "2", "a").await;
    let young = Client { memory: Conversations::new(store.clone()), ..client() };
    assert_eq!(young.begin(Some("n"), &["four"]).await.note, "continued");
}

#[tokio::test]
async fn a_question_whose_answer_gets_no_further_is_put_back() {
    for fails in [Fails::WithAnError, Fails::Never] {
        let store = Arc::new(Forgetful {
            stores: Mutex::new(vec![memory()]),
            strange: AtomicBool::new(false),
            fails_after: Mutex::default(),
        });
        let client = Client { memory: Conversations::new(store.clone()), ..client() };
        let client = client.elsewhere(|space| space.kind = "workflow");
        let mut asking = client.begin(None, &["a"]).await;
        asking.thread.hear(&Text::Plain("where?".into()));
        asking.thread.ask(Question { run: true, asked_at: 864_000, ..Question::default() });
        let chat = Chat { conversation: "event", section: None, id: "event" };
        asking.end(Ending::Answered { chat, asked: true }).await;
        // Of today it is found; what was asked yesterday nobody says.
        *store.fails_after.lock().unwrap() = Some((1, fails));
        let prompt = said(&["a", "where?", "b"]);
        let (space, now) = (client.space, 864_000 + 3600);
        let wanted = Wanted { space, name: None, whole: false, prompt: &prompt, history_rounds: 100, now };
        {
            let mut begin = std::pin::pin!(client.memory.begin(&wanted));
            match fails {
                Fails::WithAnError => assert!(begin.as_mut().await.is_err()),
                Fails::Never => assert!(futures_util::poll!(&mut begin).is_pending()),
            }
            assert!(client.memory.store().list(None, 1).await.unwrap()[0].lent);
        }
        *store.fails_after.lock().unwrap() = None;
        let free = async {
            while client.memory.store().list(None, 1).await.unwrap()[0].lent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), free).await.expect("it is put back");
        let resumed = client.memory.begin(&wanted).await.unwrap();
        assert!(
            matches!(resumed, Begun::Planned { plan: Plan::Resume { .. }, .. }),
            "{fails:?}: {resumed:?}"
        );
    }
}
