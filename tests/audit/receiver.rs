//! The audit received by a real rsyslog over TLS, through an outage of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::site::{Plan, Site};
use crate::support::{pause, program, skip};

struct Rsyslog(Child);

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rsyslog {
    fn start(program: &Path, folder: &Path, port: u16) -> Self {
        let log = fs::File::create(folder.join("rsyslog.log")).unwrap();
        let child = Command::new(program)
            .args(["-n", "-iNONE", "-f"])
            .arg(folder.join("rsyslog.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut waited = Duration::ZERO;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(waited < Duration::from_secs(20), "{}", fs::read_to_string(folder.join("rsyslog.log")).unwrap());
            waited += pause(Duration::from_millis(50));
        }
        Self(child)
    }
}

/// Certificates of one authority for receiver and gateway, as files.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new([]).unwrap();
    // OpenSSL takes a certificate that bears its issuer's name for self-signed.
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for name in ["siem", "gateway"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("{name}.example"));
        fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(folder.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

/// What a word of the structured data says.
fn value<'a>(line: &'a str, name: &str) -> &'a str {
    line.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

#[test]
fn rsyslog_gets_every_entry_over_tls_through_an_outage() {
    let test = "rsyslog_gets_every_entry_over_tls_through_an_outage";
    let drivers = ["/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog", "/usr/lib/rsyslog"];
    let Some(rsyslogd) = program("rsyslogd", "RSYSLOGD")
        .or_else(|| Some("/usr/sbin/rsyslogd".into()).filter(|p: &std::path::PathBuf| p.exists()))
    else {
        return skip(test, "rsyslogd is not installed");
    };
    if !drivers.iter().any(|folder| Path::new(folder).join("lmnsd_ossl.so").exists()) {
        return skip(test, "rsyslog-openssl is not installed");
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sink = format!(
        "[[audit.sink]]\nname = \"siem\"\naddress = \"127.0.0.1:{port}\"\n[audit.sink.tls]\nca_file = \"ca.pem\"\n\
         server_name = \"siem.example\"\ncertificate = \"gateway.pem\"\nkey = \"gateway-key.pem\""
    );
    let mut site = Site::start_with(Plan { limits: sink.leak(), ..Plan::default() }, certificates);
    let folder = site.file("");
    let conf = format!(
        "global(workDirectory=\"{0}\" defaultNetstreamDriverCAFile=\"{0}ca.pem\" defaultNetstreamDriverCertFile=\"{0}siem.pem\" \
         defaultNetstreamDriverKeyFile=\"{0}siem-key.pem\")\n\
         module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"x509/name\" \
         PermittedPeer=[\"gateway.example\"])\n\
         template(name=\"line\" type=\"string\" string=\"%hostname% %app-name% %msgid% %pri% %timereported:::date-rfc3339% %structured-data%\\n\")\n\
         ruleset(name=\"audit\") {{ action(type=\"omfile\" file=\"{0}received\" template=\"line\" asyncWriting=\"off\") }}\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"audit\")\n",
        folder.display()
    );
    fs::write(folder.join("rsyslog.conf"), conf).unwrap();
    let received = folder.join("received");
    let lines = || fs::read_to_string(&received).unwrap_or_default();
    let wait_for = |what: &str| {
        let mut waited = Duration::ZERO;
        while !lines().contains(what) {
            let log = fs::read_to_string(folder.join("rsyslog.log")).unwrap();
            assert!(waited < Duration::from_secs(60), "no {what} in {}\n{log}", lines());
            waited += pause(Duration::from_millis(100));
        }
    };
    let add = |name: &str| site.admin(&["user", "add", name, "--comment", "a \"quoted\" ] and \\ comment"]);

    // The receiver comes after the gateway, goes in the middle, and comes back.
    for number in 0..5 {
        add(&format!("BEFORE{number}"));
    }
    let receiver = Rsyslog::start(&rsyslogd, &folder, port);
    wait_for("BEFORE4");
    for number in 0..5 {
        add(&format!("DURING{number}"));
    }
    drop(receiver);
    for number in 0..20 {
        add(&format!("AWAY{number}"));
    }
    let receiver = Rsyslog::start(&rsyslogd, &folder, port);
    wait_for("AWAY19");
    add("AFTER");
    wait_for("AFTER");
    let pid = rustix::process::Pid::from_child(&site.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    site.process.wait().unwrap();
    let listed = site.admin(&["audit", "export"]);
    let last = listed.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok()).unwrap();
    assert_eq!(last["event"], "checkpoint", "the stop is signed");
    wait_for(&format!(" sequence=\"{}\"", last["sequence"]));
    drop(receiver);

    let received = lines();
    let mut by_id: BTreeMap<i64, &str> = BTreeMap::new();
    let mut twice = 0;
    for line in received.lines() {
        let node = line.split(' ').next().unwrap();
        assert!(!node.is_empty() && line.contains(" sallyport ") && line.contains("[sallyport@32473 "), "{line}");
        if let Some(first) = by_id.insert(value(line, "id").parse().unwrap(), line) {
            assert_eq!(first, line, "the same entry says the same twice");
            twice += 1;
        }
    }
    let written: BTreeMap<i64, String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|entry| (entry["id"].as_i64().unwrap(), entry["hash"].as_str().unwrap().to_owned()))
        .collect();
    assert!(written.len() > 35, "{listed}");
    for (id, hash) in &written {
        let line = by_id.get(id).unwrap_or_else(|| panic!("entry {id} never arrived"));
        assert_eq!(value(line, "hash"), hash);
    }
    assert_eq!(by_id.len(), written.len(), "and nothing else");
    assert!(twice <= written.len(), "{twice} entries came twice, which is no more than was under way");
    let sinks: serde_json::Value = serde_json::from_str(&site.admin(&["audit", "sinks", "--json"])).unwrap();
    assert_eq!((&sinks[0]["waiting"], &sinks[0]["lost"]), (&0.into(), &0.into()), "{sinks}");
}
