//! Which of Coze's conversations a request belongs to, and which of its
//! messages are new there.
//!
//! Stock clients resend the whole transcript each turn, and Coze keeps the
//! history itself. In comes what a client sent, out come a [`Plan`] and, where
//! the turn is remembered, a [`Thread`] that is ended with it.
//!
//! ```text
//!  Prompt ──▶ fingerprint ──▶ Sent ─┐
//!                 │ head, name, id  ├──▶ plan ──▶ Plan, Note
//!                 ▼                 │
//!              Store::claim ──▶ Record                Thread::end
//!                                                          │
//!              Store::settle ◀── Settlement ◀──────────────┘
//! ```
//!
//! Decides, and awaits nothing but a store: it knows no clock and never calls
//! Coze.

mod entry;
mod fingerprint;
mod name;
mod normal;
mod plan;
mod record;
mod run;
mod spaces;
mod standing;
mod thread;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use fingerprint::{Chain, Fingerprints, Space};
pub use name::{BadName, Name};
pub use plan::{Cut, Mode, Note, Plan, Reason, Sent, fresh, plan, plan_run, rounds};
pub use record::{Owner, Place, Question, Record, State};
pub use standing::Standing;
pub use thread::{Chat, Ending, Settlement, Thread};

use crate::store::kept::Kept;
use crate::store::{By, Claimed, Entry, Id, Key, Lease, Store, Unavailable};
use crate::turn::{Prompt, Role};
use spaces::Spaces;
use standing::Health;
use thread::{Hold, Opening};

/// How long a turn holds a conversation unless it says that it goes on.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often it has to say so.
pub const RENEWAL: Duration = Duration::from_secs(10);

/// How the gateway's own names of conversations begin.
pub const ID_PREFIX: &str = "conv_";

/// All conversations that the gateway remembers.
#[derive(Clone)]
pub struct Conversations {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    /// Known once the store has been asked, with its secret.
    prints: Mutex<Option<([u8; 32], Arc<Fingerprints>)>>,
    spaces: Spaces,
    /// The leases of turns that go on.
    leases: Mutex<HashSet<Lease>>,
    health: Health,
}

impl fmt::Debug for Conversations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversations").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

/// What a turn wants of the memory.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose conversations are meant.
    pub space: Space<'a>,
    /// Which of them, if the client says so.
    pub name: Option<&'a Name>,
    /// Whether a request that names a conversation is the whole transcript,
    /// even without a word of the assistant's.
    pub whole: bool,
    /// What the bot is to be shown.
    pub prompt: &'a Prompt,
    /// How many rounds of a conversation Coze shows the bot.
    pub history_rounds: u32,
    /// The time, in seconds since 1970: a question waits for a day.
    pub now: u64,
}

/// How a turn begins.
#[derive(Debug)]
pub enum Begun {
    /// So.
    Planned {
        /// What is sent where.
        plan: Plan,
        /// Ends with the turn.
        thread: Box<Thread>,
    },
    /// Not yet: another turn is in the conversation, for this long at most if
    /// it has died.
    Busy(Duration),
    /// Not at all: there is no such conversation.
    NotFound,
    /// Not at all: it may be the answer to a workflow's question that waits no
    /// more, and nobody knows of which.
    Lost,
}

/// What a prompt comes to.
struct Reading {
    space: Key,
    owner: Arc<Owner>,
    sent: Sent,
    /// All of it.
    chain: Chain,
    /// How it begins: everything up to the assistant's first words.
    root: Key,
}

