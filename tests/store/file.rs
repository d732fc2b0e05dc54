//! The store in a file: what it survives, and what it refuses.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cozeway::store::sqlite::{Sqlite, Why};
use cozeway::store::{By, Claimed, Counts, Entry, Id, Outcome, Settled, Store};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::stage::{ABSENT, BEGUN, Folder, HOUR, entry, head, id, key, name};

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(Sqlite::open(path, HOUR).unwrap())
}

#[track_caller]
fn refused(path: &Path) -> (Why, String) {
    let error = Sqlite::open(path, HOUR).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
    (error.why, text)
}

/// Claims what is there and free, for long.
async fn lent(store: &Arc<dyn Store>, by: By) -> (cozeway::store::Lease, Entry, bool) {
    match store.claim(by, HOUR).await.unwrap() {
        Claimed::Lent { lease, entry, abandoned } => (lease, entry, abandoned),
        other => panic!("{other:?}"),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

#[tokio::test]
async fn a_file_keeps_all_when_it_is_opened_again() {
    let folder = Folder::new();
    let (free, held) = (entry(2, 3), entry(4, 5));
    let store = open(&folder.file());
    for entry in [&free, &held] {
        store.insert(entry.clone()).await.unwrap();
    }
    let (lease, ..) = lent(&store, head(4, 5)).await;
    let (named, made, _) = lent(&store, name(7)).await;
    let made = Entry { value: b"named".to_vec(), ..made };
    store.settle(named, Outcome::Keep(made.clone())).await.unwrap();
    let secret = store.secret().await.unwrap();
    drop(store);
    assert!(!beside(&folder.file(), "-wal").exists(), "the file is whole without its journal");

    let store = open(&folder.file());
    assert_eq!(store.secret().await.unwrap(), secret);
    assert_eq!(store.counts().await.unwrap(), Counts { entries: 3, named: 1 });
    assert_eq!(store.claim(head(4, 5), HOUR).await.unwrap(), BEGUN);
    assert_eq!(lent(&store, head(2, 3)).await.1, free);
    assert_eq!(lent(&store, name(7)).await.1, made);
    assert!(matches!(store.claim(id(&held), HOUR).await.unwrap(), Claimed::Busy(_)));
    assert_eq!(store.settle(lease, Outcome::Keep(held.clone())).await.unwrap(), Settled::Done);
    drop(store);
    assert_eq!(lent(&open(&folder.file()), head(4, 5)).await.1, held);
}

/// Where the process that is killed finds its file.
const KILLED: &str = "COZEWAY_TEST_KILLED_FILE";

#[test]
fn what_was_answered_survives_a_kill() {
    let folder = Folder::new();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "file::a_process_that_kills_itself", "--ignored", "--nocapture"])
        .env(KILLED, folder.file())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(child.signal(), Some(9), "{child}");
    assert!(beside(&folder.file(), "-wal").exists(), "nothing was tidied up");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(&folder.file());
        assert_eq!(store.claim(head(1, 1), HOUR).await.unwrap(), BEGUN, "its head never comes back");
        assert_eq!(lent(&store, head(2, 2)).await.1.value, b"inserted");
        assert_eq!(store.claim(head(3, 3), HOUR).await.unwrap(), BEGUN);
        let (lease, settled, abandoned) = lent(&store, head(4, 3)).await;
        assert_eq!((lease.fence, settled.value.as_slice(), abandoned), (2, b"settled".as_slice(), false));
        assert_eq!(store.claim(head(5, 5), HOUR).await.unwrap(), ABSENT);
    });
}

#[test]
#[ignore = "another test runs it as a process of its own"]
fn a_process_that_kills_itself() {
    let path = PathBuf::from(std::env::var_os(KILLED).unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(&path);
        for number in [1, 2, 3, 5] {
            let entry = Entry { value: b"inserted".to_vec(), ..entry(number, number) };
            store.insert(entry).await.unwrap();
        }
        let (lease, known, _) = lent(&store, head(3, 3)).await;
        let known = Entry { head: Some(key(4)), value: b"settled".to_vec(), ..known };
        store.settle(lease, Outcome::Keep(known)).await.unwrap();
        let (lease, ..) = lent(&store, head(5, 5)).await;
        store.settle(lease, Outcome::Drop).await.unwrap();
        lent(&store, head(1, 1)).await;
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    });
}

