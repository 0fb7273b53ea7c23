//! Whether somebody hears of alerts.

use policy::setting::Settings;

use super::{Context, Finding, open_store};
use crate::config::{Config, Target};

/// Who is told of alerts, and which are not raised.
pub(super) async fn alerts(at: &Context) -> Vec<Finding> {
    let mut findings = vec![told(&at.config)];
    let read = async {
        let store = open_store(at).await?;
        let failed = |error: crate::store::Error| Finding::problem("alerts", error.to_string(), "look at the store");
        store.rules().await.map_err(failed)
    };
    match read.await {
        Ok(rules) => findings.extend(muted(&rules.settings)),
        Err(finding) => findings.push(finding),
    }
    findings
}

/// Whether anything is in the configuration that tells somebody.
fn told(config: &Config) -> Finding {
    let mails = config.alerts.len();
    // A file that gets everything is for those who look into it.
    let sinks = config.audit.sinks.iter().filter(|sink| sink.only_alerts || !matches!(sink.target, Target::File(_)));
    let sinks: Vec<_> = sinks.map(|sink| &*sink.name).collect();
    match (mails, sinks.as_slice()) {
        (0, []) => Finding::warning(
            "alerts",
            "nobody is told of them: they stand in the audit alone",
            "email in [alerts], or a sink of the audit that leads to somebody; then sallyport alert test",
        ),
        (0, sinks) => Finding::ok("alerts", format!("they go to {}", sinks.join(", "))),
        (mails, sinks) => {
            let more: String = sinks.iter().map(|sink| format!(", and to {sink}")).collect();
            Finding::ok("alerts", format!("they are mailed to {mails} addresses{more}"))
        }
    }
}

fn muted(settings: &Settings) -> Option<Finding> {
    let muted = settings.alert_muted.to_string();
    let is_any = settings.alert_muted != policy::Muted::default();
    is_any.then(|| {
        Finding::warning("alert.muted", format!("never raised: {muted}"), "sallyport settings reset alert.muted")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Level;
    use super::*;

    #[test]
    fn who_hears_of_alerts() {
        const BASE: &str = "[smtp]\nhost = \"mail.example.com\"\nfrom = \"a@example.com\"\n[[host]]\nname = \"PROD\"\n\
            address = \"10.0.0.1\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n";
        for (more, level, about) in [
            ("", Level::Warning, "nobody"),
            ("[[audit.sink]]\nname = \"f\"\nfile = \"f\"\n", Level::Warning, "nobody"),
            ("[[audit.sink]]\nname = \"f\"\nfile = \"f\"\nonly_alerts = true\n", Level::Ok, "to f"),
            ("[[audit.sink]]\nname = \"siem\"\naddress = \"127.0.0.1:1\"\n", Level::Ok, "to siem"),
            ("[alerts]\nemail = [\"ops@example.com\"]\n", Level::Ok, "1 addresses"),
        ] {
            let config = Config::parse(Path::new("/etc/sallyport.toml"), format!("{BASE}{more}")).unwrap();
            let found = told(&config);
            assert!(found.level == level && found.found.contains(about), "{more}: {found:?}");
        }
        let mut settings = Settings::default();
        assert_eq!(muted(&settings), None);
        settings.set("alert.muted", "lockout").unwrap();
        assert_eq!(muted(&settings).unwrap().level, Level::Warning);
    }
}