impl Conversations {
    /// Remembers in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let store: Arc<dyn Store> = Arc::new(Kept::new(store));
        let shared = Shared {
            store,
            prints: Mutex::default(),
            spaces: Spaces::default(),
            leases: Mutex::new(HashSet::new()),
            health: Health::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Remembers for as long as the test runs.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let ttl = Duration::from_secs(3600);
        Self::new(Arc::new(crate::store::memory::Memory::new(ttl).expect("random numbers")))
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Begins a turn.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn begin(&self, wanted: &Wanted<'_>) -> Result<Begun, Unavailable> {
        let prints = self.prints().await?;
        let mut begun = self.begin_under(&prints, wanted).await;
        if begun.is_err() {
            // One that has forgotten its secret has another by now.
            let now = self.prints().await?;
            if !Arc::ptr_eq(&now, &prints) {
                begun = self.begin_under(&now, wanted).await;
            }
        }
        self.seen(begun)
    }

    async fn begin_under(
        &self,
        prints: &Arc<Fingerprints>,
        wanted: &Wanted<'_>,
    ) -> Result<Begun, Unavailable> {
        let reading = read(prints, self.shared.spaces.find(prints, &wanted.space), wanted);
        let id = Id::random();
        let by = match wanted.name {
            // Nothing can be known of a beginning.
            None if reading.sent.is_first() => return Ok(self.unknown(id, reading, None)),
            None if wanted.space.is_run() => {
                return Box::pin(self.begin_run(prints, id, wanted, reading)).await;
            }
            None if self.shared.store.lacks(&reading.root) => {
                return Ok(self.unknown(id, reading, Some(Reason::Unknown)));
            }
            None => By::Head { head: reading.sent.before, root: reading.root },
            Some(Name::Given(name)) => {
                By::Name { name: prints.name(reading.space, name), space: reading.space, id }
            }
            Some(Name::Own(id)) => By::Id { id: *id, space: reading.space },
            Some(Name::Nobodys) => return Ok(Begun::NotFound),
        };
        let claimed = self.shared.store.claim(by, LEASE).await?;
        Ok(match (claimed, wanted.name) {
            (Claimed::Lent { lease, entry, abandoned }, _) => {
                self.lent(self.hold(lease), &entry, abandoned, wanted, reading)
            }
            (Claimed::Absent { .. }, Some(_)) => Begun::NotFound,
            (Claimed::Absent { begun }, None) => {
                let reason = if begun { Reason::Edited } else { Reason::Unknown };
                self.unknown(id, reading, Some(reason))
            }
            (Claimed::Ambiguous, _) => self.unknown(id, reading, Some(Reason::Ambiguous)),
            (Claimed::Busy(_), None) => self.unknown(id, reading, Some(Reason::Edited)),
            (Claimed::Busy(wait), Some(_)) => Begun::Busy(wait),
        })
    }

    /// Everything to a fresh conversation that is remembered as a new one.
    fn unknown(&self, id: Id, reading: Reading, reason: Option<Reason>) -> Begun {
        let (plan, note) = fresh(&reading.sent, reason);
        let before = Record { owner: Arc::clone(&reading.owner), ..Record::default() };
        let thread = Thread::new(id, self.opening(before, note, reading));
        Begun::Planned { plan, thread: Box::new(thread) }
    }

    /// Whatever becomes of a conversation that was lent.
    fn lent(
        &self,
        hold: Hold,
        entry: &Entry,
        abandoned: bool,
        wanted: &Wanted<'_>,
        reading: Reading,
    ) -> Begun {
        let mut record = Record::from_bytes(&entry.value)
            .unwrap_or_else(|| Record { owner: Arc::clone(&reading.owner), ..Record::default() });
        match wanted.name {
            Some(Name::Given(name)) => record.name = Some(name.clone()),
            Some(Name::Own(_)) => record.by_id = record.name.is_none(),
            Some(Name::Nobodys) | None => {}
        }
        // A turn came after one that was cut, and waited for its end before it
        // went on: as far as anybody knows, that one counts.
        if abandoned && let (State::Cut(chat), Some(place)) = (&record.state, &mut record.place) {
            place.chat.clone_from(chat);
        }
        let (plan, note) = if wanted.space.is_run() {
            plan_run(&reading.sent, &record, abandoned, wanted.now)
        } else {
            plan(&reading.sent, &record, abandoned, wanted.history_rounds, wanted.now)
        };
        let added = match &plan {
            _ if !reading.sent.delta => None,
            Plan::Continue { new, .. } | Plan::Resume { new, .. } | Plan::Rebuild { new, .. } => {
                Some(new.clone())
            }
            // The next run of a workflow that has asked before.
            Plan::Fresh if record.place.is_some() => Some(reading.sent.new_messages(&record)),
            _ => None,
        };
        // Put back, it would still be one whose last turn nobody knows.
        if abandoned {
            record.state = State::Failed;
        }
        let mut opening = self.opening(record, note, reading);
        if let Some(new) = added {
            // The new messages go on top of what there is.
            let known = self.known_prints().zip(opening.before.head).filter(|_| !is_cut(&plan));
            opening.chain = known.map(|(prints, head)| {
                let mut chain = prints.chain_after(head);
                let messages = wanted.prompt.messages.get(new).unwrap_or_default();
                messages.iter().for_each(|message| chain.push(message));
                chain
            });
        }
        let thread = Thread::lent(hold, opening, &plan);
        Begun::Planned { plan, thread: Box::new(thread) }
    }

    fn opening(&self, before: Record, note: Note, reading: Reading) -> Opening {
        let Reading { space, owner: _, sent, chain, root } = reading;
        Opening {
            memory: self.clone(),
            space,
            before,
            chain: Some(chain),
            root: Some(root),
            system: sent.system,
            messages: sent.messages,
            note,
            delta: sent.delta,
        }
    }

    async fn prints(&self) -> Result<Arc<Fingerprints>, Unavailable> {
        let secret = match self.shared.store.known_secret() {
            Some(secret) => secret,
            None => self.seen(self.shared.store.secret().await)?,
        };
        let mut known = self.shared.prints.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((same, prints)) if *same == secret => Ok(Arc::clone(prints)),
            _ => {
                let prints = Arc::new(Fingerprints::new(&secret));
                *known = Some((secret, Arc::clone(&prints)));
                Ok(prints)
            }
        }
    }

