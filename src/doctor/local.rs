//! What can be seen on this machine: files, store, disk, clock, process, and our own listeners.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::net::TcpListener;

use super::{Context, Depth, Finding};
use crate::config::{ApiKey, Config, Password, SinkTls, Target};
use crate::control;
use crate::store;

/// Descriptors for all that is not a session.
const DESCRIPTORS_KEPT: u64 = 64;
/// Free space that is too little, and that is little, in bytes.
const SPACE: (u64, u64) = (256 << 20, 2 << 30);
/// A log of the store that nobody folds into it any more, in bytes.
const LOG_LARGE: u64 = 256 << 20;
/// How far the clock may be behind the latest entry of the audit, in seconds.
const BEHIND_MAX: i64 = 5;

/// The configuration's file and the files it names.
pub(super) async fn configuration(at: &Context) -> Vec<Finding> {
    let path = at.config.path().display().to_string();
    match &at.open {
        Ok(_) => vec![Finding::ok(path, "it is right, and so are the files that it names")],
        Err(error) => vec![Finding::problem(path, error.to_string(), "correct it; sallyport check shows all of it")],
    }
}

/// Who can read and write our files.
pub(super) async fn permissions(at: &Context) -> Vec<Finding> {
    let gateway = &at.config.gateway;
    let mut findings = Vec::new();
    let beside = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let audit_key = &at.config.audit.key_file;
    let mut secret = vec![gateway.store.clone(), gateway.key_file.clone(), gateway.control.clone(), audit_key.clone()];
    secret.extend(["-wal", "-shm"].map(|suffix| beside(&gateway.store, suffix)));
    secret.extend(at.config.listeners.iter().filter_map(|listener| Some(listener.tls.as_ref()?.key.path.clone())));
    let (files, is_in_file) = secrets(&at.config);
    secret.extend(files);
    secret.sort();
    secret.dedup();
    for path in secret {
        findings.extend(exposure(&path, 0o077, "read or written"));
    }
    let mask = if is_in_file { 0o077 } else { 0o022 };
    let what = if mask == 0o077 { "read or written, and holds a password," } else { "written" };
    findings.extend(exposure(at.config.path(), mask, what));
    for path in [&gateway.store, &gateway.key_file, &gateway.control, audit_key] {
        if let Some(folder) = path.parent() {
            findings.extend(folder_exposure(folder));
        }
    }
    findings.dedup();
    if findings.is_empty() {
        findings.push(Finding::ok("files", "store, keys, control socket and passwords are for their owner only"));
    }
    findings
}

/// The files of passwords and other secrets that the configuration names, and whether one stands in its own file.
fn secrets(config: &Config) -> (Vec<PathBuf>, bool) {
    let mut named: Vec<&Password> = Vec::new();
    for relay in std::iter::once(&config.smtp).chain(&config.smtp_fallbacks) {
        named.extend(relay.login.as_ref().map(|login| &login.password));
        let oauth = relay.oauth.as_ref();
        named.extend(oauth.and_then(|oauth| oauth.client_secret.as_ref()));
        named.extend(oauth.and_then(|oauth| oauth.refresh_token.as_ref()));
    }
    named.extend(config.sms.iter().filter_map(|sms| sms.secret.as_ref()));
    named.extend(config.audit.sinks.iter().filter_map(|sink| match &sink.target {
        Target::Webhook { secret, .. } => secret.as_ref(),
        Target::File(_) | Target::Syslog { .. } => None,
    }));
    named.extend(config.radius.iter().flat_map(|radius| &radius.servers).map(|server| &server.secret));
    // The address of a webhook is one as well.
    let has_webhook = config.audit.sinks.iter().any(|sink| matches!(sink.target, Target::Webhook { .. }));
    let (mut files, mut is_here) = (Vec::new(), has_webhook);
    for password in named {
        match password {
            Password::Here(_) => is_here = true,
            Password::File(name) => files.push(name.path.clone()),
        }
    }
    match config.yubikey.as_ref().and_then(|yubikey| yubikey.api_key.as_ref()) {
        Some(ApiKey::Here(_)) => is_here = true,
        Some(ApiKey::File(name)) => files.push(name.path.clone()),
        None => {}
    }
    for sink in &config.audit.sinks {
        let (Target::Syslog { tls, .. } | Target::Webhook { tls, .. }) = &sink.target else { continue };
        if let Some(SinkTls { identity: Some((_, key)), .. }) = tls {
            files.push(key.path.clone());
        }
    }
    (files, is_here)
}

