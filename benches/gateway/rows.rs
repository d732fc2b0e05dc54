//! The rows, by what is measured.

pub(crate) mod cost;
pub(crate) mod held;
pub(crate) mod program;
pub(crate) mod rate;
pub(crate) mod wait;

use crate::servers::{Programs, Server};
use crate::table::Table;

/// What all rows need.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) mock: Server,
    pub(crate) table: Table,
    /// Whether it has to be quick.
    pub(crate) quick: bool,
}

impl Bench {
    /// The one if there is time, the other if it has to be quick.
    pub(crate) fn effort(&self, thorough: usize, quick: usize) -> usize {
        if self.quick { quick } else { thorough }
    }
}