#[tokio::test]
async fn rows_that_were_replaced_are_removed_in_time() {
    let folder = Folder::new();
    let store = open(&folder.file());
    let mut turns = JoinSet::new();
    for number in 0..200 {
        let store = Arc::clone(&store);
        turns.spawn(async move {
            for _ in 0..60 {
                let (lease, entry, _) = lent(&store, name(number)).await;
                let entry = Entry { head: Some(key(number)), root: Some(key(0)), ..entry };
                assert_eq!(store.settle(lease, Outcome::Keep(entry)).await.unwrap(), Settled::Done);
            }
        });
    }
    turns.join_all().await;
    let rows = || {
        let file = Connection::open(folder.file()).unwrap();
        file.query_row("SELECT count(*) FROM entry", [], |count| count.get::<_, u64>(0)).unwrap()
    };
    let before = rows();
    assert!(before > 200 && before < 9500, "{before} rows of 200 entries");
    drop(store);

    let store = open(&folder.file());
    assert_eq!(store.list(None, 1000).await.unwrap().len(), 200, "what was replaced does not come back");
    assert_eq!(lent(&store, head(9, 0)).await.0.fence, 61);
    for number in 0..200 {
        if number == 9 {
            continue;
        }
        let (lease, ..) = lent(&store, name(number)).await;
        store.settle(lease, Outcome::Drop).await.unwrap();
    }
    drop(store);
    let store = open(&folder.file());
    assert_eq!(store.list(None, 1000).await.unwrap().len(), 1, "nor when what replaced it is gone");
    drop(store);
    assert!(rows() <= 61, "{}", rows());
}

#[tokio::test]
async fn once_a_new_entry_could_not_be_written_the_next_ones_are_waited_for() {
    let folder = Folder::new();
    let store = open(&folder.file());
    store.counts().await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'full'); END";
    Connection::open(folder.file()).unwrap().execute_batch(full).unwrap();
    store.insert(entry(1, 1)).await.expect("nobody waits for it");
    assert_eq!(store.claim(head(1, 1), HOUR).await.unwrap(), ABSENT, "what is asked comes behind it");
    assert_eq!(store.lost(), 1);
    for _ in 0..2 {
        store.insert(entry(2, 2)).await.unwrap_err();
        store.counts().await.expect("what only reads");
    }
    assert_eq!(store.lost(), 1, "who was told so has lost nothing");
    Connection::open(folder.file()).unwrap().execute_batch("DROP TRIGGER full").unwrap();
    store.insert(entry(3, 3)).await.unwrap();
    store.insert(entry(4, 4)).await.unwrap();
    drop(store);
    let store = open(&folder.file());
    for number in [3, 4] {
        lent(&store, head(number, number)).await;
    }
    assert_eq!(store.counts().await.unwrap().entries, 2);
}

#[tokio::test]
async fn a_step_that_fails_fails_alone() {
    let folder = Folder::new();
    let store = open(&folder.file());
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON entry WHEN NEW.value = x'ff' \
                   BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    Connection::open(folder.file()).unwrap().execute_batch(trigger).unwrap();
    let mut inserts = JoinSet::new();
    for number in 0..100 {
        let value = vec![if number % 10 == 3 { 0xff } else { 0 }];
        let entry = Entry { value, ..entry(number, number) };
        let store = Arc::clone(&store);
        inserts.spawn(async move { (number, store.insert_for_good(entry).await) });
    }
    for (number, inserted) in inserts.join_all().await {
        assert_eq!(inserted.is_err(), number % 10 == 3, "{inserted:?}");
        if let Err(error) = inserted {
            assert!(error.to_string().contains("not this one"), "{error}");
        }
    }
    assert_eq!(store.counts().await.unwrap().entries, 90);
    for number in 0..100 {
        let claimed = store.claim(head(number, number), HOUR).await.unwrap();
        assert_eq!(matches!(claimed, Claimed::Lent { .. }), number % 10 != 3);
        assert!(matches!(claimed, Claimed::Lent { .. }) || claimed == ABSENT);
    }
}

