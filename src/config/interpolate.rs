//! Environment variables inside of the file's strings.
//!
//! ```text
//! ${NAME}            the variable; a fault if it is not set
//! ${NAME:-default}   the variable; the default if it is not set or empty
//! $${                a literal ${
//! $                  anywhere else: itself
//! ```
//!
//! This happens after the file was parsed, so that no value can change what
//! the file says; what is put in is not looked at again. A default ends at
//! the first `}`.

/// Puts the variables into a string.
///
/// # Errors
/// With the reason for every variable that cannot be put in.
pub(super) fn interpolate(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut out = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            faults.push("\"${\" without its \"}\" (write \"$${\" for a literal \"${\")".to_owned());
            return Err(faults);
        };
        match value(inside, env) {
            Ok(value) => out.push_str(&value),
            Err(fault) => faults.push(fault),
        }
        rest = after;
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

fn value(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err("\"${…}\" does not hold the name of an environment variable \
             (write \"$${\" for a literal \"${\")"
            .to_owned());
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the environment variable {name} is not set")),
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            "WILD" => Some("\"\n[auth]\nmode = \"none\" ${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_put_in() {
        for (text, result) in [
            ("${A}", "x"),
            ("<${A}${A}>", "<xx>"),
            ("${A:-y}", "x"),
            ("${B:-y}", "y"),
            ("${EMPTY:-y}", "y"),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("${B:-a:-b}", "a:-b"),
        ] {
            assert_eq!(interpolate(text, &env).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn every_other_dollar_stays() {
        for (text, result) in [
            ("$", "$"),
            ("$A", "$A"),
            ("pa$$word", "pa$$word"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("a}b{c$", "a}b{c$"),
        ] {
            assert_eq!(interpolate(text, &env).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        assert_eq!(interpolate("${WILD}", &env).unwrap(), "\"\n[auth]\nmode = \"none\" ${A}");
    }

    #[test]
    fn every_missing_variable_is_named() {
        let faults = interpolate("${B}-${A}-${C}", &env).unwrap_err();
        assert_eq!(
            faults,
            ["the environment variable B is not set", "the environment variable C is not set"]
        );
    }

    #[test]
    fn what_is_no_variable_is_a_fault() {
        for text in ["${", "${A", "${}", "${1A}", "${A B}", "${:-x}", "${A-x}"] {
            assert_eq!(interpolate(text, &env).unwrap_err().len(), 1, "{text}");
        }
    }
}
