//! Reads every bindings file that the papers show: a sample that postern would not take, or would warn about, is a
//! mistake in the paper.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

const FIRST_LINE: &str = "version: 1";

#[test]
fn every_bindings_file_in_the_papers_is_read_without_a_word() {
    for (place, text) in samples() {
        match postern_model::file::read(&text, &place) {
            Ok(loaded) => assert_eq!(loaded.warnings.to_string(), "", "{place}"),
            Err(found) => panic!("{found}"),
        }
    }
}

#[test]
fn the_papers_that_show_bindings_files_are_looked_at() {
    let places: Vec<String> = samples().into_iter().map(|(place, _)| place).collect();
    for paper in ["README.md", "docs/operating.md"] {
        assert!(places.iter().any(|place| place.starts_with(paper)), "no sample in {paper}; found {places:?}");
    }
}

/// Each fenced block that begins with the version, and where it begins.
fn samples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut samples = Vec::new();
    for paper in papers(root) {
        let name = paper.strip_prefix(root).unwrap().display().to_string();
        let text = fs::read_to_string(&paper).unwrap();
        let mut lines = text.lines().zip(1..);
        while let Some((line, _)) = lines.next() {
            if !line.trim_start().starts_with("```") {
                continue;
            }
            let block: Vec<(&str, u32)> = lines.by_ref().take_while(|(line, _)| line.trim() != "```").collect();
            if let Some((FIRST_LINE, number)) = block.first() {
                let text: Vec<&str> = block.iter().map(|(line, _)| *line).collect();
                samples.push((format!("{name}, block on line {number}"), text.join("\n")));
            }
        }
    }
    samples
}

/// Every Markdown file of the root, of docs/ and of docs/adr/.
fn papers(root: &Path) -> Vec<PathBuf> {
    let folders = [root.to_owned(), root.join("docs"), root.join("docs/adr")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "md")).collect()
}
