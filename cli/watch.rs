//! Notices that the configuration or a file it uses has changed, and takes it up once it is at rest. It looks rather than
//! listens: that works on every file system and through every kind of mount.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use admin::Controls;

use crate::app::App;
use crate::config_file::{Stamp, files_used};

/// How often the files are looked at. A change must look the same twice, so a half-written file is let be.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is written down when keys were last used.
const SETTLE_EVERY: Duration = Duration::from_secs(60);

/// Watches for as long as the process serves.
pub(crate) async fn watch(app: Arc<App>) {
    let mut taken = Seen::now(&app);
    let mut before = taken.clone();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let now = Seen::now(&app);
        if now != before || now == taken {
            before = now;
            continue;
        }
        let changed = Arc::clone(&app);
        let whole = now.config != taken.config;
        taken = now;
        let _ = tokio::task::spawn_blocking(move || if whole { drop(changed.reload()) } else { changed.renew() }).await;
        // The new configuration may use other files.
        taken = Seen { config: taken.config, ..Seen::now(&app) };
        before = taken.clone();
    }
}

/// Writes down, now and then, when keys were last used.
pub(crate) async fn settle(app: Arc<App>) {
    let mut tick = tokio::time::interval(SETTLE_EVERY);
    loop {
        tick.tick().await;
        let settling = Arc::clone(&app);
        let _ = tokio::task::spawn_blocking(move || settling.settle_key_uses()).await;
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    config: Stamp,
    used: Vec<(PathBuf, Stamp)>,
}

impl Seen {
    fn now(app: &App) -> Self {
        let used = files_used(&app.config()).into_iter().map(|path| (path.clone(), Stamp::of(&path)));
        Self { config: Stamp::of(&app.settings().config), used: used.collect() }
    }
}
