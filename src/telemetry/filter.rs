//! Which events are logged.
//!
//! In comes text in the form of `RUST_LOG`, out goes the filter. It knows
//! targets and levels: spans, of which there are none, cannot be named, and
//! so no regular expressions are needed.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// A filter that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A part is neither a level, nor a target, nor one with the other.
    #[error("{0:?} is not of the form TARGET=LEVEL, LEVEL or TARGET")]
    Form(String),
    /// There is no such level.
    #[error("there is no level {0:?}: expected off, error, warn, info, debug or trace")]
    Level(String),
}

/// The filter that a text stands for. Of two parts for the same target the
/// last one counts.
pub(super) fn targets(text: &str) -> Result<Targets, FilterError> {
    let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.try_fold(Targets::new(), |targets, part| {
        let (target, level) = directive(part)?;
        Ok(match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        })
    })
}

/// A part: of which target, and how much of it. A target alone is all of it.
fn directive(part: &str) -> Result<(Option<&str>, LevelFilter), FilterError> {
    let is_target = |name: &str| {
        let is_first = |c: char| c.is_alphanumeric() || matches!(c, '-' | ':' | '_');
        name.starts_with(is_first) && !name.contains(['[', ']', '{', '}', '='])
    };
    let (target, level) = match part.split_once('=') {
        Some((target, level)) => (target.trim_end(), level.trim_start()),
        None => match part.parse() {
            Ok(level) => return Ok((None, level)),
            Err(_) => (part, ""),
        },
    };
    if !is_target(target) {
        return Err(FilterError::Form(part.to_owned()));
    }
    let level = match level {
        "" => LevelFilter::TRACE,
        level => level.parse().map_err(|_| FilterError::Level(level.to_owned()))?,
    };
    Ok((Some(target), level))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn passes(filter: &str, target: &str, level: Level) -> bool {
        targets(filter).unwrap().would_enable(target, &level)
    }

    #[test]
    fn a_level_is_for_all_targets() {
        for filter in ["info", "INFO", "3", " info ", "info,", ",info", "debug,info"] {
            assert!(passes(filter, "cozeway::http", Level::INFO), "{filter}");
            assert!(!passes(filter, "cozeway::http", Level::DEBUG), "{filter}");
        }
        assert!(!passes("off", "cozeway", Level::ERROR));
    }

    #[test]
    fn the_longest_target_counts_whatever_the_order() {
        for filter in ["info,cozeway::access=off,cozeway=debug", "cozeway=debug, cozeway::access=off, info"] {
            assert!(passes(filter, "cozeway::http", Level::DEBUG), "{filter}");
            assert!(!passes(filter, "cozeway::access", Level::ERROR), "{filter}");
            assert!(passes(filter, "hyper", Level::INFO), "{filter}");
            assert!(!passes(filter, "hyper", Level::DEBUG), "{filter}");
        }
    }

    #[test]
    fn a_target_alone_is_all_of_it_and_nothing_else() {
        for filter in ["cozeway", "cozeway=", "cozeway=trace", "cozeway = trace", "cozeway=off,cozeway"] {
            assert!(passes(filter, "cozeway::http", Level::TRACE), "{filter}");
            assert!(!passes(filter, "hyper", Level::ERROR), "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_said_to_be_none() {
        for part in ["?", "=info", "[span]=info", "cozeway[{id=7}]=info", "cozeway=a=b"] {
            let error = targets(&format!("info,{part}")).unwrap_err();
            assert!(error.to_string().contains('"'), "{part}: {error}");
        }
        assert_eq!(targets("cozeway=loud").unwrap_err(), FilterError::Level("loud".to_owned()));
        assert_eq!(targets("[span]=info").unwrap_err(), FilterError::Form("[span]=info".to_owned()));
    }
}
