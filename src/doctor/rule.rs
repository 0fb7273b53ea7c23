//! Whether the rules do what somebody probably meant: what `rules check` tells, without what is only for the record.

use policy::check::{self, Severity};

use super::{Context, Finding, open_store};
use crate::store::{self, Reading};

/// Looks at the rules in the store, and at what users have to prove with.
pub(super) async fn rules(at: &Context) -> Vec<Finding> {
    look(at).await.unwrap_or_else(|finding| vec![finding])
}

async fn look(at: &Context) -> Result<Vec<Finding>, Finding> {
    let store = open_store(at).await?;
    let (now, path) = (at.system.now(), at.config.gateway.store.clone());
    let unread = |error: store::Error| Finding::problem("rules", error.to_string(), "correct the store first");
    let rules = store.rules().await.map_err(unread)?;
    let standings = tokio::task::spawn_blocking(move || Reading::open(&path)?.standings(now)).await;
    let standings = standings.unwrap_or_else(|_| Err(store::Error::Unreadable("users"))).map_err(unread)?;
    let today = now.to_zoned(at.config.gateway.time_zone.clone()).date();
    let mut found = check::findings(&rules, &at.config.site(), today);
    found.extend(check::users(&rules, standings.iter().map(|(user, standing)| (user, *standing))));
    found.sort_by_key(|finding| finding.severity);
    let findings = found.into_iter().filter_map(|check::Finding { severity, what, remedy }| match severity {
        Severity::Problem => Some(Finding::problem("rules", what, remedy)),
        Severity::Warning => Some(Finding::warning("rules", what, remedy)),
        Severity::Note => None,
    });
    let mut findings: Vec<_> = findings.collect();
    if findings.is_empty() {
        findings.push(Finding::ok("rules", format!("{} users; nothing strange", standings.len())));
    }
    Ok(findings)
}
