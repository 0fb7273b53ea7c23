//! What several test modules share.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) mod play;
pub(crate) mod script;
pub(crate) mod site;
pub(crate) mod texts;
pub(crate) mod tmux;
pub(crate) mod trace;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Says that a test cannot do its work here: printed, and added to the list that `tests/run` shows at its end.
#[expect(clippy::print_stdout, reason = "the line is for whoever reads the test's output")]
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("{test}: {why}\n");
    print!("skipped {line}");
    if let Some(list) = std::env::var_os("SALLYPORT_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(list);
        file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
    }
}

/// All files below `folder` whose name ends with `.extension`, sorted.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Lets real time pass, where a test waits for another program.
#[expect(clippy::disallowed_methods, reason = "foreign programs give no other sign; every wait has an end")]
pub(crate) fn pause(time: Duration) -> Duration {
    std::thread::sleep(time);
    time
}

/// The folder of recorded traces, where there is one.
pub(crate) fn traces() -> Option<PathBuf> {
    let named = std::env::var_os("SALLYPORT_TRACES").map(PathBuf::from);
    named.or_else(|| Some(root().join("../shared/traces"))).filter(|folder| folder.join("README.md").is_file())
}

/// A program by its environment variable or on the path.
pub(crate) fn program(name: &str, variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
    named.or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|folder| folder.join(name))
            .find(|path: &PathBuf| is_program(path))
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
