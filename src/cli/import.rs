//! `sallyport import`: users, contacts, networks and overrides from CSV files, as other products export them.

mod sheet;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use policy::contact::phone;
use policy::{ContactKind, Factors, Network, User};
use serde::Serialize;

use super::admin::{Admin, counted};
use super::{FAILED, Global, Usage, print_line};
use crate::notify;
use crate::rulebook::{Field, Override};
use crate::store::{ImportRow, Imported, NewContact};
use sheet::{Line, Sheet, Wrong};

/// How many lines one file may have: all of it is one transaction, and while it runs nobody else writes. Sign-ons that the gateway
/// cannot write down within its patience of a few seconds are refused meanwhile.
const ROWS_MAX: usize = 20_000;

/// Take over users, contacts, networks and overrides from CSV files.
///
/// The first line names the columns; docs/migration.md has the names, and what other products call them. All of a file is taken in one
/// transaction, or nothing: each error is told with its line and column. What is there already and the same is counted; what is there
/// and says something else is an error. Overrides: a column that the file does not have leaves what is laid down, an empty value is
/// the default.
///
/// While a large file is taken the store is held, and sign-ons are refused after two to three seconds: import it when hardly anybody
/// signs on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport import users users.csv --dry-run
  sallyport import users users.csv
  sallyport import contacts contacts.csv --verified
  sallyport import networks networks.csv --skip-bad
  sallyport import overrides overrides.csv

Columns (those in brackets may be left out):
  users      user, [always], [comment]
  contacts   user, address, [carrier], [provider]; an address with @ is e-mail, all else a phone number
  networks   network or from and to, treatment or required, [service], [host], [days], [hours], [logging], [review], [comment]
             without service: telnet alone; FTP takes a line of its own
  overrides  user, [always], [enrolment], [repeat], [logging], [factors]")]
pub(crate) struct Args {
    /// What the file holds.
    what: What,
    /// The file; the columns stand in its first line.
    file: PathBuf,
    /// Check the file and tell what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// You vouch for the contacts: they count at once, without a code each. The audit says so.
    #[arg(long)]
    verified: bool,
    /// Leave lines with errors out, and take the others.
    #[arg(long)]
    skip_bad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Users,
    Contacts,
    Networks,
    Overrides,
}

#[derive(Debug, Serialize)]
struct Summary {
    dry_run: bool,
    lines: usize,
    added: usize,
    /// There already, and left as it was.
    present: usize,
    errors: Vec<Wrong>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    if args.verified && args.what != What::Contacts {
        return Err(Usage("--verified is for contacts".to_owned()).into());
    }
    let admin = Admin::open(global).await?;
    let path = args.file.display();
    let file = File::open(&args.file).with_context(|| format!("{path} cannot be read"))?;
    let mut sheet = Sheet::read(file, ROWS_MAX).map_err(|wrong| Usage(format!("{path}: {wrong}")))?;
    let rows = rows(&mut sheet, &args, &admin).map_err(|wrong| Usage(format!("{path}: {wrong}")))?;
    let (lines, bad) = (sheet.len(), sheet.wrong.len());
    let stops = bad > 0 && !args.skip_bad;
    let imported = if stops {
        Imported::default()
    } else {
        let what = format!("{} from {path}", counted(rows.len(), "line"));
        let entry = admin.entry("imported", &what);
        admin.store.import(rows, entry, (args.skip_bad, args.dry_run)).await?
    };
    // What only the store can tell stands behind what the file tells.
    let Imported { added, present, refused } = imported;
    sheet.wrong.extend(refused.into_iter().map(|(line, what)| Wrong { line, column: String::new(), what }));
    sheet.wrong.sort_by_key(|wrong| wrong.line);
    let failed = !sheet.wrong.is_empty() && !args.skip_bad;
    let nothing = failed || args.dry_run;
    let summary =
        Summary { dry_run: args.dry_run, lines, added: if failed { 0 } else { added }, present, errors: sheet.wrong };
    if !global.json {
        summary.errors.iter().try_for_each(|wrong| print_line(format_args!("{path}: {wrong}")))?;
    }
    let end = match (failed, args.dry_run) {
        (true, _) => "nothing was changed; correct the file, or leave bad lines out with --skip-bad",
        (false, true) => "nothing was changed (--dry-run)",
        (false, false) => "done",
    };
    let would = if nothing && !failed { "would be added" } else { "added" };
    let Summary { added, present, errors, .. } = &summary;
    let text = format!(
        "{}: {added} {would}, {present} there already, {}; {end}.",
        counted(lines, "line"),
        counted(errors.len(), "error")
    );
    global.print_one(&summary, text)?;
    Ok(if failed { FAILED.into() } else { ExitCode::SUCCESS })
}

