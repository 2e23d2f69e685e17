//! YAML text to nodes, within fixed bounds; the one file that names the YAML crate. It refuses several documents, merge
//! keys and unknown tags, and repeats no content of the file in its messages.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::granit_parser::ErrorKind;
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Error, ExternalMessageSource, Location, Options, Spanned};

use super::node::{At, Entry, Node, Place, Value};

/// The deepest nesting; the schema itself needs 6.
const DEPTH_MAX: usize = 32;
/// The most nodes, those that aliases repeat included; 20 000 bindings have about 300 000.
const NODES_MAX: usize = 1_000_000;
/// The most parser events: nodes, and the end of each collection.
const EVENTS_MAX: usize = 2 * NODES_MAX;
/// The most `*alias` uses.
const ALIASES_MAX: usize = 1_000;
/// The most nodes that all aliases together may repeat.
const ALIAS_EVENTS_MAX: usize = 100_000;

/// Why the text is not one YAML document within the bounds.
pub(super) struct Fault {
    /// Where the parser stopped.
    pub(super) place: Place,
    /// What is wrong, without any content of the file.
    pub(super) message: &'static str,
    /// What to do about it.
    pub(super) help: Option<&'static str>,
}

/// Parses the text into nodes. An empty document is [`Value::Null`].
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let tree = serde_yaml::from_str_with_options(text, options()).map_err(|error| fault(&error))?;
    Ok(node(tree, text))
}

fn options() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: EVENTS_MAX,
            max_aliases: ALIASES_MAX,
            max_documents: 2,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: ALIAS_EVENTS_MAX },
        emit_comments: false,
        // Repeated keys are reported by the reader, all of them and with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        // Snippets would print neighbouring lines, and with them secrets.
        with_snippet: false,
    }
}

