//! Which part of each line of the operator's file may be shown: keys, and values that are known to hold no secret. It
//! reads the text and not the tree, so that it also holds for a file that does not parse; in doubt it hides.

use super::nearest::nearest;
use super::node::Place;
use super::vocabulary::{Content, VOCABULARY, content_of};

/// What stands in place of everything that may be a secret.
const HIDDEN: &str = "***";

/// The lines of a file, and how much of each may be shown.
pub(super) struct Mask<'a> {
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    text: &'a str,
    /// From here on the line is hidden; a byte offset.
    shown_bytes: usize,
}

impl<'a> Mask<'a> {
    /// Reads the whole text.
    pub(super) fn new(text: &'a str) -> Self {
        let mut scanner = Scanner::default();
        let lines = text.split('\n').map(|line| {
            let text = line.strip_suffix('\r').unwrap_or(line);
            Line { text, shown_bytes: scanner.line(text) }
        });
        Self { lines: lines.collect() }
    }

    /// The line with its hidden part replaced, and how many characters of it are the operator's own.
    pub(super) fn line(&self, number: u32) -> (String, usize) {
        let Some(line) = self.find(number) else { return (String::new(), 0) };
        let (shown, rest) = line.text.split_at(line.shown_bytes);
        let rest = rest.trim_start();
        // A comment may hold anything and explains nothing here.
        let hidden = if rest.is_empty() || rest.starts_with('#') { "" } else { HIDDEN };
        (format!("{shown}{hidden}"), shown.chars().count())
    }

    /// Whether the text stands at this place in a part of the line that may be shown.
    pub(super) fn shows(&self, place: Place, text: &str) -> bool {
        let Some(line) = self.find(place.line) else { return false };
        let shown = &line.text[..line.shown_bytes];
        let start = shown.char_indices().nth(place.column.saturating_sub(1) as usize).map(|(at, _)| at);
        !text.is_empty() && start.is_some_and(|start| shown[start..].contains(text))
    }

    fn find(&self, number: u32) -> Option<&Line<'a>> {
        self.lines.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

/// The state from one line to the next: which blocks are open, by indentation, and whether a hidden value runs on.
#[derive(Default)]
struct Scanner {
    blocks: Vec<Block>,
    run_on: Option<RunOn>,
}

/// What may follow a key on the lines below it.
struct Block {
    indent: usize,
    content: Content,
    /// Whether a bracket was left open behind the key: plain values then need no dash.
    bracket: bool,
}

impl Scanner {
    /// Reads one line; returns how many bytes of it may be shown.
    fn line(&mut self, text: &str) -> usize {
        let indent = blanks(text);
        let body = &text[indent..];
        if body.is_empty() {
            return text.len();
        }
        if let Some(run_on) = &mut self.run_on {
            if run_on.ends_in(body) {
                self.run_on = None;
            }
            return indent;
        }
        if body.starts_with('#') {
            return indent;
        }
        let item = body == "-" || body.starts_with("- ");
        while self.blocks.last().is_some_and(|block| block.indent > indent || (block.indent == indent && !item)) {
            self.blocks.pop();
        }
        let shown = match self.blocks.last() {
            Some(block) if block.content == Content::Hidden => self.hidden(text, indent),
            Some(block) if block.content == Content::Harmless && !item && !block.bracket => indent,
            _ => Walk::new(self, text, indent).run(),
        };
        // A control character may be a line's end for others, or speak to the terminal.
        if text.chars().any(char::is_control) { indent } else { shown }
    }

    /// A line within a hidden block: at most its key is shown, if it is one that we know.
    fn hidden(&mut self, text: &str, indent: usize) -> usize {
        let Some((_, length)) = key_at(&text[indent..]).filter(|(key, _)| content_of(key).is_some()) else {
            return indent;
        };
        let value = &text[indent + length..];
        self.hide(value, 0);
        indent + length + blanks(value)
    }

    /// Notes whether a value that is hidden runs on into the following lines.
    fn hide(&mut self, value: &str, open_brackets: usize) {
        let mut run_on = RunOn { brackets: open_brackets, quote: None };
        if !run_on.ends_in(value) {
            self.run_on = Some(run_on);
        }
    }
}

/// Walks along one line over keys, brackets and harmless values, and stops before the first thing that may be a secret.
struct Walk<'s, 't> {
    scanner: &'s mut Scanner,
    text: &'t str,
    at: usize,
    /// What the brackets that were opened on this line hold.
    brackets: Vec<Content>,
    /// What the value just ahead holds, if a key announced it.
    ahead: Option<Content>,
    /// The block that a key on this line opened.
    block: Option<usize>,
}

impl<'s, 't> Walk<'s, 't> {
    fn new(scanner: &'s mut Scanner, text: &'t str, at: usize) -> Self {
        Self { scanner, text, at, brackets: Vec::new(), ahead: None, block: None }
    }

