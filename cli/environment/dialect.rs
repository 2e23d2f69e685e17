//! How shells, dotenv files, Docker, Kubernetes and programs spell variables. It refuses a value that a format cannot
//! carry unchanged.

use anyhow::{Result, ensure};
use secrecy::ExposeSecret as _;

use super::{KEY_VARIABLE, Value, Variable};

/// How the variables are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// `export` lines for a POSIX shell, to be evaluated: eval "$(postern env …)"
    Shell,
    /// A .env file as Docker Compose and the dotenv libraries read it
    Dotenv,
    /// A file for `docker run --env-file`, which knows no quotes and expands nothing
    Docker,
    /// The entries of a Kubernetes container's `env:` list
    K8s,
    /// One JSON object
    Json,
}

/// Spells `variables` in `format`, each line ended. The text holds the deployment's key where one was given.
///
/// A reference to the key becomes `$POSTERN_KEY` in a shell, `${POSTERN_KEY}` in a dotenv file, and in Kubernetes
/// `$(POSTERN_KEY)` after an entry that takes it from the field `key` of the secret `postern-key`. Docker's env files
/// and JSON expand nothing: there `$POSTERN_KEY` stands for whoever uses the text to replace, and Docker's says so.
///
/// # Errors
/// When a value has no spelling that all readers of `format` understand alike.
pub(crate) fn render(format: Format, variables: &[Variable]) -> Result<String> {
    match format {
        Format::Shell => Ok(variables.iter().map(shell_line).collect()),
        Format::Dotenv => variables.iter().map(dotenv_line).collect(),
        Format::Docker => Ok(docker_file(variables)),
        Format::K8s => Ok(k8s_list(variables)),
        Format::Json => Ok(json_object(variables)),
    }
}

fn shell_line(variable: &Variable) -> String {
    let word = match &variable.value {
        Value::Literal(text) => format!("'{}'", text.expose_secret().replace('\'', r"'\''")),
        Value::AroundKey { before, after } => {
            format!("\"{}${KEY_VARIABLE}{}\"", in_double_quotes(before), in_double_quotes(after))
        }
    };
    format!("export {}={word}\n", variable.name)
}

fn in_double_quotes(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Readers of dotenv files agree on bare words and on single quotes without escapes, and on nothing else; some expand
/// `${…}` even there.
fn dotenv_line(variable: &Variable) -> Result<String> {
    let name = &variable.name;
    let value = variable.value.with_key_as(&format!("${{{KEY_VARIABLE}}}"));
    if matches!(variable.value, Value::AroundKey { .. }) || value.bytes().all(is_bare_byte) {
        return Ok(format!("{name}={value}\n"));
    }
    ensure!(
        !value.contains(['\'', '\\']) && !value.contains("${"),
        "the value of {name} holds a single quote, a backslash or ${{, which readers of dotenv files understand \
         differently; change it or use another --format"
    );
    Ok(format!("{name}='{value}'\n"))
}

fn docker_file(variables: &[Variable]) -> String {
    let mut file = String::new();
    if refer_to_key(variables) {
        file += &format!("# Docker expands nothing here: replace ${KEY_VARIABLE} by the deployment's key.\n");
    }
    for Variable { name, value } in variables {
        file += &format!("{name}={}\n", value.with_key_as(&format!("${KEY_VARIABLE}")));
    }
    file
}

fn k8s_list(variables: &[Variable]) -> String {
    let mut list = String::new();
    if refer_to_key(variables) {
        // Kubernetes expands only what stands above.
        list += &format!(
            "- name: {KEY_VARIABLE}\n  valueFrom:\n    secretKeyRef:\n      name: postern-key\n      key: key\n"
        );
    }
    for Variable { name, value } in variables {
        let value = match value {
            Value::Literal(text) => text.expose_secret().replace('$', "$$"),
            Value::AroundKey { before, after } => {
                format!("{}$({KEY_VARIABLE}){}", before.replace('$', "$$"), after.replace('$', "$$"))
            }
        };
        list += &format!("- name: {name}\n  value: {}\n", json_string(&value)); // a JSON string is a YAML string
    }
    list
}

fn json_object(variables: &[Variable]) -> String {
    let members = variables.iter().map(|Variable { name, value }| {
        format!("  {}: {}", json_string(name), json_string(&value.with_key_as(&format!("${KEY_VARIABLE}"))))
    });
    format!("{{\n{}\n}}\n", members.collect::<Vec<_>>().join(",\n"))
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn refer_to_key(variables: &[Variable]) -> bool {
    variables.iter().any(|variable| matches!(variable.value, Value::AroundKey { .. }))
}

fn is_bare_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./:,@%+=~".contains(&byte)
}
