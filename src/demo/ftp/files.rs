//! The simulated FTP host's files: in memory, the same for all its sessions, gone with it.
//!
//! Names are absolute paths such as `/pub/a.txt`; case counts. Invariant: every name's directory exists.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

/// The most bytes of all files together.
const BYTES_MAX: usize = 64 << 20;
/// The most files and directories.
const NAMES_MAX: usize = 10_000;

/// What stands under a name.
#[derive(Debug, Clone)]
enum Node {
    Directory,
    File { content: Bytes, changed: Timestamp },
}

/// All files and directories, under their absolute paths; the root is not among them.
#[derive(Debug)]
pub(super) struct Files(BTreeMap<String, Node>);

/// Why something was not done, in the words of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The reply's code.
    pub(super) code: u16,
    /// Its text.
    pub(super) text: &'static str,
}

const fn wrong(text: &'static str) -> Wrong {
    Wrong { code: 550, text }
}

const NOT_FOUND: Wrong = wrong("File or directory not found.");
const FULL: Wrong = Wrong { code: 552, text: "The simulator keeps files in memory, and that is full." };

impl Files {
    /// What is there at the start.
    pub(super) fn new(now: Timestamp) -> Self {
        let file = |content: &'static str| Node::File { content: Bytes::from_static(content.as_bytes()), changed: now };
        Self(BTreeMap::from([
            ("/README.TXT".to_owned(), file(README)),
            ("/orders.csv".to_owned(), file(ORDERS)),
            ("/pub".to_owned(), Node::Directory),
        ]))
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        path == "/" || matches!(self.0.get(path), Some(Node::Directory))
    }

    /// A file's content and when it was written.
    pub(super) fn read(&self, path: &str) -> Result<(Bytes, Timestamp), Wrong> {
        match self.0.get(path) {
            Some(Node::File { content, changed }) => Ok((content.clone(), *changed)),
            Some(Node::Directory) => Err(wrong("This is a directory.")),
            None => Err(NOT_FOUND),
        }
    }

    /// Whether a file may be written there.
    pub(super) fn may_write(&self, path: &str) -> Result<(), Wrong> {
        if self.is_directory(path) {
            return Err(wrong("This is a directory."));
        }
        if !self.is_directory(parent(path)) {
            return Err(NOT_FOUND);
        }
        if self.0.len() >= NAMES_MAX && !self.0.contains_key(path) { Err(FULL) } else { Ok(()) }
    }

    /// How many bytes a file there may have.
    pub(super) fn room(&self, path: &str) -> usize {
        let bytes = |(name, node): (&String, &Node)| match node {
            Node::File { content, .. } if name != path => content.len(),
            Node::File { .. } | Node::Directory => 0,
        };
        BYTES_MAX.saturating_sub(self.0.iter().map(bytes).sum())
    }

    pub(super) fn write(&mut self, path: &str, content: Bytes, changed: Timestamp) -> Result<(), Wrong> {
        self.may_write(path)?;
        if content.len() > self.room(path) {
            return Err(FULL);
        }
        self.0.insert(path.to_owned(), Node::File { content, changed });
        Ok(())
    }

    pub(super) fn make_directory(&mut self, path: &str) -> Result<(), Wrong> {
        if path == "/" || self.0.contains_key(path) {
            return Err(wrong("There is something of this name already."));
        }
        self.may_write(path)?;
        self.0.insert(path.to_owned(), Node::Directory);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &str) -> Result<(), Wrong> {
        self.read(path)?;
        self.0.remove(path);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &str) -> Result<(), Wrong> {
        if path == "/" || !self.is_directory(path) {
            return Err(wrong("There is no such directory."));
        }
        if self.list(path).next().is_some() {
            return Err(wrong("The directory is not empty."));
        }
        self.0.remove(path);
        Ok(())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        path == "/" || self.0.contains_key(path)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Wrong> {
        let inside = format!("{from}/");
        if self.exists(to) || to.starts_with(&inside) {
            return Err(wrong("There is something of this name already."));
        }
        self.may_write(to)?;
        let node = self.0.remove(from).ok_or(NOT_FOUND)?;
        self.0.insert(to.to_owned(), node);
        let moved: Vec<_> = self.0.keys().filter(|name| name.starts_with(&inside)).cloned().collect();
        for name in moved {
            if let (Some(node), Some(rest)) = (self.0.remove(&name), name.strip_prefix(from)) {
                self.0.insert(format!("{to}{rest}"), node);
            }
        }
        Ok(())
    }

    /// The last parts of the names in the directory `path`, with what is there.
    fn list<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.0.iter().filter(move |(name, _)| parent(name) == path).map(|(name, node)| (last(name), node))
    }

