//! What the README tells an administrator to type works as it stands there.

use std::process::Command;

use crate::support::root;
use crate::support::site::{Plan, Site, USER};

/// The lines in the README's blocks of commands that begin with the program's name.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && line.starts_with("sallyport ") {
            commands.push(line.to_owned());
        }
    }
    commands
}

#[test]
fn the_administrators_commands_work_in_their_order() {
    let commands = commands();
    assert!(commands.len() > 3, "hardly a command in the README: {commands:?}");
    let site = Site::start(Plan::default());
    // The README begins with an empty store.
    site.admin(&["user", "remove", USER]);
    for command in commands {
        let mut words: Vec<&str> = command.split_whitespace().skip(1).collect();
        // The gateway of the site runs already, with the configuration that the others read as well.
        if words.first() == Some(&"serve") {
            continue;
        }
        if let Some(at) = words.iter().position(|word| *word == "--config") {
            words.drain(at..at + 2);
        }
        let output = Command::new(env!("CARGO_BIN_EXE_sallyport"))
            .args(&words)
            .arg("--config")
            .arg(site.configuration())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
