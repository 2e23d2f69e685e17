//! From nodes to the raw structs: wrong kinds, unknown, repeated and missing keys, each reported with its place. It judges
//! shape only and never repeats a value.

use std::borrow::Cow;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::nearest::nearest;
use super::node::{At, Entry, Node, Place, Value};
use super::report::Report;

/// Something that a node can be read into.
pub(super) trait Read: Sized {
    /// Reads the node. `None` after a report of what is wrong.
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self>;

    /// What a missing key means; `None` for a key that must be there.
    fn absent() -> Option<Self> {
        None
    }
}

/// Reports that something else was expected here.
pub(super) fn mismatch(node: &Node, expected: &str, help: Option<&str>, report: &mut Report<'_>) {
    let message = format!("expected {expected}, found {}", node.value.kind());
    report.error(node.place, message, help.map(str::to_owned));
}

/// What helps where a key is missing.
const MISSING_HELP: &[(&str, &str)] = &[
    ("version", "begin the file with \"version: 1\""),
    ("bindings", "to bind nothing, write \"bindings: []\""),
    ("auth", "for example: auth: {type: bearer, token: {env: NAME}}"),
    ("token", "for example: token: {env: NAME}"),
    ("password", "for example: password: {env: NAME}"),
    ("value", "for example: value: {env: NAME}"),
    ("client_id", "for example: client_id: {env: NAME}; an id that is no secret may stand here as it is"),
    ("refresh_token", "the first one, for example: refresh_token: {sealed: NAME}; it is kept and rotated from then on"),
    ("key", "the JSON key file, for example: key: {file: PATH}"),
    ("private_key", "the app's private key, for example: private_key: {file: PATH}"),
    ("command", "for example: command: [/usr/local/bin/token-helper, --json]"),
    ("subject_token_type", "for example: subject_token_type: urn:ietf:params:oauth:token-type:access_token"),
];

fn missing_help(key: &str) -> Option<String> {
    MISSING_HELP.iter().find(|(missing, _)| *missing == key).map(|(_, help)| (*help).to_owned())
}

/// The entries of one map, checked against the keys that belong there.
pub(super) struct Fields<'n> {
    node: &'n Node,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// Checks the map's keys: `later` are those of a later version.
    pub(super) fn of(node: &'n Node, keys: &[&str], later: &[&str], report: &mut Report<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            mismatch(node, "a map", None, report);
            return None;
        };
        for Entry { key, .. } in entries {
            if later.contains(&key.value.as_str()) {
                report.error(key.place, not_yet(&format!("\"{}\"", key.value)), None);
            } else if !keys.contains(&key.value.as_str()) {
                let message = format!("unknown key {}", report.quote(key));
                let help = report.suggest(&key.value, keys.iter().copied(), "valid here");
                report.error(key.place, message, help);
            }
        }
        report_repeated(entries, "key", report);
        Some(Self { node, entries })
    }

    /// Reads one key's value.
    pub(super) fn take<T: Read>(&self, key: &str, report: &mut Report<'_>) -> Option<T> {
        let Some(entry) = self.entries.iter().find(|entry| entry.key.value == key) else {
            let absent = T::absent();
            if absent.is_none() {
                report.error(self.node.place, format!("missing key \"{key}\""), missing_help(key));
            }
            return absent;
        };
        if matches!(entry.value.value, Value::Null) {
            let help = missing_help(key).or_else(|| Some("give it one, or remove the key".to_owned()));
            report.error(entry.key.place, format!("\"{key}\" has no value"), help);
            return T::absent();
        }
        T::read(&entry.value, report)
    }
}

/// The message for a documented key or value that this version does not know what to do with.
pub(super) fn not_yet(what: &str) -> String {
    format!("{what} is not supported by this version of postern yet")
}

fn report_repeated(entries: &[Entry], what: &str, report: &mut Report<'_>) {
    let mut first = std::collections::HashMap::with_capacity(entries.len());
    for Entry { key, .. } in entries {
        let first = *first.entry(key.value.as_str()).or_insert(key.place);
        if first != key.place {
            let message = format!("the {what} {} is given twice", report.quote(key));
            report.error(key.place, message, Some(format!("it is given first on line {}", first.line)));
        }
    }
}

/// A thing with several keys, and whether all in it could be read. One that is not sound is still checked as far as it
/// goes, but nothing else is compared with it.
pub(super) struct Item<T> {
    /// The thing.
    pub(super) value: T,
    /// Where it begins.
    pub(super) place: Place,
    /// Whether nothing in it was wrong.
    pub(super) sound: bool,
}

impl<T: Read> Read for Item<T> {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let errors = report.errors();
        let value = T::read(node, report)?;
        Some(Self { value, place: node.place, sound: report.errors() == errors })
    }
}

/// Entries under names that the operator chose, in the order of the file; `None` for one that could not be read at all.
pub(super) struct Named<T>(pub(super) Vec<(At<String>, Option<Item<T>>)>);

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            mismatch(node, "a map from names", None, report);
            return None;
        };
        report_repeated(entries, "name", report);
        let entry = |Entry { key, value }: &Entry| (key.clone(), Item::read(value, report));
        Some(Self(entries.iter().map(entry).collect()))
    }
}

impl<T: JsonSchema> JsonSchema for Item<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NamedOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        Some(T::read(node, report))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        Some(Self { value: T::read(node, report)?, place: node.place })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let help = matches!(node.value, Value::Text(_)).then_some("put it in brackets: […]");
            mismatch(node, "a list", help, report);
            return None;
        };
        Some(items.iter().filter_map(|item| T::read(item, report)).collect())
    }
}

