//! The reader as a whole: what it accepts, what it says to each kind of mistake, and that it never tells a secret.

mod accepted;
mod auths;
mod golden;
mod hostile;
mod leaks;

use super::{Diagnostics, Loaded, read};

fn accepted(text: &str) -> Loaded {
    read(text, "bindings.yaml").unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn refused(text: &str) -> Diagnostics {
    read(text, "bindings.yaml").expect_err("a file with a mistake")
}
