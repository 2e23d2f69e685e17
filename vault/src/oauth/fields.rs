//! Turns the body of an answer into named fields, whatever clothes the provider put on it: JSON, a form, a byte order
//! mark. It does not judge the fields, and it wipes them when they are dropped.

use std::fmt;

use oauth2::url::form_urlencoded;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::fetch::ANSWER_BYTES_MAX;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The fields of an answer.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// What the body is instead, in words that follow "the answer".
    pub(super) fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, &'static str> {
        if body.len() > ANSWER_BYTES_MAX {
            return Err("is too long");
        }
        let body = body.strip_prefix(BOM).unwrap_or(body).trim_ascii();
        match body {
            [] => Err("is empty"),
            [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, _, ..] | [_, 0, ..] => Err("is UTF-16 or binary, not UTF-8"),
            [0x1f, 0x8b, ..] => Err("is compressed, which was not asked for"),
            [b'{', ..] => json(body),
            [b'[' | b'"', ..] => Err("is JSON, but no object"),
            [b'<', ..] => Err("is a page of HTML or XML, not a token"),
            _ => form(content_type, body),
        }
    }

    /// A field that is there and not null.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A field that is a string and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        text(&self.0, name)
    }

    /// An object among the fields.
    pub(super) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.as_object()
    }

    /// All fields.
    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields(..)")
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

/// A field that is a string and not empty.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The `refresh_token` at the top of a JSON object, read on its own: the provider has already retired the old one, so it
/// must be found even where the rest is cut off, nested too deep, or holds a number that no parser takes.
pub(super) fn salvage_refresh_token(body: &[u8]) -> Option<String> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let mut found = None;
    // What goes wrong after the token was found does not matter here; `Fields::read` tells it.
    let _ = Salvage(&mut found).deserialize(&mut serde_json::Deserializer::from_slice(body));
    found
}

fn json(body: &[u8]) -> Result<Fields, &'static str> {
    serde_json::from_slice(body).map(Fields).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => "is JSON that breaks off",
        _ => "is not valid JSON",
    })
}

/// GitHub answers so unless asked for JSON; old Graph APIs call the same `text/plain`.
fn form(content_type: Option<&str>, body: &[u8]) -> Result<Fields, &'static str> {
    let said = content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("x-www-form-urlencoded"));
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        fields.entry(name.into_owned()).or_insert_with(|| Value::String(value.into_owned()));
    }
    let fields = Fields(fields);
    let known = ["access_token", "error", "device_code"].iter().any(|name| fields.0.contains_key(*name));
    if said || known { Ok(fields) } else { Err("is neither JSON nor a form") }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Salvage<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Salvage<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Salvage<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            if name == "refresh_token" {
                fields.next_value_seed(Text(self.0))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Takes a string, and passes over anything else.
struct Text<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !text.is_empty() {
            *self.0 = Some(text.to_owned());
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_is_found_in_a_broken_object() {
        let deep = format!(r#"{{"x":{}{},"refresh_token":"rt"}}"#, "[".repeat(5000), "]".repeat(5000));
        let broken: [&[u8]; 6] = [
            br#"{"refresh_token":"rt","access_token":"a"#,
            br#"{"expires_in":1e999,"refresh_token":"rt"}"#,
            br#"{"name":"\ud800","refresh_token":"rt"}"#,
            b"{\"name\":\"\xff\",\"refresh_token\":\"rt\"}",
            b"\xef\xbb\xbf {\"refresh_token\":\"rt\"} trailing",
            deep.as_bytes(),
        ];
        for body in broken {
            assert_eq!(salvage_refresh_token(body).as_deref(), Some("rt"), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_no_refresh_token_is_not_taken_for_one() {
        let bodies =
            ["", "[]", r#"{"refresh_token":null}"#, r#"{"refresh_token":""}"#, r#"{"refresh_token":["rt"]}"#, "x=1"];
        for body in bodies {
            assert_eq!(salvage_refresh_token(body.as_bytes()), None, "{body}");
        }
        assert_eq!(salvage_refresh_token(br#"{"a":{"refresh_token":"inner"}}"#), None);
    }

    #[test]
    fn every_strange_body_is_named() {
        let bodies: [(&[u8], &str); 8] = [
            (b"", "is empty"),
            (b"\xff\xfe{\0}\0", "is UTF-16 or binary, not UTF-8"),
            (b"{\0\"\0}\0", "is UTF-16 or binary, not UTF-8"),
            (b"\x1f\x8b\x08", "is compressed, which was not asked for"),
            (b"<!doctype html>", "is a page of HTML or XML, not a token"),
            (b"[1]", "is JSON, but no object"),
            (b"{\"a\":", "is JSON that breaks off"),
            (b"OK", "is neither JSON nor a form"),
        ];
        for (body, reason) in bodies {
            assert_eq!(Fields::read(Some("application/json"), body).unwrap_err(), reason);
        }
        assert_eq!(Fields::read(None, &vec![b'{'; ANSWER_BYTES_MAX + 1]).unwrap_err(), "is too long");
    }
}
