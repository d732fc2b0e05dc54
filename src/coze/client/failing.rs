//! What becomes of errors on the way to Coze.
//!
//! In come errors of connections, out come failures and what else is to be
//! known of them.

use super::exchange::Broken;
use crate::turn::{Failure, Kind};

/// The answer came to no good end.
pub(super) fn broke_off(error: &Broken) -> Failure {
    broken("The connection to Coze broke off in the middle of the answer.", error)
}

pub(super) fn sending_failed(error: &Broken) -> Failure {
    broken("The connection to Coze broke off before it answered.", error)
}

fn broken(message: &str, error: &Broken) -> Failure {
    let mut failure = Failure::new(Kind::Broken, message).with_detail(error.to_string());
    failure.may_be_running = true;
    failure
}

/// Whether an error is that no more files may be opened.
pub(super) fn is_out_of_files(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let number = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
            if matches!(number, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) {
                return true;
            }
        }
        cause = error.source();
    }
    false
}

/// An error with all its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
