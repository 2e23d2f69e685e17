//! Turns what was said on the command line and in the environment into paths and keys that the program uses.

use std::path::PathBuf;

use anyhow::{Result, bail};
use secrecy::SecretString;
use vault::MasterKeySource;

use crate::arguments::Place;

/// The configuration file: the one that was named, or the first that is there.
pub(crate) fn config_file(place: &Place) -> Result<PathBuf> {
    if let Some(file) = &place.config {
        return Ok(file.clone());
    }
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let mut places = vec![PathBuf::from("bindings.yaml")];
    places.extend(user.map(|folder| folder.join("postern/bindings.yaml")));
    places.push(PathBuf::from("/etc/postern/bindings.yaml"));
    if let Some(found) = places.iter().find(|place| place.exists()) {
        return Ok(found.clone());
    }
    let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    bail!("there is no bindings file: looked for {}; name one with --config FILE", names.join(", "))
}

/// The data folder: the one that was named, systemd's, the system's for root, the user's.
pub(crate) fn data_folder(place: &Place) -> Result<PathBuf> {
    if let Some(folder) = &place.data {
        return Ok(folder.clone());
    }
    if let Some(folder) = std::env::var_os("STATE_DIRECTORY") {
        return Ok(PathBuf::from(folder));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/postern"));
    }
    let user = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    match user {
        Some(folder) => Ok(folder.join("postern")),
        None => bail!("there is no place for data: name a folder with --data DIR"),
    }
}

/// Where the master key comes from.
pub(crate) fn master_key(place: &Place) -> MasterKeySource {
    let value = std::env::var("POSTERN_MASTER_KEY").ok().filter(|value| !value.is_empty());
    MasterKeySource { file: place.master_key_file.clone(), value: value.map(SecretString::from) }
}
