//! `sallyport report`: who signs on, what they have, and what is or would be decided; for the weeks before the switch-over.

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::Timestamp;
use policy::decide::usable;
use policy::{Effect, Reason, Service, Standing, User};
use serde::Serialize;

use super::admin::Admin;
use super::audit::{progress, progress_ends, time};
use super::{Global, print_line};
use crate::audit::{Entry, Event, neutral};
use crate::store::{Filter, Reading};

/// How many lines a report has at most; a program that tries names at random must not fill the memory.
const LINES_MAX: usize = 100_000;

/// Tell who was seen signing on, with which factors, and what was or would have been decided.
///
/// With enforcement `observe` nobody is stopped and everything is recorded as it would have been: these reports tell who would be
/// stopped on the day of the switch-over. docs/rules.md has the weeks before it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport report observe --since 7d
  sallyport report observe --since 2026-11-01 --csv > seen.csv
  sallyport report factorless --since 14d
  sallyport report factorless --json | jq -r '.[].user'")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Everybody who was seen, by service and host, and what was or would have been decided.
    Observe(Wanted),
    /// Those who were seen and have no factor that may be used, by service and host.
    Factorless(Wanted),
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// From this time on: 90m, 7d, 2026-11-22, 2026-11-22T13:00:00Z.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Until this time [default: now].
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// By this service only.
    #[arg(long)]
    service: Option<Service>,
    /// Print comma-separated values, with a head.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// A line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    user: String,
    service: Service,
    host: String,
    registered: bool,
    enabled: bool,
    /// What the user can prove with and may use, as it is now.
    factors: String,
    /// What was, or would have been, decided: how often each.
    let_in: u64,
    challenge: u64,
    enrol: u64,
    refuse: u64,
    /// Why, the last time.
    last_reason: String,
    count: u64,
    last_seen: Timestamp,
}

type Seen = BTreeMap<(String, Service, String), Tally>;

#[derive(Debug, Clone, Copy)]
struct Tally {
    /// By effect: allow, challenge, enrol, deny.
    counts: [u64; 4],
    reason: Reason,
    last: Timestamp,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let (wanted, is_factorless) = match args.verb {
        Verb::Observe(wanted) => (wanted, false),
        Verb::Factorless(wanted) => (wanted, true),
    };
    let (zone, now) = (&admin.config.gateway.time_zone, admin.now);
    let filter = Filter {
        since: Some(time(&wanted.since, now, zone)?),
        until: wanted.until.as_deref().map(|text| time(text, now, zone)).transpose()?,
        service: wanted.service,
        event: Some(Event::SignOn),
        ..Filter::default()
    };
    let (rules, path) = (admin.store.rules().await?, admin.config.gateway.store.clone());
    let read = tokio::task::spawn_blocking(move || {
        let reading = Reading::open(&path)?;
        let (mut seen, mut left_out) = (Seen::new(), 0_u64);
        let (tell, mut count) = (progress("read"), 0);
        reading.each(&filter, |sealed| {
            left_out += u64::from(!note(&mut seen, &sealed.entry));
            count += 1;
            tell(count);
            Ok(true)
        })?;
        Ok::<_, crate::store::Error>((seen, reading.standings(now)?, left_out))
    });
    let (seen, standings, left_out) = read.await??;
    progress_ends();
    let lines = seen.into_iter().map(|(key, tally)| {
        let standing = key.0.parse::<User>().ok().and_then(|user| standings.get(&user));
        let factors = standing.map(|standing| usable(&rules, standing)).unwrap_or_default();
        line(key, tally, standing, factors)
    });
    let lines: Vec<Line> = lines.filter(|line| !is_factorless || line.factors == "none").collect();
    if wanted.csv {
        print_csv(&lines)?
    } else {
        print(&lines, global, &admin)?
    }
    if left_out > 0 {
        tracing::warn!(left_out, "more users were seen than a report has lines");
    }
    Ok(ExitCode::SUCCESS)
}

/// Notes what an entry tells; whether there was room.
fn note(seen: &mut Seen, entry: &Entry) -> bool {
    let reason = entry.reason.as_deref().and_then(|code| Reason::ALL.into_iter().find(|known| known.code() == code));
    let (Some(reason), Some(user), Some(service)) = (reason, &entry.user, entry.service) else { return true };
    let key = (user.clone(), service, entry.host.clone().unwrap_or_default());
    if seen.len() >= LINES_MAX && !seen.contains_key(&key) {
        return false;
    }
    let tally = seen.entry(key).or_insert(Tally { counts: [0; 4], reason, last: entry.at });
    let [allow, challenge, enrol, deny] = &mut tally.counts;
    *match effect(reason) {
        Effect::Allow => allow,
        Effect::Challenge => challenge,
        Effect::Enrol => enrol,
        Effect::Deny => deny,
    } += 1;
    (tally.reason, tally.last) = (reason, entry.at);
    true
}