/// Whether others can do what `mask` says; a file that is not there is nobody's to read.
fn exposure(path: &Path, mask: u32, what: &str) -> Option<Finding> {
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.permissions().mode() & 0o7777;
    let subject = path.display().to_string();
    if mode & mask != 0 {
        let advice = format!("chmod {:03o} {}", mode & !mask & 0o777, path.display());
        return Some(Finding::problem(subject, format!("it can be {what} by others (mode {mode:03o})"), advice));
    }
    let owner = metadata.uid();
    let us = rustix::process::geteuid().as_raw();
    if owner != us && owner != 0 && us != 0 {
        let found = format!("it belongs to user id {owner}, and this is user id {us}");
        return Some(Finding::warning(subject, found, "run the doctor as the gateway's own user"));
    }
    None
}

fn folder_exposure(folder: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(folder).ok()?.permissions().mode();
    // With the sticky bit (as /tmp has) nobody can replace what is another's, but put something in its place before.
    if mode & 0o022 == 0 {
        return None;
    }
    let found = format!("others can put files there (mode {:04o})", mode & 0o7777);
    Some(Finding::problem(folder.display().to_string(), found, "a folder that only the gateway's user can write"))
}

/// The deployment key.
pub(super) async fn key(at: &Context) -> Vec<Finding> {
    let path = &at.config.gateway.key_file;
    let subject = path.display().to_string();
    if !path.exists() {
        let advice = "start the gateway once, which makes it; or put the copy back that belongs to the store";
        return vec![Finding::problem(subject, "there is none", advice)];
    }
    vec![match crate::key::Key::open(path, &at.system) {
        Ok(_) => Finding::ok(subject, "it is there and can be used; keep a copy apart from the store's"),
        Err(error) => Finding::problem(subject, error.to_string(), "put the copy back, or set the mode to 600"),
    }]
}

/// Whether the store is whole and can be written.
pub(super) async fn store(at: &Context) -> Vec<Finding> {
    let path = at.config.gateway.store.clone();
    let subject = path.display().to_string();
    let deep = at.depth == Depth::Deep;
    let inspected = tokio::task::spawn_blocking(move || store::inspect(&path, deep)).await;
    let found = match inspected {
        Ok(Ok(found)) => found,
        Ok(Err(store::Error::Open { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
            let advice = "the first start makes it; where there was one, put the copy back";
            return vec![Finding::problem(subject, "there is none", advice)];
        }
        Ok(Err(error)) => {
            let advice = "look whether the file is a store and whether this user can read and write it";
            return vec![Finding::problem(subject, error.to_string(), advice)];
        }
        Err(error) => return vec![Finding::problem(subject, error.to_string(), "run it again")],
    };
    let mut findings = Vec::new();
    if found.schema > found.known {
        let text = format!("schema {}, and this program knows {}", found.schema, found.known);
        findings.push(Finding::problem(&subject, text, "use the newer Sallyport that wrote it"));
    } else if found.schema < found.known {
        let text = format!("schema {}, and this program brings it to {}", found.schema, found.known);
        findings.push(Finding::warning(&subject, text, "make a copy of it before the first start of this version"));
    }
    if !found.damage.is_empty() {
        let text = format!("damaged: {}", found.damage.join("; "));
        findings.push(Finding::problem(&subject, text, "stop the gateway and put the newest good copy back"));
    }
    if let Some(locked) = &found.locked {
        let text = format!("nothing can be written: {locked}");
        let advice = "another program holds it, or the disk is full or read-only: nobody gets in until that ends";
        findings.push(Finding::problem(&subject, text, advice));
    }
    if found.log_size > LOG_LARGE {
        let text = format!("its log (-wal) has {} MiB", found.log_size >> 20);
        findings.push(Finding::warning(&subject, text, "some program reads it for a long time: find and end it"));
    }
    if findings.is_empty() {
        let (size, how) = (found.size >> 10, if deep { "read in full" } else { "looked through" });
        findings.push(Finding::ok(subject, format!("schema {}, {size} KiB, {how}, writable", found.schema)));
    }
    findings
}

/// Whether there is room for the audit.
pub(super) async fn disk(at: &Context) -> Vec<Finding> {
    let folder = at.config.gateway.store.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).to_owned();
    let subject = folder.display().to_string();
    match rustix::fs::statvfs(&folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            vec![room(subject, free, (disk.f_favail, disk.f_files))]
        }
        Err(error) => vec![Finding::problem(subject, error.to_string(), "the folder of the store must be there")],
    }
}

