//! Collects what is wrong with a file while it is read, up to a bound. It quotes the operator's text only where the mask
//! shows it.

use std::cell::OnceCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::mask::Mask;
use super::nearest::nearest;
use super::node::{At, Place};

/// The most findings that are kept; beyond it they are only counted.
const FINDINGS_MAX: usize = 100;
/// The most characters of a line that are shown.
const LINE_CHARS_MAX: usize = 160;
/// The most characters of a line that are shown before the caret, where the line must be cut.
const BEFORE_CARET_CHARS_MAX: usize = 80;
/// The most names that a help lists.
const LISTED_NAMES_MAX: usize = 10;

/// The findings so far.
pub(super) struct Report<'a> {
    text: &'a str,
    file_name: &'a str,
    /// Made when the first line must be shown: most files have no mistakes.
    mask: OnceCell<Mask<'a>>,
    found: Vec<Diagnostic>,
    errors: usize,
    omitted: usize,
}

impl<'a> Report<'a> {
    /// An empty report on this text.
    pub(super) fn new(text: &'a str, file_name: &'a str) -> Self {
        Self { text, file_name, mask: OnceCell::new(), found: Vec::new(), errors: 0, omitted: 0 }
    }

    /// How many errors were found.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Adds an error.
    pub(super) fn error(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.errors += 1;
        self.add(Severity::Error, place, message.into(), help);
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Warning, place, message.into(), help);
    }

    /// The text in quotation marks, or `***` where it may be a secret.
    pub(super) fn quote(&self, text: &At<String>) -> String {
        if self.mask().shows(text.place, &text.value) { format!("\"{}\"", text.value) } else { "***".to_owned() }
    }

    /// "did you mean …?", else the words that would do.
    pub(super) fn suggest<'w>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'w str> + Clone,
        lead: &str,
    ) -> Option<String> {
        if self.is_full() {
            return None;
        }
        if let Some(meant) = nearest(word, known.clone()) {
            return Some(format!("did you mean \"{meant}\"?"));
        }
        let mut words = known.into_iter();
        let listed: Vec<&str> = words.by_ref().take(LISTED_NAMES_MAX).collect();
        let more = if words.next().is_some() { ", …" } else { "" };
        Some(if listed.is_empty() { format!("{lead}: none") } else { format!("{lead}: {}{more}", listed.join(", ")) })
    }

    /// Reads a text into something that has rules of its own, or reports why it cannot be.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        text: &At<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("{} cannot be used here: {error}", self.quote(text));
                self.error(text.place, message, None);
                None
            }
        }
    }

    /// The path as a program finds it from anywhere: a relative one begins in the folder of the file that names it.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        Path::new(self.file_name).parent().unwrap_or(Path::new("")).join(written)
    }

    /// Everything that was found.
    pub(super) fn finish(self) -> Diagnostics {
        Diagnostics::new(self.file_name.to_owned(), self.found, self.omitted)
    }

    fn is_full(&self) -> bool {
        self.found.len() >= FINDINGS_MAX
    }

    fn mask(&self) -> &Mask<'a> {
        self.mask.get_or_init(|| Mask::new(self.text))
    }

    fn add(&mut self, severity: Severity, place: Place, message: String, help: Option<String>) {
        if self.is_full() {
            self.omitted += 1;
            return;
        }
        let (line, own_chars) = self.mask().line(place.line);
        let before = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX).min(own_chars);
        let (source_line, caret) = cut(&line, before);
        let Place { line, column } = place;
        self.found.push(Diagnostic { severity, message, line, column, help, source_line, caret });
    }
}

/// A long line is cut around the caret.
fn cut(line: &str, caret: usize) -> (String, usize) {
    if line.chars().nth(LINE_CHARS_MAX).is_none() {
        return (line.to_owned(), caret);
    }
    let skipped = caret.saturating_sub(BEFORE_CARET_CHARS_MAX);
    let mut window: String = line.chars().skip(skipped).take(LINE_CHARS_MAX).collect();
    if line.chars().nth(skipped + LINE_CHARS_MAX).is_some() {
        window.push('…');
    }
    if skipped == 0 { (window, caret) } else { (format!("…{window}"), caret - skipped + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("hosts: [{}]", "a.test, ".repeat(1000));
        let (window, caret) = cut(&line, 4000);
        assert!(window.starts_with('…') && window.ends_with('…') && window.chars().count() == LINE_CHARS_MAX + 2);
        assert_eq!(window.chars().nth(caret), line.chars().nth(4000));
        assert_eq!(cut("short", 3), ("short".to_owned(), 3));
    }

    #[test]
    fn findings_beyond_the_bound_are_counted() {
        let mut report = Report::new("version: 1", "bindings.yaml");
        for _ in 0..FINDINGS_MAX + 7 {
            report.error(Place::START, "wrong", None);
        }
        assert_eq!(report.errors(), FINDINGS_MAX + 7);
        let diagnostics = report.finish();
        assert_eq!((diagnostics.len(), diagnostics.omitted()), (FINDINGS_MAX, 7));
    }
}