    fn known_prints(&self) -> Option<Arc<Fingerprints>> {
        let known = self.shared.prints.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|(_, prints)| Arc::clone(prints))
    }

    fn hold(&self, lease: Lease) -> Hold {
        self.leases().insert(lease);
        Hold { lease, memory: self.clone() }
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, HashSet<Lease>> {
        self.shared.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a plan goes on with Coze's words instead of the client's.
fn is_cut(plan: &Plan) -> bool {
    matches!(plan, Plan::Continue { after: Some(_), .. })
}

/// Reads a prompt once.
fn read(prints: &Fingerprints, (space, owner): (Key, Arc<Owner>), wanted: &Wanted<'_>) -> Reading {
    let Wanted { name, whole, prompt, .. } = wanted;
    let messages = &prompt.messages;
    let last = messages.iter().rposition(|message| message.role == Role::Assistant);
    let new = last.map_or(0, |last| last + 1);
    let mut chain = prints.chain(space);
    let (mut root, mut before) = (None, chain.head());
    for (index, message) in messages.iter().enumerate() {
        if index == new {
            before = chain.head();
        }
        if root.is_none() && message.role == Role::Assistant {
            root = Some(chain.head());
        }
        chain.push(message);
    }
    let system = match (&prompt.variable, prompt.pinned) {
        (Some((_, text)), _) => Some(prints.system(text)),
        (None, 0) => None,
        (None, _) => messages.first().map(|message| prints.system(&message.text)),
    };
    let sent = Sent {
        // An assistant's message says that it is the transcript, even one that
        // is empty: its question was sent before.
        delta: name.is_some() && !whole && new == 0 && !prompt.answered,
        messages: messages.len(),
        pinned: prompt.pinned,
        new,
        own: prompt.question.is_some_and(|index| index + 1 == messages.len()),
        before,
        system,
    };
    Reading { space, owner, sent, root: root.unwrap_or_else(|| chain.head()), chain }
}

#[cfg(test)]
mod tests;
