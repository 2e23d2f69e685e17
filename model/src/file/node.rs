//! The operator's file as a tree of nodes, each with the place where it stands. It knows nothing of YAML's syntax and
//! nothing of what the keys mean.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// A line and column of the file, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The line.
    pub(super) line: u32,
    /// The column.
    pub(super) column: u32,
}

impl Place {
    /// The beginning of the file.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// A value and where the operator wrote it.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) place: Place,
}

impl<T: JsonSchema> JsonSchema for At<T> {
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

/// One node of the file.
pub(super) type Node = At<Value>;

/// What a node holds. There is no `Debug`: any text may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; `whole` where it is one that fits, `text` as it was written.
    Number {
        /// The number, if it is whole and not negative.
        whole: Option<u64>,
        /// As it was written.
        text: String,
    },
    /// Anything else that is not a collection.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; keys may repeat.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: At<String>,
    /// The value.
    pub(super) value: Node,
}

impl Value {
    /// What the operator wrote, in words that name the kind and never the content.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number { .. } => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The text of anything that can be read as one: texts, numbers and booleans as they were written.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number { text, .. } => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}
