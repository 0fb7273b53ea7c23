//! Whether the audit is signed, and passed on to those that should have it.

use jiff::{SignedDuration, Timestamp};

use super::{Context, Finding, open_store};
use crate::audit::{Event, neutral};
use crate::config::Sink;
use crate::ledger::signer;
use crate::store::{self, Filter, SinkState, Store};

/// How old the newest checkpoint of a gateway that runs may be, with entries behind it: three times what it should be.
const UNSIGNED_MAX: SignedDuration = SignedDuration::from_mins(15);
/// How far behind a sink may be that nobody waits for.
const BEHIND_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The signing key, the newest checkpoint, and each sink.
pub(super) async fn audit(at: &Context) -> Vec<Finding> {
    let mut findings = vec![key(at)];
    let looked = async {
        let store = open_store(at).await?;
        let failed =
            |error: store::Error| Finding::problem("audit", error.to_string(), "look at the check of the store");
        let mut found = vec![checkpoint(at, &store).await.map_err(failed)?];
        found.extend(sinks(at, &store).await.map_err(failed)?);
        Ok(found)
    };
    match looked.await {
        Ok(found) => findings.extend(found),
        Err(finding) => findings.push(finding),
    }
    findings
}

fn key(at: &Context) -> Finding {
    let path = &at.config.audit.key_file;
    let subject = path.display().to_string();
    if !path.exists() {
        let advice = "the start of the gateway makes one; where there was one, put the copy back: another key signs for nothing before";
        return Finding::warning(subject, "there is no key that signs checkpoints", advice);
    }
    match signer::open(path, &at.system) {
        Ok(signer) => Finding::ok(subject, format!("signs as {}", signer.public())),
        Err(error) => Finding::problem(subject, error.to_string(), "put the copy back, or set the mode to 600"),
    }
}

async fn checkpoint(at: &Context, store: &Store) -> Result<Finding, store::Error> {
    let node = neutral(&at.config.gateway.node).into_owned();
    let filter = Filter { event: Some(Event::Checkpoint), node: Some(node.clone()), ..Filter::default() };
    let newest = store.entries(filter, 1).await?.pop().map(|sealed| sealed.entry.at);
    let (count, signed) = store.covered(node.clone()).await?;
    Ok(signed_until(&node, newest, count - signed, at.system.now(), at.status.is_some()))
}

/// What it means that `unsigned` entries are behind the checkpoint made at `newest`.
fn signed_until(node: &str, newest: Option<Timestamp>, unsigned: i64, now: Timestamp, runs: bool) -> Finding {
    let subject = format!("checkpoints of {node}");
    let Some(newest) = newest else {
        let advice = "sallyport serve makes the first one when it starts";
        return if unsigned == 0 {
            Finding::ok(subject, "nothing to sign yet")
        } else {
            Finding::warning(subject, format!("none, for {unsigned} entries"), advice)
        };
    };
    let found = format!("the newest is of {newest}, with {unsigned} entries behind it");
    if runs && unsigned > 0 && now.duration_since(newest) > UNSIGNED_MAX {
        let advice = "the gateway should have signed since: look at its log, and run sallyport audit verify";
        return Finding::problem(subject, found, advice);
    }
    Finding::ok(subject, found)
}

async fn sinks(at: &Context, store: &Store) -> Result<Vec<Finding>, store::Error> {
    let known = store.sinks().await?;
    let mut findings = Vec::new();
    for sink in &at.config.audit.sinks {
        let oldest = store.oldest_waiting(sink.name.to_string()).await?;
        let state = known.iter().find(|state| state.name == *sink.name);
        findings.push(passed_on(sink, state, oldest, at.system.now()));
    }
    Ok(findings)
}

fn passed_on(sink: &Sink, state: Option<&SinkState>, oldest: Option<Timestamp>, now: Timestamp) -> Finding {
    let subject = format!("sink {}", sink.name);
    let Some(state) = state else {
        return Finding::ok(subject, "new: it gets what is written from the next start on");
    };
    if let Some(oldest) = oldest {
        let behind = now.duration_since(oldest);
        let found = format!("{} entries wait, the oldest since {oldest}", state.waiting);
        let advice = "look whether its receiver runs and takes them; what waits is not lost";
        let limit = sink.required.and_then(|limit| SignedDuration::try_from(limit).ok());
        if limit.is_some_and(|limit| behind > limit) {
            return Finding::problem(subject, format!("{found}: nobody is let in, since it is required"), advice);
        }
        if behind > BEHIND_MAX {
            return Finding::warning(subject, found, advice);
        }
    }
    if state.lost > 0 {
        let found = format!("{} entries left the store before it took them", state.lost);
        return Finding::warning(subject, found, "they are in the archives; raise retention_days, or mend the sink");
    }
    Finding::ok(subject, format!("{} entries wait", state.waiting))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use policy::Logging;

    use super::super::Level;
    use super::*;
    use crate::audit::format::{Format, Syslog};
    use crate::config::Target;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_not_signed() {
        let level =
            |newest: Option<i64>, unsigned, runs| signed_until("n", newest.map(at), unsigned, at(10_000), runs).level;
        assert_eq!(level(None, 0, true), Level::Ok);
        assert_eq!(level(None, 3, false), Level::Warning);
        assert_eq!(level(Some(9_500), 3, true), Level::Ok);
        assert_eq!(level(Some(1_000), 0, true), Level::Ok, "nothing came since");
        assert_eq!(level(Some(1_000), 3, true), Level::Problem);
        assert_eq!(level(Some(1_000), 3, false), Level::Ok, "the next start signs it");
    }

    #[test]
    fn what_is_not_passed_on() {
        let sink = |required| Sink {
            name: "siem".into(),
            target: Target::File("x".into()),
            format: Format::Json,
            level: Logging::All,
            only_alerts: false,
            required,
            syslog: Syslog { facility: 10, enterprise: 1 },
        };
        let state = |lost| SinkState { name: "siem".to_owned(), through: 1, waiting: 2, lost };
        let level = |required, lost, oldest: Option<i64>| {
            passed_on(&sink(required), Some(&state(lost)), oldest.map(at), at(10_000)).level
        };
        assert_eq!(level(None, 0, None), Level::Ok);
        assert_eq!(level(None, 0, Some(9_990)), Level::Ok);
        assert_eq!(level(None, 0, Some(9_000)), Level::Warning);
        assert_eq!(level(Some(Duration::from_secs(60)), 0, Some(9_930)), Level::Problem);
        assert_eq!(level(None, 5, None), Level::Warning);
    }
}