/// What `free` bytes, and free inodes of how many, mean.
fn room(subject: String, free: u64, (inodes, of): (u64, u64)) -> Finding {
    let found = format!("{} MiB free", free >> 20);
    let advice = "make room: with a full disk nobody gets in, since nothing can be written to the audit";
    if free < SPACE.0 {
        Finding::problem(subject, found, advice)
    } else if of > 0 && inodes < 1_000 && inodes < of / 100 {
        Finding::problem(subject, format!("{inodes} of {of} inodes free"), "remove files that nobody needs")
    } else if free < SPACE.1 {
        Finding::warning(subject, found, advice)
    } else {
        Finding::ok(subject, found)
    }
}

/// Whether the clock is right.
pub(super) async fn clock(at: &Context) -> Vec<Finding> {
    let advice = "have the clock set by NTP (systemd-timesyncd, chrony): passcodes, locks and the audit depend on it";
    let synchronised = match tokio::task::spawn_blocking(synchronised).await.ok().flatten() {
        Some(true) => Finding::ok("synchronisation", "the system says that its clock is set by NTP"),
        Some(false) => Finding::warning("synchronisation", "the system says that its clock is not set by NTP", advice),
        None => Finding::warning("synchronisation", "this system does not tell whether its clock is set", advice),
    };
    let mut findings = vec![synchronised];
    let path = at.config.gateway.store.clone();
    let latest = tokio::task::spawn_blocking(move || store::inspect(&path, false).ok()?.latest).await.ok().flatten();
    if let Some(latest) = latest.and_then(|latest| Timestamp::from_millisecond(latest).ok()) {
        findings.push(behind(at.system.now(), latest));
    }
    findings
}

/// How `now` fits the time of the latest entry.
fn behind(now: Timestamp, latest: Timestamp) -> Finding {
    let seconds = latest.as_second().saturating_sub(now.as_second());
    if seconds > BEHIND_MAX {
        let found = format!("the clock is {seconds} s behind the latest entry of the audit ({latest})");
        let advice =
            "the clock was set back, or another node's is ahead: set them; until then the later time counts here";
        return Finding::problem("audit", found, advice);
    }
    Finding::ok("audit", "the clock is not behind the latest entry")
}

/// Whether the system's clock is set by NTP, if it tells.
fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let mut asked = std::process::Command::new("/usr/bin/timedatectl");
    let output = asked.args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match (output.status.success(), output.stdout.trim_ascii()) {
        (true, b"yes") => Some(true),
        (true, b"no") => Some(false),
        _ => None,
    }
}

/// The zone of the times that people read.
pub(super) async fn time_zone(at: &Context) -> Vec<Finding> {
    let zone = &at.config.gateway.time_zone;
    let advice = "time_zone = \"Europe/Berlin\" or the like in [gateway]: hours of rules and times on screens go by it";
    vec![match zone.iana_name() {
        Some(name) => Finding::ok("time zone", name),
        None if zone.is_unknown() => {
            Finding::warning("time zone", "this system does not say which one it has; UTC counts", advice)
        }
        None => Finding::ok("time zone", "the system's"),
    }]
}

/// The limits that the running gateway, or the next one that this user starts, has.
pub(super) async fn process(at: &Context) -> Vec<Finding> {
    let (who, limits) = match &at.status {
        Some(status) => (format!("process {}", status.process), format!("/proc/{}/limits", status.process)),
        None => ("a gateway started by this user".to_owned(), "/proc/self/limits".to_owned()),
    };
    let Ok(limits) = std::fs::read_to_string(&limits) else {
        return vec![Finding::warning(
            who,
            "its limits cannot be read",
            "run the doctor as the gateway's user or root",
        )];
    };
    let mut findings = vec![descriptors(&who, &limits, at.config.limits.connections)];
    if at.status.is_some() {
        findings.push(match limit(&limits, "Max core file size", 0) {
            Some(0) => Finding::ok(who, "it leaves no core dumps, which would hold keys and passwords"),
            _ => Finding::problem(who, "it may leave core dumps, which hold keys and passwords", "restart the gateway"),
        });
    }
    findings
}

fn descriptors(who: &str, limits: &str, connections: usize) -> Finding {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(DESCRIPTORS_KEPT);
    // The gateway raises the soft limit to the hard one by itself.
    let allowed = limit(limits, "Max open files", 1).unwrap_or(0);
    let found = format!("{allowed} open files allowed, {needed} needed for limits.connections = {connections}");
    if allowed < needed {
        return Finding::problem(who, found, "LimitNOFILE= in the unit, or a lower limits.connections");
    }
    Finding::ok(who, found)
}