#[tokio::test]
async fn while_another_process_holds_the_file_steps_fail_and_then_heal() {
    let folder = Folder::new();
    let store = open(&folder.file());
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = store.insert(entry(2, 3));
    let flood = async {
        let mut flood = JoinSet::new();
        for _ in 0..10_000 {
            let store = Arc::clone(&store);
            flood.spawn(async move { store.counts().await });
        }
        flood.join_next().await.unwrap().unwrap()
    };
    let (held, crowded) = tokio::join!(held, flood);
    let crowded = crowded.unwrap_err();
    assert!(crowded.to_string().contains("4096 steps wait"), "{crowded}");
    let held = held.unwrap_err();
    assert!(held.to_string().contains("locked"), "{held}");
    let (why, _) = refused(&folder.file());
    assert!(matches!(why, Why::Held), "{why:?}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    crate::stage::until(async || store.insert(entry(2, 3)).await.ok()).await;
    lent(&store, head(2, 3)).await;
}

#[tokio::test]
async fn an_index_that_others_have_outrun_learns_what_they_wrote() {
    let folder = Folder::new();
    let (one, two) = (open(&folder.file()), open(&folder.file()));
    for number in 0..=255 {
        one.insert(entry(number, 0)).await.unwrap();
        one.insert(Entry { name: Some(key(number)), ..entry(number, 1) }).await.unwrap();
    }
    // More than one page of rows, and some that were replaced among them.
    for number in 0..=255 {
        let (lease, known, _) = lent(&one, head(number, 1)).await;
        let known = Entry { head: Some(key(number)), root: Some(key(2)), ..known };
        one.settle(lease, Outcome::Keep(known)).await.unwrap();
    }
    for number in 0..=255 {
        assert_eq!(lent(&two, head(number, 2)).await.1.name, Some(key(number)));
        assert_eq!(one.claim(head(number, 2), HOUR).await.unwrap(), BEGUN);
        assert_eq!(two.claim(head(number, 1), HOUR).await.unwrap(), ABSENT);
    }
    assert_eq!(two.counts().await.unwrap(), one.counts().await.unwrap());
}

#[test]
fn the_file_is_its_owners_alone() {
    let folder = Folder::new();
    let path = folder.file();
    std::fs::File::create(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let _store = open(&path);
    for ending in ["", "-wal", "-shm"] {
        let mode = std::fs::metadata(beside(&path, ending)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{ending}");
    }
    let _other = open(&folder.path().join("new.db"));
    let mode = std::fs::metadata(folder.path().join("new.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_needs_its_folder() {
    let folder = Folder::new();
    let (why, text) = refused(&folder.path().join("none/state.db"));
    assert!(matches!(why, Why::NoFolder), "{why:?}");
    assert!(text.ends_with("its folder does not exist; create it, or name another path"), "{text}");
    let (why, _) = refused(folder.path());
    assert!(matches!(why, Why::Refused(_)), "{why:?}");
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let folder = Folder::new();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "Dear diary, this is longer than the head of a database. ".repeat(100)).unwrap();
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE entry (seq INTEGER PRIMARY KEY)").unwrap();
    let numbered = folder.path().join("numbered.db");
    Connection::open(&numbered).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
    for path in [text, other, numbered] {
        let before = std::fs::read(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
        let (why, _) = refused(&path);
        assert!(matches!(why, Why::Foreign), "{why:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o664);
    }
}

#[tokio::test]
async fn a_file_of_the_first_form_is_brought_to_this_one_and_keeps_its_secret() {
    let folder = Folder::new();
    let old = Connection::open(folder.file()).unwrap();
    old.execute_batch(include_str!("../../src/store/sqlite/schema/1.sql")).unwrap();
    old.execute_batch(
        "PRAGMA application_id = 1668250231; PRAGMA user_version = 1;
         INSERT INTO secret VALUES (1, zeroblob(32));
         INSERT INTO entry VALUES (7, NULL, zeroblob(16), NULL, NULL, zeroblob(16), zeroblob(16), 0, 0, x'7b7d');
         INSERT INTO lease VALUES (7, zeroblob(16), NULL, zeroblob(16), 0, 1);
         UPDATE tally SET last = 7, entries = 1, named = 1;",
    )
    .unwrap();
    drop(old);
    for known in 0..2 {
        let store = open(&folder.file());
        assert_eq!(store.secret().await, Ok([0; 32]));
        assert_eq!(store.counts().await.unwrap().entries, known);
        assert_eq!(store.list(None, 9).await.unwrap().len(), usize::try_from(known).unwrap());
        let name = By::Name { name: [0; 16], space: [0; 16], id: Id([1; 16]) };
        let claimed = store.claim(name, Duration::ZERO).await.unwrap();
        assert!(matches!(claimed, Claimed::Lent { .. }), "{claimed:?}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = Folder::new();
    drop(open(&folder.file()));
    Connection::open(folder.file()).unwrap().execute_batch("PRAGMA user_version = 4").unwrap();
    let before = std::fs::read(folder.file()).unwrap();
    let (why, text) = refused(&folder.file());
    assert!(matches!(why, Why::Newer(4, 3)), "{why:?}");
    assert!(text.contains("the file has form 4, and this version knows forms up to 3"), "{text}");
    assert_eq!(std::fs::read(folder.file()).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = Folder::new();
    let store = open(&folder.file());
    for number in 0..200 {
        store.insert(entry(number, number)).await.unwrap();
    }
    drop(store);
    let length = std::fs::metadata(folder.file()).unwrap().len();
    for damage in ["cut", "scribbled over", "without its head"] {
        let path = folder.path().join(damage);
        std::fs::copy(folder.file(), &path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        match damage {
            "cut" => file.set_len(length / 2).unwrap(),
            "scribbled over" => file.write_all_at(&[0xff; 4096], length - 8192).unwrap(),
            _ => file.write_all_at(&[7; 200], 0).unwrap(),
        }
        let (why, text) = refused(&path);
        assert!(matches!(why, Why::Damaged(_) | Why::Foreign), "{damage}: {text}");
    }
}

#[tokio::test]
async fn what_was_inserted_for_good_is_in_the_file_at_once() {
    let folder = Folder::new();
    let store = open(&folder.file());
    // Once it knows that it is alone, it waits for none of the others.
    store.insert(entry(1, 1)).await.unwrap();
    let other = Connection::open(folder.file()).unwrap();
    for number in 2..100 {
        store.insert_for_good(entry(number, number)).await.unwrap();
        let found: u8 = other.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap();
        assert_eq!(found, number);
    }
}

#[tokio::test]
async fn what_no_entry_begins_with_is_known_without_waiting() {
    let folder = Folder::new();
    let store = open(&folder.file());
    // Whoever opens a file that may be open waits, so does the first step.
    store.counts().await.unwrap();
    assert!(store.lacks(&key(3)));
    assert_eq!(store.insert_now(entry(2, 3)), None);
    assert!(!store.lacks(&key(3)), "it is on its way");
    let (lease, ..) = lent(&store, head(2, 3)).await;
    assert!(!store.lacks(&key(3)), "it is lent");
    store.insert_for_good(entry(4, 5)).await.unwrap();
    assert!(!store.lacks(&key(5)));
    drop(store.settle(lease, Outcome::Keep(entry(2, 7))));
    assert!(!store.lacks(&key(7)), "it may be settled so");
    drop(store);

    let store = open(&folder.file());
    store.counts().await.unwrap();
    assert!(!store.lacks(&key(3)) && !store.lacks(&key(5)));
    assert!(store.lacks(&key(9)));
}

#[tokio::test]
async fn what_others_may_have_written_is_looked_for() {
    let folder = Folder::new();
    let (one, other) = (open(&folder.file()), open(&folder.file()));
    other.insert_for_good(entry(2, 3)).await.unwrap();
    one.counts().await.unwrap();
    assert!(!one.lacks(&key(3)));
    assert!(!one.lacks(&key(9)), "there is company");
}