/// The tree as the YAML crate gives it: numbers without their spelling, which is taken from the text afterwards.
enum Tree {
    Null,
    Bool(bool),
    Number(Option<u64>),
    Text(String),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<Tree>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(Some(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(u64::try_from(value).ok()))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Tree, E> {
        Ok(Tree::Number(None))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Tree, E> {
        Ok(Tree::Number(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Number(None))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry::<Spanned<Tree>, Spanned<Tree>>()? {
            if matches!(entry.0.value, Tree::List(_) | Tree::Map(_)) {
                return Err(A::Error::custom(COLLECTION_AS_KEY));
            }
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

const COLLECTION_AS_KEY: &str = "a key must be a plain text, not a list or a map";

fn node(tree: Spanned<Tree>, text: &str) -> Node {
    let written = || written(tree.defined, text).to_owned();
    let value = match tree.value {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(value),
        Tree::Number(whole) => Value::Number { whole, text: written() },
        Tree::Text(text) => Value::Text(text),
        Tree::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Tree::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| entry(key, value, text)).collect()),
    };
    At { value, place: place(Some(tree.defined)) }
}

fn entry(key: Spanned<Tree>, value: Spanned<Tree>, text: &str) -> Entry {
    let key = node(key, text);
    let place = key.place;
    let value = node(value, text);
    Entry { key: At { value: key.value.as_text().unwrap_or_default().to_owned(), place }, value }
}

/// The characters of the file that a node was read from.
fn written(location: Location, text: &str) -> &str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(offset, length)| {
        let offset = usize::try_from(offset).ok()?;
        text.get(offset..offset.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default().trim()
}

fn place(location: Option<Location>) -> Place {
    let Some(location) = location.filter(|location| location.line() > 0) else { return Place::START };
    let clamp = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Place { line: clamp(location.line()), column: clamp(location.column()) }
}

/// Translates the crate's error. Its own words are not used: they may quote the file.
fn fault(error: &Error) -> Fault {
    let (message, help) = match innermost(error) {
        Error::MultipleDocuments { .. } => {
            ("the file holds more than one YAML document", Some("remove the \"---\" between them"))
        }
        Error::MergeKeyNotAllowed { .. } => {
            ("merge keys (\"<<\") are not accepted", Some("write the keys out, so that each entry says what it grants"))
        }
        Error::UnsupportedTag { .. } | Error::UnsupportedIncludeForm { .. } => {
            ("YAML tags (\"!…\") are not accepted here", Some("remove the tag"))
        }
        Error::UnknownAnchor { .. } => ("this alias names an anchor that does not exist", None),
        Error::RecursiveReferencesRequireWeakTypes { .. } => ("this alias refers to itself", None),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => TOO_MANY_ALIASES,
        Error::Budget { breach, .. } => breached(breach),
        Error::Message { msg, .. } if msg == COLLECTION_AS_KEY => (COLLECTION_AS_KEY, None),
        Error::ExternalMessage { source, .. } => match &**source {
            ExternalMessageSource::Parser(error) => syntax(error.kind()),
            _ => NOT_YAML,
        },
        Error::Eof { .. } => ("the file ends too early", None),
        _ => NOT_YAML,
    };
    Fault { place: place(error.location()), message, help }
}

fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

type Words = (&'static str, Option<&'static str>);

const NOT_YAML: Words = ("this is not valid YAML", None);
const TOO_MANY_ALIASES: Words = ("the aliases (\"*…\") repeat too much", Some("write the entries out"));
const TOO_DEEP: Words = ("the nesting is too deep", None);

fn breached(breach: &BudgetBreach) -> Words {
    match breach {
        BudgetBreach::Depth { .. } => TOO_DEEP,
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            TOO_MANY_ALIASES
        }
        BudgetBreach::Documents { .. } => ("the file holds more than one YAML document", None),
        BudgetBreach::SequenceUnbalanced => NOT_YAML,
        _ => ("the file holds too many entries", None),
    }
}

fn syntax(kind: &ErrorKind) -> Words {
    match kind {
        ErrorKind::RecursionLimitExceeded => TOO_DEEP,
        ErrorKind::UnknownAnchor => ("this alias names an anchor that does not exist", None),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => ("a tab stands where YAML wants spaces", Some("indent with spaces")),
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("a quotation mark is never closed", None)
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::MisplacedFlowCollectionEnd => {
            ("a bracket is not closed, closed twice, or a comma is missing before this", None)
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::MappingKeyNotAllowed => ("the indentation does not fit the lines above", None),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("a key is expected here, followed by a colon and a space", None)
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => (
            "a colon followed by a space is not allowed here",
            Some("put the text in quotation marks, or check the indentation"),
        ),
        ErrorKind::UnexpectedCharacter { .. } => {
            ("a character stands here that cannot begin a value", Some("put the text in quotation marks"))
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            ("an unknown escape in a double-quoted text", Some("use single quotation marks"))
        }
        ErrorKind::UndeclaredTagHandle => ("YAML tags (\"!…\") are not accepted here", Some("remove the tag")),
        _ => NOT_YAML,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(node: &Node) -> String {
        let place = format!("{}:{}", node.place.line, node.place.column);
        match &node.value {
            Value::Null => format!("null@{place}"),
            Value::Bool(value) => format!("{value}@{place}"),
            Value::Number { whole, text } => format!("{whole:?}<{text}>@{place}"),
            Value::Text(text) => format!("{text:?}@{place}"),
            Value::List(items) => format!("[{}]@{place}", items.iter().map(outline).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entry = |entry: &Entry| {
                    let key = &entry.key;
                    format!("{}@{}:{} = {}", key.value, key.place.line, key.place.column, outline(&entry.value))
                };
                format!("{{{}}}@{place}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn parsed(text: &str) -> String {
        match parse(text) {
            Ok(node) => outline(&node),
            Err(fault) => format!("{}:{} {}", fault.place.line, fault.place.column, fault.message),
        }
    }

    #[test]
    fn every_node_knows_its_place() {
        assert_eq!(
            parsed("a: [x, {b: true}]\n\"c\": ~\n"),
            "{a@1:1 = [\"x\"@1:5, {b@1:9 = true@1:12}@1:8]@1:4, c@2:1 = null@2:6}@1:1"
        );
        assert_eq!(parsed("ä: ü"), "{ä@1:1 = \"ü\"@1:4}@1:1");
        assert_eq!(parsed("a: |\n  x\n  y\nb: z"), "{a@1:1 = \"x\\ny\\n\"@2:3, b@4:1 = \"z\"@4:4}@1:1");
    }

    #[test]
    fn numbers_keep_their_spelling() {
        assert_eq!(
            parsed("[1, 007, 1e10, 1.50, -1, 1e999, .inf]"),
            "[Some(1)<1>@1:2, None<007>@1:5, None<1e10>@1:10, None<1.50>@1:16, None<-1>@1:22, None<1e999>@1:26, None<.inf>@1:33]@1:1"
        );
        let digits = "1234567890".repeat(7);
        assert_eq!(parsed(&digits), format!("None<{digits}>@1:1"));
    }

    #[test]
    fn words_that_older_yaml_took_for_booleans_are_texts() {
        assert_eq!(
            parsed("[on, off, yes, no, 'true']"),
            "[\"on\"@1:2, \"off\"@1:6, \"yes\"@1:11, \"no\"@1:16, \"true\"@1:20]@1:1"
        );
    }

    #[test]
    fn an_alias_stands_where_its_anchor_does() {
        assert_eq!(parsed("a: &x 012\nb: *x"), "{a@1:1 = None<012>@1:7, b@2:1 = None<012>@1:7}@1:1");
    }

    #[test]
    fn repeated_keys_are_kept_for_the_reader_to_report() {
        assert_eq!(parsed("a: x\na: y"), "{a@1:1 = \"x\"@1:4, a@2:1 = \"y\"@2:4}@1:1");
    }
}
