//! OpenAI's JSON Schemas.

use std::path::PathBuf;

use jsonschema::Validator;
use serde_json::Value;

/// The validator of `tests/schemas/<name>.schema.json`.
pub(crate) fn validator(name: &str) -> Validator {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/schemas/{name}.schema.json"));
    let text = std::fs::read_to_string(path).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    jsonschema::validator_for(&schema).expect("a valid schema")
}

#[track_caller]
pub(crate) fn assert_valid(validator: &Validator, value: &Value, what: &str) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {value} is against the schema: {errors:#?}");
}
