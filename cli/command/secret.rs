//! `postern secret`: keeps secrets in the sealed store. A value comes from standard input, never from an argument, where
//! every process of the machine could read it.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Result, bail};
use secrecy::SecretString;

use super::{print_json, print_table};
use crate::arguments::{Place, Secret};
use crate::bureau::Bureau;

/// The longest secret, in bytes, with its line end.
const INPUT_BYTES_MAX: u64 = 64 * 1024 + 2;

pub(crate) async fn secret(place: &Place, command: &Secret) -> Result<()> {
    match command {
        Secret::Set { name } => {
            check_name(name)?;
            let value = read_value(name)?;
            Bureau::open(place).await?.set_secret(name, &value).await?;
            eprintln!("Secret \"{name}\" is sealed. A connection uses it as {{sealed: {name}}}.");
        }
        Secret::List(output) => {
            let rows = Bureau::open(place).await?.secrets().await?;
            if output.json {
                return print_json(&rows);
            }
            if rows.is_empty() {
                eprintln!("No secrets yet. Keep one with: postern secret set NAME");
                return Ok(());
            }
            let cells: Vec<Vec<String>> = rows.into_iter().map(|row| vec![row.id, row.set_at]).collect();
            print_table(&["NAME", "SET"], &cells);
        }
        Secret::Delete { name } => {
            check_name(name)?;
            Bureau::open(place).await?.delete_secret(name).await?;
            eprintln!("Secret \"{name}\" is deleted.");
        }
    }
    Ok(())
}

/// The name becomes part of a path on the admin socket.
fn check_name(name: &str) -> Result<()> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(fit) || name.bytes().all(|byte| byte == b'.') {
        bail!("\"{name}\" is not a secret's name: use 1 to 128 letters, digits, dots, hyphens and underscores");
    }
    Ok(())
}

fn read_value(name: &str) -> Result<SecretString> {
    if std::io::stdin().is_terminal() {
        eprint!("Type or paste the secret \"{name}\", then Enter and Ctrl-D: ");
        std::io::stderr().flush()?;
    }
    let mut text = String::new();
    std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        bail!("standard input was empty: write the secret to it, as in  postern secret set {name} < token.txt");
    }
    Ok(SecretString::from(value))
}
