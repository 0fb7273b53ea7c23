//! What the unit tests of several modules need: a folder that goes away with the test.

use std::path::PathBuf;

/// A new folder, removed on drop.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder.
    pub(crate) fn new() -> Self {
        let id = crate::system::System::new().id().unwrap();
        let path = std::env::temp_dir().join(format!("sallyport-test-{id}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