/// The soft (0) or hard (1) limit of that name, as /proc writes it.
fn limit(limits: &str, name: &str, column: usize) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let value = line.split_whitespace().nth(column)?;
    if value == "unlimited" { Some(u64::MAX) } else { value.parse().ok() }
}

/// Whether the listeners are bound, or could be.
pub(super) async fn listeners(at: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &at.status {
        None => findings.push(Finding::warning(
            at.config.gateway.control.display().to_string(),
            "no gateway runs here, or it is another user's",
            "sallyport serve, or run the doctor as the gateway's user or root",
        )),
        Some(status) => {
            findings.push(Finding::ok(
                at.config.gateway.control.display().to_string(),
                format!(
                    "process {} (version {}) answers, {} sessions",
                    status.process, status.version, status.sessions
                ),
            ));
            if status.version != env!("CARGO_PKG_VERSION") {
                let found = format!("version {} runs, {} is installed", status.version, env!("CARGO_PKG_VERSION"));
                findings.push(Finding::warning("version", found, "sallyport restart"));
            }
            for (path, process) in control::predecessors(&at.config.gateway.control) {
                findings
                    .push(Finding::ok(path.display().to_string(), format!("process {process} lets its sessions end")));
            }
        }
    }
    for listener in &at.config.listeners {
        let subject = format!("{} on {}", listener.name, listener.address);
        let is_bound = at.status.as_ref().is_some_and(|status| {
            status.listeners.iter().any(|(name, address)| {
                **name == *listener.name && (*address == listener.address || listener.address.port() == 0)
            })
        });
        findings.push(match (is_bound, TcpListener::bind(listener.address).await) {
            (true, _) => Finding::ok(subject, "the gateway listens there"),
            (false, Ok(_)) if at.status.is_none() => Finding::ok(subject, "it can be bound"),
            (false, Ok(_)) => {
                Finding::problem(subject, "the running gateway does not listen there", "sallyport reload")
            }
            (false, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => Finding::problem(
                subject,
                "another program listens there",
                format!("find it with: ss -ltnp 'sport = :{}'", listener.address.port()),
            ),
            (false, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Finding::problem(
                subject,
                "this user may not bind ports below 1024",
                "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or the sockets by systemd",
            ),
            (false, Err(error)) => {
                Finding::problem(subject, error.to_string(), "an address that this machine has, or 0.0.0.0")
            }
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn room_on_the_disk() {
        let level = |free, inodes| room("x".into(), free, inodes).level;
        assert_eq!(level(10 << 30, (9_000, 10_000)), Level::Ok);
        assert_eq!(level(1 << 30, (9_000, 10_000)), Level::Warning);
        assert_eq!(level(1 << 20, (9_000, 10_000)), Level::Problem);
        assert_eq!(level(10 << 30, (3, 10_000)), Level::Problem);
        assert_eq!(level(10 << 30, (0, 0)), Level::Ok, "a file system that counts none");
    }

    #[test]
    fn a_clock_set_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(behind(at(1_000), at(1_002)).level, Level::Ok);
        let back = behind(at(1_000), at(4_600));
        assert!(back.level == Level::Problem && back.found.contains("3600 s behind"), "{back:?}");
    }

    #[test]
    fn limits_of_a_process() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            1024                 4096                 files     \n";
        assert_eq!(limit(text, "Max core file size", 0), Some(0));
        assert_eq!(limit(text, "Max core file size", 1), Some(u64::MAX));
        assert_eq!(descriptors("x", text, 2_000).level, Level::Ok);
        assert_eq!(descriptors("x", text, 2_100).level, Level::Problem);
    }

    #[test]
    fn files_open_to_others() {
        let folder = Folder::new();
        let path = folder.path("key.pem");
        std::fs::write(&path, "x").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        assert_eq!(exposure(&path, 0o077, "read"), None);
        mode(0o644);
        let found = exposure(&path, 0o077, "read").unwrap();
        assert!(found.level == Level::Problem && found.advice.unwrap().starts_with("chmod 600 "));
        assert_eq!(exposure(&path, 0o022, "written"), None);
        assert_eq!(exposure(&folder.path("none"), 0o077, "read"), None);
        assert!(folder_exposure(Path::new("/tmp")).is_some());
    }
}
