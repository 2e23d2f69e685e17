//! `postern deployment key`: makes, lists and revokes deployment keys.

use anyhow::{Context, Result};
use model::DeploymentName;

use super::{print_json, print_table};
use crate::arguments::{Key, Place};
use crate::bureau::Bureau;
use crate::config_file;
use crate::settings::config_file as find_config;

pub(crate) async fn key(place: &Place, command: &Key) -> Result<()> {
    let bureau = Bureau::open(place).await?;
    match command {
        Key::New { name, output } => {
            let name = DeploymentName::parse(name)?;
            warn_if_unknown(place, &name);
            let key = bureau.new_key(&name).await.with_context(|| format!("no key was made for \"{name}\""))?;
            if output.json {
                return print_json(&key);
            }
            println!("{}", key.key);
            eprintln!("Key {} of deployment \"{name}\". It is not shown again; only its digest is kept.", key.id);
            Ok(())
        }
        Key::List { name, output } => {
            let name = name.as_deref().map(DeploymentName::parse).transpose()?;
            let rows = bureau.keys(name.as_ref()).await?;
            if output.json {
                return print_json(&rows);
            }
            if rows.is_empty() {
                eprintln!("No keys yet. Make one with: postern deployment key new NAME");
                return Ok(());
            }
            let cells = rows.into_iter().map(|row| {
                vec![row.id, row.deployment, row.created_at, row.last_used_at.unwrap_or_else(|| "never".into())]
            });
            print_table(&["ID", "DEPLOYMENT", "CREATED", "LAST USED"], &cells.collect::<Vec<_>>());
            Ok(())
        }
        Key::Revoke { name, id } => {
            bureau.revoke_key(&DeploymentName::parse(name)?, id).await?;
            eprintln!("Key {id} of deployment \"{name}\" is revoked.");
            Ok(())
        }
    }
}

/// A key for a deployment that the file does not have is valid, but opens nothing until it does.
fn warn_if_unknown(place: &Place, name: &DeploymentName) {
    let Ok(file) = find_config(place) else { return };
    let Ok(loaded) = config_file::load(&file) else { return };
    if !loaded.config.deployments.contains_key(name) {
        eprintln!("warning: {} has no deployment \"{name}\"; the key opens nothing until it has", file.display());
    }
}
