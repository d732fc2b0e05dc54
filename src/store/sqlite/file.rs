//! Opening the file: whose it is, who may read it, what form it has.
//!
//! In comes a path, out comes a connection to a file that has the tables of
//! this version, or why there is none. A file that is not the gateway's, or
//! is damaged, is never written to.

use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// Says in the file's head that it is the gateway's: `cozw`.
const APPLICATION: i64 = 0x636f_7a77;

/// What leads from each form of the tables to the next; a file of form 0 is
/// new.
const STEPS: &[&str] = &[include_str!("schema.sql"), include_str!("cache.sql")];

/// So long one process waits for another to finish its step.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// The reason, and what to do.
    pub why: Why,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It would stand in no folder.
    #[error("its folder does not exist; create it, or name another path")]
    NoFolder,
    /// The system refuses it.
    #[error("the file cannot be opened for reading and writing ({0}); is it this user's?")]
    Refused(std::io::Error),
    /// It is something else.
    #[error("this is no state file of cozeway and is left alone; name another path")]
    Foreign,
    /// It has tables of a later version.
    #[error(
        "the file has form {0}, and this version knows forms up to {1}; run the newer version, or name another path"
    )]
    Newer(i64, usize),
    /// It cannot be read as it should be.
    #[error(
        "the file is damaged ({0}); put back a copy, or move it away together with its -wal and -shm files: \
         a new one is made, and conversations begin anew"
    )]
    Damaged(rusqlite::Error),
    /// Another process does not let go of it.
    #[error("another process holds the file and does not let go; stop it, or name another path")]
    Held,
    /// The file system lacks what SQLite needs.
    #[error(
        "the file system cannot share memory between processes, as SQLite needs; name a path on a local disk"
    )]
    NoSharing,
    /// Something else, in SQLite's words.
    #[error("SQLite cannot use it: {0}")]
    Other(rusqlite::Error),
    /// There is no random secret for it.
    #[error("the system gives no random bytes: {0}")]
    NoRandom(getrandom::Error),
}

impl From<rusqlite::Error> for Why {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::TypeMismatch) => Self::Damaged(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held,
            None => Self::Damaged(error),
            Some(_) => Self::Other(error),
        }
    }
}

/// Whether another process may have a file open, or was killed while it had:
/// whoever closes it last removes its journal.
pub(super) fn may_be_open(path: &Path) -> bool {
    beside(path, "-wal").exists()
}

/// Opens a file, or makes it.
pub(super) fn open(path: &Path) -> Result<Connection, Why> {
    make(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut file = Connection::open_with_flags(path, flags)?;
    file.busy_timeout(PATIENCE)?;
    check(&file)?;
    // Not before it is known to be ours.
    make_private(path)?;
    let mode: String = file.pragma_update_and_check(None, "journal_mode", "WAL", |mode| mode.get(0))?;
    if mode != "wal" {
        return Err(Why::NoSharing);
    }
    // After a loss of power the last steps may be missing, never half done;
    // what a killed process has committed stays.
    file.pragma_update(None, "synchronous", "NORMAL")?;
    migrate(&mut file)?;
    Ok(file)
}

/// Makes the file, its owner's alone, if there is none.
fn make(path: &Path) -> Result<(), Why> {
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = made.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Why::NoFolder,
        _ => Why::Refused(error),
    })?;
    let is_file = file.metadata().map_err(Why::Refused)?.is_file();
    if is_file { Ok(()) } else { Err(Why::Foreign) }
}

/// Makes the file and what SQLite puts beside it its owner's alone.
fn make_private(path: &Path) -> Result<(), Why> {
    restrict(path)?;
    for end in ["-wal", "-shm"] {
        restrict(&beside(path, end))?;
    }
    Ok(())
}

/// A file that SQLite puts beside its own.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Takes all rights of others at a file, if there is one.
fn restrict(path: &Path) -> Result<(), Why> {
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Why::Refused(error)),
    };
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(Why::Refused)?;
    }
    Ok(())
}

/// Whether a file is the gateway's and of a known form. Only reads.
fn check(file: &Connection) -> Result<(), Why> {
    let number = |name: &str| file.pragma_query_value(None, name, |value| value.get::<_, i64>(0));
    let (application, form) = (number("application_id")?, number("user_version")?);
    let is_empty = number("schema_version")? == 0;
    if application != APPLICATION && !(is_empty && application == 0 && form == 0) {
        return Err(Why::Foreign);
    }
    match usize::try_from(form) {
        Ok(known) if known <= STEPS.len() => Ok(()),
        _ => Err(Why::Newer(form, STEPS.len())),
    }
}

/// Brings the tables to the form of this version.
fn migrate(file: &mut Connection) -> Result<(), Why> {
    let step = file.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been here in the meantime.
    check(&step)?;
    let form: usize = step.pragma_query_value(None, "user_version", |value| value.get(0))?;
    if form < STEPS.len() {
        for tables in STEPS.iter().skip(form) {
            step.execute_batch(tables)?;
        }
        step.pragma_update(None, "application_id", APPLICATION)?;
        step.pragma_update(None, "user_version", STEPS.len())?;
    }
    step.commit()?;
    Ok(())
}

/// The secret of the file, which is made with the file.
pub(super) fn secret(file: &mut Connection) -> Result<[u8; 32], Why> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(Why::NoRandom)?;
    file.execute("INSERT INTO secret VALUES (1, ?1) ON CONFLICT DO NOTHING", [secret])?;
    Ok(file.query_row("SELECT value FROM secret WHERE one = 1", [], |value| value.get(0))?)
}
