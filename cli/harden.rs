//! Makes the process a poor place to look for secrets: no core dump, no memory to read from outside, no payload in a
//! panic's message.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Called first thing in `main`, before any secret is read.
pub(crate) fn harden() {
    std::panic::set_hook(Box::new(|panic| {
        // `postern … | head`: the reader has seen enough. `println!` knows no better way to say so.
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to stdout") {
            std::process::exit(0);
        }
        // The payload may quote what it choked on; the place is enough to find the bug.
        match panic.location() {
            Some(place) => eprintln!("postern: a bug at {place}"),
            None => eprintln!("postern: a bug"),
        }
    }));
    // Neither failing is a reason not to serve: a container may forbid both and be safe.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
