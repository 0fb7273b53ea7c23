//! A file that entries are added to, a line each. Whoever moves it away or removes it finds a new one made: no signal is needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Error;

/// The file.
#[derive(Debug)]
pub(super) struct Outlet {
    path: PathBuf,
    file: Option<File>,
}

impl Outlet {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Adds `lines`; they are on the disk when it returns.
    pub(super) async fn put(&mut self, lines: Vec<String>) -> Result<(), Error> {
        let (path, file) = (self.path.clone(), self.file.take());
        let put = tokio::task::spawn_blocking(move || add(&path, file, &lines));
        self.file = Some(put.await.map_err(io::Error::other)??);
        Ok(())
    }
}

fn add(path: &Path, file: Option<File>, lines: &[String]) -> io::Result<File> {
    let mut file = match file {
        Some(file) if is_at(&file, path) => file,
        Some(_) | None => open(path)?,
    };
    let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    Ok(file)
}

/// Whether `path` still leads to `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |data: fs::Metadata| (data.dev(), data.ino());
    matches!((file.metadata().map(identity), fs::metadata(path).map(identity)), (Ok(open), Ok(there)) if open == there)
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    // A line that a crash cut off stays one of its own: the entry comes again, whole.
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[tokio::test]
    async fn a_file_that_is_moved_away_is_made_anew_and_a_torn_line_stays_alone() {
        let folder = Folder::new();
        let (path, old) = (folder.path("audit.jsonl"), folder.path("audit.jsonl.1"));
        fs::write(&path, "{\"torn").unwrap();
        let mut outlet = Outlet::new(path.clone());
        outlet.put(vec!["one".to_owned()]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"torn\none\n");
        fs::rename(&path, &old).unwrap();
        outlet.put(vec!["two".to_owned(), "three".to_owned()]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
        fs::remove_file(&path).unwrap();
        outlet.put(vec!["four".to_owned()]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        let mut nowhere = Outlet::new(folder.path("none/audit.jsonl"));
        assert!(nowhere.put(vec!["x".to_owned()]).await.is_err());
    }
}
