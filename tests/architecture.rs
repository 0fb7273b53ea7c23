//! The fences that ARCHITECTURE.md names: who may import whom, what a file looks like, and that the map is true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{files, root};

/// Packages and what they may depend on; a trailing `?` means: optional, and switched on by feature `relay` only.
const EDGES: &[(&str, &[&str])] = &[
    ("sallyport-policy", &["ipnet", "jiff", "serde", "sha2", "subtle", "thiserror", "zeroize"]),
    (
        "proxy-ftp",
        &[
            "bytes",
            "memchr",
            "nom",
            "rustix?",
            "rustls?",
            "sallyport-policy",
            "socket2?",
            "thiserror",
            "tokio?",
            "tokio-rustls?",
            "tracing?",
        ],
    ),
    ("proxy-tn5250", &["bytes", "memchr", "nom", "sallyport-policy", "thiserror", "tokio?", "tokio-util?", "tracing?"]),
    ("sallyport-fuzz", &["bytes", "libfuzzer-sys", "proxy-ftp", "proxy-tn5250", "sallyport-policy"]),
];

/// Modules of `src/` and the words that must not stand in them outside of tests.
const NEVER: &[(&str, &[&str])] = &[
    (
        "guard",
        &[
            "proxy_ftp",
            "proxy_tn5250",
            "crate::serve",
            "crate::cli",
            "crate::sessions",
            "rusqlite",
            "lettre",
            "reqwest",
            "axum",
        ],
    ),
    ("store", &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::notify", "crate::serve", "crate::cli", "lettre"]),
    (
        "notify",
        &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::store", "crate::serve", "crate::cli", "rusqlite"],
    ),
    (
        "delivery",
        &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::serve", "crate::cli", "rusqlite", "lettre", "reqwest"],
    ),
    ("audit", &["proxy_ftp", "proxy_tn5250", "crate::", "rusqlite", "lettre", "std::fs", "tokio", "tracing"]),
    (
        "alert",
        &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::serve", "crate::cli", "rusqlite", "lettre", "reqwest"],
    ),
    ("ledger", &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::serve", "crate::cli", "rusqlite", "lettre"]),
    ("rulebook", &["crate::", "rusqlite", "tokio"]),
    ("replay", &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::store", "crate::cli", "rusqlite", "tokio"]),
    ("sink", &["proxy_ftp", "proxy_tn5250", "crate::guard", "crate::serve", "crate::cli", "rusqlite", "lettre"]),
    ("serve", &["rusqlite", "lettre", "axum"]),
    (
        "factor",
        &[
            "proxy_ftp",
            "proxy_tn5250",
            "crate::guard",
            "crate::store",
            "crate::notify",
            "crate::serve",
            "crate::cli",
            "rusqlite",
            "lettre",
        ],
    ),
    ("seal", &["crate::guard", "crate::store", "crate::serve", "crate::cli", "crate::config", "rusqlite", "lettre"]),
    ("key", &["crate::guard", "crate::store", "crate::serve", "crate::cli", "crate::config", "rusqlite", "lettre"]),
    ("control", &["crate::guard", "crate::store", "crate::serve", "crate::cli", "rusqlite"]),
    ("metrics", &["crate::guard", "crate::store", "crate::serve", "crate::cli", "crate::notify", "rusqlite"]),
    ("health", &["crate::guard", "crate::store", "crate::serve", "crate::cli", "rusqlite"]),
    ("doctor", &["crate::guard", "crate::serve", "crate::cli", "proxy_tn5250", "rusqlite", "lettre"]),
    ("config", &["crate::guard", "crate::serve", "crate::cli", "rusqlite"]),
    ("tls", &["crate::guard", "crate::store", "crate::serve", "crate::cli", "rusqlite", "lettre"]),
];

/// What no file of a pure crate may name, relay and data connections apart.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "println!",
    "eprintln!",
    "unsafe ",
];

/// The longest file, in lines: 800 is a reason to split, this is a fault. Tables that a program wrote are not counted.
const LINES_MAX: usize = 850;

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The Rust files of the project.
fn sources() -> Vec<PathBuf> {
    ["policy", "proxy-ftp", "proxy-tn5250", "fuzz", "src", "tests", "benches"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "target"))
        .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Names of modules that are compiled for tests only: `#[cfg(test)] mod name;`.
fn test_modules() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources() {
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let name =
                pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// The part of a file that goes into the product: without comments, and up to the tests at its bottom.
fn product(path: &Path) -> String {
    let is_below_tests = path.parent().is_some_and(|folder| folder.ends_with("tests"));
    if is_below_tests || test_modules().contains(path.file_stem().unwrap().to_str().unwrap()) {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // A module for tests may be named at the top; the tests themselves stand at the bottom.
    let end = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].trim().ends_with('{'));
    lines[..end.unwrap_or(lines.len())]
        .iter()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn packages_import_what_the_table_allows() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found: BTreeMap<&str, &serde_json::Value> =
        packages.iter().map(|package| (package["name"].as_str().unwrap(), package)).collect();
    let table: BTreeSet<&str> = EDGES.iter().map(|row| row.0).chain(["sallyport"]).collect();
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), table, "every package has a row in the table");

    for (name, allowed) in EDGES {
        let actual: BTreeSet<String> = found[name]["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| {
                let optional = if dependency["optional"].as_bool().unwrap() { "?" } else { "" };
                format!("{}{optional}", dependency["name"].as_str().unwrap())
            })
            .collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        assert!(actual.is_subset(&allowed), "{name} imports {:?}", actual.difference(&allowed));
        for (feature, needs) in found[name]["features"].as_object().unwrap() {
            let runtime = needs.as_array().unwrap().iter().any(|need| need.as_str().unwrap().starts_with("dep:"));
            assert!(!runtime || feature == "relay", "{name}: feature {feature} switches a dependency on");
        }
    }
}