    /// Returns how many bytes of the line may be shown.
    fn run(mut self) -> usize {
        while self.rest().starts_with("- ") || self.rest() == "-" {
            self.at += 1 + blanks(&self.rest()[1..]);
        }
        while self.step() {}
        let Some(block) = self.block.and_then(|index| self.scanner.blocks.get_mut(index)) else { return self.at };
        block.bracket = !self.brackets.is_empty();
        if self.ahead.is_none() && !block.bracket {
            // The key has its whole value on its own line: nothing belongs below it.
            block.content = Content::Hidden;
        }
        self.at
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn content(&self) -> Content {
        let around = || self.scanner.blocks.last().map_or(Content::Keys, |block| block.content);
        self.ahead.or(self.brackets.last().copied()).unwrap_or_else(around)
    }

    /// Takes the next thing; false at the end of what may be shown.
    fn step(&mut self) -> bool {
        self.at += blanks(self.rest());
        match self.rest().as_bytes().first() {
            None | Some(b'#') => false,
            Some(b'{' | b'[') => {
                let content = self.content();
                self.brackets.push(content);
                self.ahead = None;
                self.at += 1;
                true
            }
            Some(b'}' | b']' | b',') if self.ahead.is_none() => {
                if !self.rest().starts_with(',') {
                    self.brackets.pop();
                }
                self.at += 1;
                !self.brackets.is_empty() || self.at_end_of_value()
            }
            Some(_) => match key_at(self.rest()).filter(|_| self.ahead.is_none()) {
                Some((key, length)) => self.key(key, length),
                None => self.value(),
            },
        }
    }

    fn key(&mut self, key: &str, length: usize) -> bool {
        let Some(content) = announced(key, self.content()) else { return false };
        if self.brackets.is_empty() {
            self.block = Some(self.scanner.blocks.len());
            self.scanner.blocks.push(Block { indent: self.at, content, bracket: false });
        }
        self.at += length;
        self.ahead = Some(content);
        if content != Content::Hidden {
            return true;
        }
        self.scanner.hide(self.rest(), self.brackets.len());
        self.at += blanks(self.rest());
        false
    }

    fn value(&mut self) -> bool {
        let length = harmless(self.rest()).filter(|_| self.content() == Content::Harmless);
        self.ahead = None;
        let Some(length) = length else {
            self.scanner.hide(self.rest(), self.brackets.len());
            return false;
        };
        self.at += length;
        self.at_end_of_value()
    }

    /// Whether what follows can follow a value; anything else is hidden.
    fn at_end_of_value(&mut self) -> bool {
        let next = self.rest().trim_start();
        let ends = next.is_empty() || next.starts_with([',', ']', '}', '#']);
        if !ends {
            self.scanner.hide(self.rest(), self.brackets.len());
        }
        ends
    }
}

/// What the value of a key holds; `None` where even the key may be a secret.
fn announced(key: &str, around: Content) -> Option<Content> {
    if let Some(content) = content_of(key) {
        return Some(content);
    }
    match around {
        Content::Names if is_name(key) => Some(Content::Keys),
        Content::Pairs => Some(Content::Harmless),
        _ => match nearest(key, VOCABULARY.iter().map(|(word, _)| *word)) {
            Some(meant) => content_of(meant),
            None => is_word(key).then_some(Content::Hidden),
        },
    }
}

/// A key at the beginning of the text, and its length with the colon: `key:`, `"key":` or `'key':`.
fn key_at(text: &str) -> Option<(&str, usize)> {
    let (key, length) = match text.as_bytes().first()? {
        quote @ (b'"' | b'\'') => {
            let end = text[1..].find(char::from(*quote))?;
            (&text[1..=end], end + 2)
        }
        _ => {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'))?;
            (&text[..end], end)
        }
    };
    let after = text[length..].strip_prefix(':')?;
    let ends = after.is_empty() || after.starts_with([' ', ',', '[', ']', '{', '}']) || length > key.len();
    (ends && !key.is_empty() && !key.contains(char::is_whitespace)).then_some((key, length + 1))
}

/// The length of a value without blanks, quoted or not.
fn harmless(text: &str) -> Option<usize> {
    let length = match text.chars().next()? {
        quote @ ('"' | '\'') => text[1..].find(quote)? + 2,
        _ => text.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}')).unwrap_or(text.len()),
    };
    (length > 0 && !text[..length].contains(char::is_whitespace)).then_some(length)
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(' ').len()
}

fn is_name(key: &str) -> bool {
    key.len() <= crate::name::NAME_BYTES_MAX
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The longest unknown key that is shown, in bytes.
const UNKNOWN_KEY_BYTES_MAX: usize = 32;

fn is_word(key: &str) -> bool {
    key.len() <= UNKNOWN_KEY_BYTES_MAX && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// A hidden value that is not yet at its end: open brackets, an open quotation mark.
struct RunOn {
    brackets: usize,
    quote: Option<u8>,
}

impl RunOn {
    /// Reads on; whether the value ends on this line.
    fn ends_in(&mut self, text: &str) -> bool {
        let bytes = text.as_bytes();
        // The last character that is no blank: a quotation mark opens a text only at the beginning of a value.
        let mut before = b':';
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            at += 1;
            match self.quote {
                Some(b'"') if byte == b'\\' => at += 1,
                Some(quote) if quote == byte => self.quote = None,
                Some(_) => {}
                None => match byte {
                    b'"' | b'\'' if matches!(before, b':' | b',' | b'[' | b'{') => self.quote = Some(byte),
                    b'[' | b'{' => self.brackets += 1,
                    b']' | b'}' => self.brackets = self.brackets.saturating_sub(1),
                    b'#' if at >= 2 && bytes[at - 2] == b' ' => break,
                    _ => {}
                },
            }
            if byte != b' ' {
                before = byte;
            }
        }
        self.brackets == 0 && self.quote.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mask = Mask::new(text);
        let count = u32::try_from(text.split('\n').count()).unwrap();
        (1..=count).map(|number| mask.line(number).0).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_holds_no_secret_is_shown() {
        for text in [
            "version: 1",
            "connections:\n  openai: {hosts: [api.openai.com, \"*.x.test:8443\"], active: true}",
            "deployments:\n  bot:\n    identify:\n      - source: 10.0.0.0/8\n    tunnel:\n    - a.test\n    - b.test",
            "bindings:\n- deployment: bot\n  paths: [\"/v1/**\"]\n  rate: {per_second: 5, burst: 10}",
            "bindings: [{deployment: bot, connection: openai}]",
            "bindings:\n  - {deployment: bot,\n     connection: openai}",
            "upstream:\n  connect_to: {\"a.test:443\": \"127.0.0.1:1\"}\n  allow_addresses:\n    - 10.0.0.0/8",
            "limits:\n  head_in: 10s",
            "hosts: [\n  a.test,\n  b.test\n  ]",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn everything_below_auth_is_hidden_but_known_keys() {
        let text = "connections:\n  a:\n    auth:\n      type: bearer\n      token: |\n        SECRET\n        hosts: SECRET\n      tokn: SECRET\n    hosts: [a.test]";
        let shown = "connections:\n  a:\n    auth:\n      type: ***\n      token: ***\n        ***\n        hosts: ***\n      ***\n    hosts: [a.test]";
        assert_eq!(masked(text), shown);
    }

    #[test]
    fn a_flow_map_below_auth_is_hidden_over_all_its_lines() {
        let text = "connections:\n  a: {hosts: [a.test], auth: {type: bearer,\n token: SECRET}, active: true}\n  b: {active: true}";
        assert_eq!(masked(text), "connections:\n  a: {hosts: [a.test], auth: ***\n ***\n  b: {active: true}");
        let quoted = "  a: {auth: {token: \"SECRET\n hosts: SECRET\"}}\nversion: 1";
        assert!(!masked(quoted).contains("SECRET") && masked(quoted).ends_with("version: 1"));
    }

    #[test]
    fn secret_keys_are_hidden_wherever_they_stand() {
        for text in [
            "token: SECRET",
            "toke: SECRET",
            "unheard_of: SECRET",
            "  - key: {sha256: SECRET}",
            "active: true   token: SECRET",
            "active: true   token SECRET",
            "hosts: [a.test]  auth {type: bearer, token: SECRET}",
            "hosts: [a.test] # SECRET",
            "# token: SECRET",
            "connections: SECRET",
            "hosts: \"a SECRET\"",
            "SECRET",
            "SECRET: x: y",
            "? SECRET",
            "hosts:\n  SECRET: x",
            "hosts:\n  SECRET",
            "hosts: [a.test]\n  SECRET",
            "hosts: [a.test]\n  - SECRET",
            "hosts: \t",
            "hosts: [a.test]  SECRET",
            "hosts: [a.test]  SECRET: {\nhosts: SECRET}",
            "hosts: a.test  SECRET",
            "proxy: http://user:SECRET@a.test",
            "hosts: [a.test]\rtoken: SECRET",
        ] {
            assert!(!masked(text).contains("SECRET"), "{}", masked(text));
        }
    }

    #[test]
    fn a_text_is_shown_only_where_it_stands_in_the_open() {
        let mask = Mask::new("bindings:\n  - {deployment: bot, tokn: abc}");
        assert!(mask.shows(Place { line: 2, column: 18 }, "bot"));
        assert!(mask.shows(Place { line: 2, column: 23 }, "tokn"));
        assert!(!mask.shows(Place { line: 2, column: 29 }, "abc"));
        assert!(!mask.shows(Place { line: 9, column: 1 }, "bot"));
    }
}
