//! `cozeway key NAME`: a new client key.

use super::{Stop, explain, print};
use crate::config::key_name_fault;
use crate::secret::{Digest, Secret};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the key is called in the config: a-z, 0-9, - and _, at most 32
    name: String,
}

/// Prints the key and its entry on standard output, advice on standard error.
pub(super) fn run(args: Args) -> Result<(), Stop> {
    if let Some(reason) = key_name_fault(&args.name) {
        return Err(Stop::Wrong(format!("cozeway key: {reason}")));
    }
    let key = new_key().map_err(|error| anyhow::anyhow!("there is no randomness: {error}"))?;
    let digest = Digest::of(key.expose()).to_hex();
    print(&format!("{}\n\n[keys.{}]\nsha256 = \"{digest}\"\n", key.expose(), args.name))?;
    explain("The first line is the key: it is shown only this once. The rest belongs into the config.");
    Ok(())
}

fn new_key() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Secret::new(format!("sk-cozeway-{digits}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_long_and_never_the_same() {
        let key = new_key().unwrap();
        assert_eq!(key.expose().len(), "sk-cozeway-".len() + 64);
        assert!(key != new_key().unwrap());
    }
}