#[test]
fn the_gates_build_without_the_runtime() {
    let tree = cargo(&["tree", "-p", "sallyport-fuzz", "-e", "normal", "--prefix", "none", "--offline"]);
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("proxy-tn5250"), "{tree}");
    for banned in ["tokio", "tokio-util", "tracing", "rustls", "rusqlite", "socket2", "rand", "getrandom"] {
        assert!(!names.contains(banned), "the fuzz targets reach {banned}:\n{tree}");
    }
}

#[test]
fn pure_files_touch_nothing() {
    for folder in ["policy/src", "proxy-ftp/src", "proxy-tn5250/src"] {
        for path in files(&root().join(folder), "rs") {
            // What feature `relay` switches on.
            let inside = path.strip_prefix(root().join(folder)).unwrap().components().next().unwrap();
            if folder != "policy/src"
                && ["relay.rs", "relay", "data.rs", "data"].iter().any(|name| inside.as_os_str() == *name)
            {
                continue;
            }
            let text = product(&path);
            for word in IMPURE {
                // `#[cfg(feature = "relay")] pub mod relay;` is the one mention that lib.rs needs.
                assert!(!text.contains(word), "{} names {word}", shown(&path));
            }
        }
    }
}

#[test]
fn modules_keep_to_their_side() {
    for (module, never) in NEVER {
        let mut paths = files(&root().join("src").join(module), "rs");
        paths.extend(Some(root().join("src").join(format!("{module}.rs"))).filter(|path| path.exists()));
        assert!(!paths.is_empty(), "src/{module} is gone: take it out of the table");
        for path in paths {
            let text = product(&path);
            for word in *never {
                assert!(!text.contains(word), "{} names {word}", shown(&path));
            }
        }
    }
    for path in files(&root().join("src"), "rs") {
        let text = product(&path);
        if !path.starts_with(root().join("src/system.rs")) {
            for word in ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"] {
                assert!(!text.contains(word), "{} reads the clock", shown(&path));
            }
        }
        if !path.starts_with(root().join("src/store")) {
            assert!(!text.contains("rusqlite"), "{} names the database", shown(&path));
        }
        // The configuration is checked with the mailer's own idea of an address.
        if !path.starts_with(root().join("src/notify")) && !shown(&path).starts_with("src/config") {
            assert!(!text.contains("lettre"), "{} names the mailer", shown(&path));
        }
    }
}

#[test]
fn files_open_with_a_sentence_and_stay_readable() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with what it is", shown(&path));
        let generated = text.lines().take(12).any(|line| line.starts_with("//! Written by `"));
        let lines = text.lines().count();
        assert!(generated || lines <= LINES_MAX, "{} has {lines} lines: split it", shown(&path));
        let name = path.file_stem().unwrap().to_str().unwrap();
        for banned in ["utils", "common", "helpers", "types", "manager", "handler"] {
            assert_ne!(name, banned, "{}", shown(&path));
        }
    }
}

/// The paths that a page names: words in backquotes that contain a slash or end like a file of ours.
fn paths(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let ends = [".rs", ".toml", ".md", ".script", "/"];
    text.split('`')
        .skip(1)
        .step_by(2)
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches([',', ';', ':', '(', ')']))
        .filter(|word| {
            !word.contains(['<', '*', '{', '$', '=', '"', '@'])
                && !word.contains("://")
                && !word.starts_with(['-', '/', '~'])
        })
        .filter(|word| ends.iter().any(|end| word.ends_with(end) && word.len() > end.len()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_path_that_the_map_names_exists() {
    let named = paths("ARCHITECTURE.md");
    assert!(named.len() > 20, "the map names hardly a path: {named:?}");
    for path in named {
        assert!(root().join(&path).exists(), "ARCHITECTURE.md names {path}, which is not there");
    }
}

#[test]
fn every_folder_at_the_top_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let tracked = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    let tracked = String::from_utf8(tracked.stdout).unwrap();
    let top: BTreeSet<&str> = tracked.lines().filter_map(|line| line.split_once('/')).map(|(top, _)| top).collect();
    for folder in top.into_iter().filter(|folder| !folder.starts_with('.')) {
        assert!(map.contains(&format!("{folder}/")), "ARCHITECTURE.md does not say what {folder}/ is");
    }
}
