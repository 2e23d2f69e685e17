//! `postern completions`, `man` and `schema`: texts made from the program's own definitions.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;

/// Prints a completion script.
pub(crate) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "postern", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
}

/// Prints the manual page, or writes all of them.
pub(crate) fn man(folder: Option<&Path>) -> Result<()> {
    let command = Arguments::command();
    match folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            print!("{}", String::from_utf8_lossy(&page));
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            clap_mangen::generate_to(command, folder)?;
        }
    }
    Ok(())
}

/// Prints the JSON Schema of the bindings file.
pub(crate) fn schema() -> Result<()> {
    super::print_json(&model::file::schema())
}