/// What the lines say; what is wrong with one is noted in `sheet`.
fn rows(sheet: &mut Sheet, args: &Args, admin: &Admin) -> Result<Vec<(u64, ImportRow)>, Wrong> {
    let read: fn(&Line<'_>, &Args, &Admin) -> Read<ImportRow> = match args.what {
        What::Users => {
            sheet.needs(&["user"])?;
            user
        }
        What::Contacts => {
            sheet.needs(&["user", "address"])?;
            contact
        }
        What::Networks => {
            sheet.needs_one_of(&["network", "from"])?;
            sheet.needs_one_of(&["treatment", "required"])?;
            network
        }
        What::Overrides => {
            sheet.needs(&["user"])?;
            laid
        }
    };
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for line in sheet.lines() {
        match read(&line, args, admin) {
            Ok(row) => rows.push((line.number(), row)),
            Err((column, what)) => wrong.push(line.wrong(column, what)),
        }
    }
    sheet.wrong.extend(wrong);
    Ok(rows)
}

/// A value, or the column that is wrong and why.
type Read<T> = Result<T, (&'static str, String)>;

fn parsed<T: std::str::FromStr>(line: &Line<'_>, column: &'static str) -> Read<Option<T>>
where
    T::Err: ToString,
{
    let text = line.text(column);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: T::Err| (column, format!("`{text}`: {}", error.to_string())))
}

fn needed<T: std::str::FromStr>(line: &Line<'_>, column: &'static str) -> Read<T>
where
    T::Err: ToString,
{
    parsed(line, column)?.ok_or_else(|| (column, "it is empty".to_owned()))
}

/// yes or no, as anybody writes it; nothing: none of its own.
fn switch(line: &Line<'_>, column: &'static str) -> Read<Option<bool>> {
    match line.text(column).to_ascii_lowercase().as_str() {
        "" | "*sysval" | "*dft" | "default" | "setting" => Ok(None),
        "y" | "yes" | "*yes" | "on" | "*on" | "true" | "1" => Ok(Some(true)),
        "n" | "no" | "*no" | "off" | "*off" | "false" | "0" => Ok(Some(false)),
        other => Err((column, format!("`{other}`: expected yes or no"))),
    }
}

fn logging(line: &Line<'_>) -> Read<Option<policy::Logging>> {
    match line.text("logging").to_ascii_lowercase().trim_start_matches('*') {
        "" | "sysval" | "dft" | "default" | "sink" => Ok(None),
        "all" | "a" | "yes" | "y" => Ok(Some(policy::Logging::All)),
        "rejected" | "reject" | "rejects" | "r" => Ok(Some(policy::Logging::Rejected)),
        "none" | "n" | "no" => Ok(Some(policy::Logging::None)),
        other => Err(("logging", format!("`{other}`: expected all, rejected or none"))),
    }
}

fn user(line: &Line<'_>, _: &Args, _: &Admin) -> Read<ImportRow> {
    let always = switch(line, "always")?.unwrap_or(false);
    Ok(ImportRow::User {
        user: needed(line, "user")?,
        always: line.has("always").then_some(always),
        comment: line.has("comment").then(|| line.text("comment").to_owned()),
    })
}