/// What a reason leads to where decisions bind.
const fn effect(reason: Reason) -> Effect {
    match reason {
        Reason::EnforcementOff
        | Reason::EmergencyOverride
        | Reason::NetworkExempt
        | Reason::ServiceAccount
        | Reason::RepeatWindow => Effect::Allow,
        Reason::PasscodeRequired => Effect::Challenge,
        Reason::EnrolmentOpen => Effect::Enrol,
        Reason::UserDisabled
        | Reason::UserLocked
        | Reason::SourceLocked
        | Reason::UserLockedFromSource
        | Reason::NetworkDenied
        | Reason::UserUnknown
        | Reason::UserNotRegistered
        | Reason::NoFactor
        | Reason::FactorNotAllowed => Effect::Deny,
    }
}

fn line(
    (user, service, host): (String, Service, String),
    tally: Tally,
    standing: Option<&Standing>,
    factors: policy::Factors,
) -> Line {
    let [let_in, challenge, enrol, refuse] = tally.counts;
    Line {
        user,
        service,
        host,
        registered: standing.is_some(),
        enabled: standing.is_some_and(|standing| standing.enabled),
        factors: factors.to_string(),
        let_in,
        challenge,
        enrol,
        refuse,
        last_reason: tally.reason.code().to_owned(),
        count: tally.counts.iter().sum(),
        last_seen: tally.last,
    }
}

const HEADERS: [&str; 12] = [
    "user",
    "service",
    "host",
    "registered",
    "factors",
    "let in",
    "challenge",
    "enrol",
    "refuse",
    "last reason",
    "count",
    "last seen",
];

fn cells(line: &Line, last_seen: String) -> Vec<String> {
    let registered = match (line.registered, line.enabled) {
        (false, _) => "no",
        (true, false) => "disabled",
        (true, true) => "yes",
    };
    vec![
        neutral(&line.user).into_owned(),
        line.service.to_string(),
        neutral(&line.host).into_owned(),
        registered.to_owned(),
        line.factors.clone(),
        line.let_in.to_string(),
        line.challenge.to_string(),
        line.enrol.to_string(),
        line.refuse.to_string(),
        line.last_reason.clone(),
        line.count.to_string(),
        last_seen,
    ]
}

fn print(lines: &[Line], global: &Global, admin: &Admin) -> anyhow::Result<()> {
    global.print_list(lines, &HEADERS, |line| cells(line, admin.local(line.last_seen)))?;
    if global.json {
        return Ok(());
    }
    let stopped = lines.iter().filter(|line| line.refuse > 0).count();
    print_line(format_args!(
        "\n{} users and places; {stopped} of them were, or would have been, refused. Let in, challenge, enrol, refuse: what was decided, \
         or would have been where enforcement is observe.",
        lines.len()
    ))
}

fn print_csv(lines: &[Line]) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADERS)?;
    for line in lines {
        // A user's name may begin with @: no cell is a formula.
        let safe = cells(line, line.last_seen.to_string())
            .into_iter()
            .map(|cell| if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell });
        writer.write_record(safe)?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    print_line(String::from_utf8_lossy(&bytes).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;

    #[test]
    fn what_was_seen_is_counted_by_what_would_have_been() {
        let mut seen = Seen::new();
        let mut see = |second: i64, user: Option<&str>, outcome, reason: &str| {
            let entry =
                Entry::new(Timestamp::from_second(second).unwrap(), "node", Event::SignOn, outcome).reason(reason);
            let user = user.map(str::to_owned);
            note(&mut seen, &Entry { user, service: Some(Service::Ftp), host: Some("PROD".to_owned()), ..entry })
        };
        assert!(see(1, Some("ANNA"), Outcome::Observed, "passcode-required"));
        see(2, Some("ANNA"), Outcome::Observed, "no-factor");
        see(3, Some("ANNA"), Outcome::Allowed, "network-exempt");
        see(4, Some("ANNA"), Outcome::Observed, "enrolment-open");
        // No decisions of the rules.
        see(5, Some("ANNA"), Outcome::Challenged, "resend");
        see(6, None, Outcome::Denied, "user-unknown");
        let (key, tally) = seen.pop_first().unwrap();
        assert!(seen.is_empty());
        let line = line(key, tally, None, policy::Factors::NONE);
        assert_eq!((line.let_in, line.challenge, line.enrol, line.refuse, line.count), (1, 1, 1, 1, 4));
        assert_eq!((line.last_reason.as_str(), line.last_seen.as_second()), ("enrolment-open", 4));
        assert_eq!((line.factors.as_str(), line.registered), ("none", false));
    }
}
