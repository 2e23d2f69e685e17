//! What is wrong with the operator's file, in the form of rustc: place, message, the offending line, help. It holds no
//! line of the file but in its masked form.

use std::fmt;

use serde_json::{Value, json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is not used.
    Error,
    /// The file is used; this is probably a mistake.
    Warning,
}

impl Severity {
    /// The severity as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, without any secret.
    pub message: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1 in characters.
    pub column: u32,
    /// What to do about it.
    pub help: Option<String>,
    /// The offending line, with everything that may be a secret replaced by `***`.
    pub source_line: String,
    /// How many characters of `source_line` stand before the caret.
    pub(super) caret: usize,
}

/// Everything that was found in one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    file_name: String,
    found: Vec<Diagnostic>,
    omitted: usize,
}

impl Diagnostics {
    pub(super) fn new(file_name: String, mut found: Vec<Diagnostic>, omitted: usize) -> Self {
        found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column, diagnostic.severity));
        Self { file_name, found, omitted }
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many findings are kept; of a file with very many mistakes only the first are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// How many more were found but not kept.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// The findings for machines (`postern check --json`).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let findings = self.found.iter().map(|found| {
            json!({
                "severity": found.severity.as_str(),
                "message": found.message,
                "file": self.file_name,
                "line": found.line,
                "column": found.column,
                "help": found.help,
                "source_line": found.source_line,
            })
        });
        json!({ "diagnostics": findings.collect::<Vec<_>>(), "omitted": self.omitted })
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, found) in self.found.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n\n" };
            let (file, severity) = (&self.file_name, found.severity.as_str());
            write!(f, "{separator}{file}:{}:{}: {severity}: {}", found.line, found.column, found.message)?;
            write_snippet(f, found)?;
        }
        if self.omitted > 0 {
            write!(f, "\n\n{}: error: {} more mistakes are not shown", self.file_name, self.omitted)?;
        }
        Ok(())
    }
}

/// The offending line with a caret below, and the help.
fn write_snippet(f: &mut fmt::Formatter<'_>, found: &Diagnostic) -> fmt::Result {
    let number = found.line.to_string();
    let gutter = number.len();
    if !found.source_line.is_empty() {
        write!(f, "\n {number} | {}\n {:gutter$} | {:caret$}^", found.source_line, "", "", caret = found.caret)?;
    }
    let Some(help) = &found.help else { return Ok(()) };
    write!(f, "\n {:gutter$} = help: {help}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typo() -> Diagnostics {
        let found = Diagnostic {
            severity: Severity::Error,
            message: "unknown key \"hots\"".into(),
            line: 12,
            column: 5,
            help: Some("did you mean \"hosts\"?".into()),
            source_line: "    hots: [a.test]".into(),
            caret: 4,
        };
        Diagnostics::new("bindings.yaml".into(), vec![found], 2)
    }

    #[test]
    fn a_finding_shows_place_line_caret_and_help() {
        let expected = "bindings.yaml:12:5: error: unknown key \"hots\"\n 12 |     hots: [a.test]\n    |     ^\n    = help: did you mean \"hosts\"?\n\nbindings.yaml: error: 2 more mistakes are not shown";
        assert_eq!(typo().to_string(), expected);
    }

    #[test]
    fn machines_get_the_same_in_json() {
        let json = typo().to_json();
        assert_eq!(json["diagnostics"][0]["line"], 12);
        assert_eq!(json["diagnostics"][0]["severity"], "error");
        assert_eq!(json["diagnostics"][0]["help"], "did you mean \"hosts\"?");
        assert_eq!(json["omitted"], 2);
    }
}