impl Read for String {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let text = node.value.as_text();
        if text.is_none() {
            mismatch(node, "a text", None, report);
        }
        text.map(str::to_owned)
    }
}

impl Read for bool {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let Value::Bool(value) = node.value else {
            mismatch(node, "true or false", None, report);
            return None;
        };
        Some(value)
    }
}

impl Read for u32 {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let Value::Number { whole, .. } = node.value else {
            mismatch(node, "a number", None, report);
            return None;
        };
        let number = whole.and_then(|whole| u32::try_from(whole).ok());
        if number.is_none() {
            report.error(node.place, format!("expected a whole number from 0 to {}", u32::MAX), None);
        }
        number
    }
}

impl Read for NonZeroU32 {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let number = Self::new(u32::read(node, report)?);
        if number.is_none() {
            report.error(node.place, "expected a number greater than 0", None);
        }
        number
    }
}

/// Something that is read from some keys of a map, perhaps beside others.
pub(super) trait Keyed: Sized {
    /// Its keys.
    fn keys() -> Vec<&'static str>;

    /// Reads all of them. `None` after a report of what is wrong.
    fn take(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Self>;

    /// Their descriptions, as the schema of a map with just these keys.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// Nothing besides what stands beside it.
impl Keyed for () {
    fn keys() -> Vec<&'static str> {
        Vec::new()
    }

    fn take(_: &Fields<'_>, _: &mut Report<'_>) -> Option<Self> {
        Some(())
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "properties": {}, "additionalProperties": false })
    }
}

/// Two groups of keys in one map.
impl<A: Keyed, B: Keyed> Keyed for (A, B) {
    fn keys() -> Vec<&'static str> {
        [A::keys(), B::keys()].concat()
    }

    fn take(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Self> {
        // Both are read before the first failure counts.
        let (one, other) = (A::take(fields, report), B::take(fields, report));
        Some((one?, other?))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = A::schema(generator);
        add_keys(&mut schema, B::schema(generator));
        schema
    }
}

/// Adds the keys of one schema of a map to another.
pub(super) fn add_keys(schema: &mut Schema, mut other: Schema) {
    use serde_json::{Map, Value};

    let schema = schema.ensure_object();
    if let Some(Value::Object(added)) = other.remove("properties")
        && let Some(properties) =
            schema.entry("properties").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
    {
        properties.extend(added);
    }
    if let Some(Value::Array(added)) = other.remove("required")
        && let Some(required) = schema.entry("required").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
    {
        required.extend(added);
    }
}

/// Declares structs of bindings.yaml: each field is a key, its doc comment the description in the schema, and an
/// `Option` a key that may be missing. `later` names documented keys that this version refuses.
macro_rules! raw {
    ($(
        $(#[$meta:meta])*
        struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $kind:ty,)*
        }
        $(later $($later:literal)+;)?
    )*) => {$(
        #[derive(schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        pub(super) struct $name {
            $($(#[$field_meta])* pub(super) $field: $kind,)*
        }

        impl $crate::file::read::Keyed for $name {
            fn keys() -> Vec<&'static str> {
                vec![$($crate::file::read::key(stringify!($field))),*]
            }

            fn take(
                fields: &$crate::file::read::Fields<'_>,
                report: &mut $crate::file::report::Report<'_>,
            ) -> Option<Self> {
                // All of them are read before the first failure counts.
                $(let $field = fields.take($crate::file::read::key(stringify!($field)), report);)*
                Some(Self { $($field: $field?),* })
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <Self as schemars::JsonSchema>::json_schema(generator)
            }
        }

        impl $crate::file::read::Read for $name {
            fn read(
                node: &$crate::file::node::Node,
                report: &mut $crate::file::report::Report<'_>,
            ) -> Option<Self> {
                use $crate::file::read::Keyed as _;
                let fields = $crate::file::read::Fields::of(node, &Self::keys(), &[$($($later),+)?], report)?;
                Self::take(&fields, report)
            }
        }
    )*};
}
pub(super) use raw;

/// A field's name as the key in the file: `r#type` is `type`.
pub(super) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Reports that a value is none of the words that it may be.
pub(super) fn report_choice(words: &[&str], found: Option<&str>, node: &Node, report: &mut Report<'_>) {
    let expected = match words {
        [front @ .., last] if !front.is_empty() => format!("{} or {last}", front.join(", ")),
        words => words.concat(),
    };
    let meant = found.and_then(|found| nearest(found, words.iter().copied()));
    let help = meant.map(|meant| format!("did you mean \"{meant}\"?"));
    report.error(node.place, format!("expected {expected}"), help);
}

/// Declares a value that is one of a few words, each with its description.
macro_rules! choice {
    ($(
        $(#[$meta:meta])*
        enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, schemars::JsonSchema)]
        pub(super) enum $name {
            $($(#[$variant_meta])* #[schemars(rename = $word)] $variant,)*
        }

        impl $crate::file::read::Read for $name {
            fn read(
                node: &$crate::file::node::Node,
                report: &mut $crate::file::report::Report<'_>,
            ) -> Option<Self> {
                match node.value.as_text() {
                    $(Some($word) => Some(Self::$variant),)*
                    found => {
                        $crate::file::read::report_choice(&[$($word),*], found, node, report);
                        None
                    }
                }
            }
        }
    )*};
}
pub(super) use choice;