    /// What `LIST` sends of a file or a directory: lines as of `ls -l`, which is also the format 1 of IBM i.
    pub(super) fn long(&self, path: &str, owner: &str) -> Result<String, Wrong> {
        let line = |name: &str, node: &Node| match node {
            Node::Directory => format!("drwxrwxrwx   2 {owner:<10} 0                    0 Jan 01 00:00 {name}\r\n"),
            Node::File { content, changed } => {
                let size = content.len();
                format!(
                    "-rw-rw-rw-   1 {owner:<10} 0           {size:>10} {} {name}\r\n",
                    changed.strftime("%b %d %H:%M")
                )
            }
        };
        self.each(path, line)
    }

    /// What `NLST` sends.
    pub(super) fn short(&self, path: &str) -> Result<String, Wrong> {
        self.each(path, |name, _| format!("{name}\r\n"))
    }

    fn each(&self, path: &str, line: impl Fn(&str, &Node) -> String) -> Result<String, Wrong> {
        if self.is_directory(path) {
            return Ok(self.list(path).map(|(name, node)| line(name, node)).collect());
        }
        let node = self.0.get(path).ok_or(NOT_FOUND)?;
        Ok(line(last(path), node))
    }
}

/// The path that `name` means in the directory `current`.
pub(super) fn resolve(current: &str, name: &str) -> String {
    let mut parts: Vec<&str> = if name.starts_with('/') { Vec::new() } else { current.split('/').collect() };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    format!("/{}", parts.join("/"))
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

const README: &str = "\
These files are in the memory of Sallyport's simulated FTP host. It is no IBM i.

You see them because password and passcode were right: the gateway logged on to
the host for you only then. Upload, rename and delete as you like; all of it is
gone when the demo ends.
";

const ORDERS: &str = "\
order,customer,item,quantity
1001,Harbour Supplies,rope 12 mm,40
1002,Northgate Garden,spade,6
1003,Harbour Supplies,lantern,15
";

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files::new(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn paths_stay_under_the_root() {
        for (current, name, expected) in [
            ("/", "a", "/a"),
            ("/a", "b/c", "/a/b/c"),
            ("/a/b", "..", "/a"),
            ("/a", "../../..", "/"),
            ("/a", "/x//y/.", "/x/y"),
            ("/", "", "/"),
        ] {
            assert_eq!(resolve(current, name), expected, "{current} {name}");
        }
    }

    #[test]
    fn written_renamed_and_removed() {
        let mut files = files();
        let now = Timestamp::UNIX_EPOCH;
        files.write("/pub/a", Bytes::from_static(b"one"), now).unwrap();
        assert_eq!(files.write("/no/a", Bytes::new(), now), Err(NOT_FOUND));
        assert_eq!(files.short("/pub").unwrap(), "a\r\n");
        assert_eq!(files.remove_directory("/pub").unwrap_err().code, 550);
        files.rename("/pub", "/open").unwrap();
        assert_eq!(files.read("/open/a").unwrap().0, "one");
        assert!(files.rename("/open", "/open/inside").is_err());
        assert!(files.rename("/open", "/README.TXT").is_err());
        files.remove_file("/open/a").unwrap();
        files.remove_directory("/open").unwrap();
        assert!(!files.exists("/open") && files.remove_file("/open").is_err());
        files.make_directory("/d").unwrap();
        assert!(files.make_directory("/d").is_err() && files.make_directory("/").is_err());
        assert!(files.long("/", "ANNA").unwrap().contains("Jan 01 00:00 orders.csv\r\n"));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut files = files();
        let large = Bytes::from(vec![0; files.room("/x")]);
        files.write("/x", large.clone(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(files.write("/y", Bytes::from_static(b"y"), Timestamp::UNIX_EPOCH), Err(FULL));
        files.write("/x", large, Timestamp::UNIX_EPOCH).unwrap();
    }
}
