//! `postern status`: how the running process, its connections and its deployments are. Fails when nothing runs.

use admin::{ConnectionState, Status};
use anyhow::{Result, bail};

use super::{print_json, print_table};
use crate::arguments::{Json, Place};
use crate::bureau::running;
use crate::settings::data_folder;

pub(crate) async fn status(place: &Place, output: &Json) -> Result<()> {
    let Some(client) = running(place).await? else {
        bail!("no postern is running over {}; start one with: postern serve", data_folder(place)?.display());
    };
    let status = client.status().await?;
    if output.json {
        print_json(&status)?;
    } else {
        print(&status);
    }
    if !status.ready {
        bail!("postern is not ready");
    }
    Ok(())
}

fn print(status: &Status) {
    let state = if status.draining { "draining" } else { "ready" };
    println!("postern {} is {state} (pid {}, since {})", status.version, status.pid, status.started_at);
    println!(
        "proxy {}  admin {}  CA {}",
        status.proxy,
        status.admin,
        status.ca_fingerprint.get(..23).unwrap_or_default()
    );
    println!(
        "configuration {}, read {}, {} bindings",
        status.config.file, status.config.loaded_at, status.config.bindings
    );
    if let Some(problem) = &status.config.problem {
        println!("  NOT IN FORCE as it is now; the last good one is:\n  {}", problem.replace('\n', "\n  "));
    }
    println!("sockets: {} from agents, {} warm to destinations", status.sockets, status.idle_upstream_sockets);
    if status.records_lost > 0 {
        println!("  {} access records were dropped: the disk cannot keep up", status.records_lost);
    }
    println!();
    let rows: Vec<Vec<String>> = status
        .connections
        .iter()
        .map(|row| {
            let state = match row.state {
                ConnectionState::Connected => "connected",
                ConnectionState::Available => "available",
                ConnectionState::NeedsReauth => "needs_reauth",
                ConnectionState::Error => "error",
                ConnectionState::Inactive => "inactive",
            };
            vec![row.id.clone(), state.into(), row.deployments.join(", "), row.problem.clone().unwrap_or_default()]
        })
        .collect();
    print_table(&["CONNECTION", "STATE", "DEPLOYMENTS", "PROBLEM"], &rows);
    println!();
    let rows: Vec<Vec<String>> = status
        .deployments
        .iter()
        .map(|row| vec![row.id.clone(), row.keys.to_string(), row.bindings.to_string()])
        .collect();
    print_table(&["DEPLOYMENT", "KEYS", "BINDINGS"], &rows);
}
