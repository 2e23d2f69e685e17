//! The JSON Schema of bindings.yaml, made from the raw structs, for editors (`postern schema`). It describes the shape;
//! what refers to what is only judged by the reader.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use super::raw::RawFile;

/// The schema, with a description for every key. Unknown keys are not allowed anywhere.
#[must_use]
pub fn schema() -> Value {
    // yaml-language-server reads draft 7 best.
    let settings = SchemaSettings::draft07();
    let mut schema = settings.into_generator().into_root_schema_for::<RawFile>();
    RecursiveTransform(without_null).transform(&mut schema);
    schema.insert("title".to_owned(), Value::from("bindings.yaml"));
    schema.to_value()
}

/// A key that may be missing may still not be empty: `paths:` with nothing behind it would look like a limit.
fn without_null(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
    if let [only] = branches.as_slice() {
        // One branch beside a description: draft 7 ignores what stands beside a `$ref`, so it stays in a list.
        let only = only.clone();
        object.remove("anyOf");
        object.insert("allOf".to_owned(), Value::Array(vec![only]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::content_of;
    use super::*;

    fn visit_properties(schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        match schema {
            Value::Object(object) => {
                if let Some(Value::Object(properties)) = object.get("properties") {
                    assert_eq!(object.get("additionalProperties"), Some(&Value::Bool(false)), "{object:?}");
                    properties.iter().for_each(|(key, property)| visit(key, property));
                }
                object.values().for_each(|value| visit_properties(value, visit));
            }
            Value::Array(items) => items.iter().for_each(|item| visit_properties(item, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_key_has_a_description() {
        let mut keys = 0;
        visit_properties(&schema(), &mut |key, property| {
            let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(description.ends_with('.'), "{key}: {property}");
            keys += 1;
        });
        assert!(keys > 60, "{keys}");
    }

    #[test]
    fn the_mask_knows_every_key() {
        visit_properties(&schema(), &mut |key, _| assert!(content_of(key).is_some(), "{key}"));
    }

    #[test]
    fn nothing_may_be_null() {
        assert!(!schema().to_string().contains("\"null\""));
    }
}