fn contact(line: &Line<'_>, args: &Args, admin: &Admin) -> Read<ImportRow> {
    let user: User = needed(line, "user")?;
    let address = line.text("address");
    let (kind, address) = if address.contains('@') {
        if !notify::is_address(address) {
            return Err(("address", format!("`{address}` is no e-mail address")));
        }
        (ContactKind::Email, address.to_owned())
    } else {
        let number = phone(address);
        let wrong = || format!("`{address}` is neither an e-mail address nor a phone number with its country's code");
        (ContactKind::Sms, number.ok_or_else(|| ("address", wrong()))?)
    };
    let (provider, carrier) = (line.text("provider").to_owned(), line.text("carrier").to_ascii_lowercase());
    if kind == ContactKind::Email && !(provider.is_empty() && carrier.is_empty()) {
        return Err(("carrier", "carriers and providers are for phone numbers".to_owned()));
    }
    let known = &admin.config.sms;
    if !provider.is_empty() && !known.iter().any(|one| *one.name == *provider) {
        return Err(("provider", format!("the configuration has no provider `{provider}`")));
    }
    if kind == ContactKind::Sms && carrier.is_empty() && known.is_empty() {
        return Err(("carrier", "the configuration has no [[sms]], and the line no carrier".to_owned()));
    }
    let new = NewContact { kind, address, provider, carrier, verified: args.verified, begun: false };
    Ok(ImportRow::Contact { user, new })
}

fn network(line: &Line<'_>, _: &Args, admin: &Admin) -> Read<ImportRow> {
    let block = match (line.text("network"), line.text("from"), line.text("to")) {
        ("", "", _) => return Err(("network", "it is empty".to_owned())),
        ("", from, "") => from.to_owned(),
        ("", from, to) => format!("{from}-{to}"),
        (network, ..) => network.to_owned(),
    };
    let block = block.parse().map_err(|error| ("network", format!("`{block}`: {error}")))?;
    // "2-factor required?"
    let required =
        switch(line, "required")?.map(|is| if is { policy::Treatment::Challenge } else { policy::Treatment::Exempt });
    let treatment = match (parsed(line, "treatment")?, required) {
        (Some(treatment), Some(required)) if treatment != required => {
            let what = format!("`{treatment}`, and the column for required says {required}");
            return Err(("treatment", what));
        }
        (Some(treatment), _) | (None, Some(treatment)) => treatment,
        (None, None) => return Err(("treatment", "it is empty".to_owned())),
    };
    let service = match line.text("service").to_ascii_lowercase().trim_start_matches('*') {
        "" | "telnet" | "tn5250" | "5250" => policy::Service::Telnet,
        "ftp" | "ftplogon3" | "ftpserver" => policy::Service::Ftp,
        other => return Err(("service", format!("`{other}`: expected telnet or ftp"))),
    };
    let host = match line.text("host") {
        "" => None,
        host => Some(super::network::known_host(&admin.config, host).map_err(|error| ("host", error.to_string()))?),
    };
    let (days, hours) = (parsed(line, "days")?, parsed(line, "hours")?);
    let schedule = (days.is_some() || hours.is_some()).then(|| policy::account::Schedule {
        days: days.unwrap_or(policy::account::Days::ALL),
        hours: hours.unwrap_or(policy::account::Hours::ALL),
    });
    let comment = line.text("comment").to_owned();
    let review = parsed(line, "review")?;
    let rule = Network {
        host,
        schedule,
        logging: logging(line)?,
        review,
        comment,
        ..Network::new(0, service, block, treatment)
    };
    Ok(ImportRow::Network(rule))
}

fn laid(line: &Line<'_>, _: &Args, _: &Admin) -> Read<ImportRow> {
    let repeat: Option<u32> = parsed(line, "repeat")?;
    if repeat.is_some_and(|minutes| minutes > 720) {
        return Err(("repeat", "at most 720 minutes".to_owned()));
    }
    let laid = Override {
        always: switch(line, "always")?.unwrap_or(false),
        allowed: parsed(line, "factors")?.unwrap_or(Factors::ALL),
        enrolment: switch(line, "enrolment")?,
        repeat,
        logging: logging(line)?,
    };
    let fields = [
        ("always", Field::Always),
        ("factors", Field::Factors),
        ("enrolment", Field::Enrolment),
        ("repeat", Field::Repeat),
        ("logging", Field::Logging),
    ];
    let fields = fields.into_iter().filter(|(column, _)| line.has(column)).map(|(_, field)| field).collect();
    Ok(ImportRow::Override { user: needed(line, "user")?, laid, fields })
}
