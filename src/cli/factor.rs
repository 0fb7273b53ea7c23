//! `sallyport factor`: apps, tokens, YubiKeys, recovery codes and RADIUS, for users to prove with.

mod show;

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::{Factor, Secret, User};
use serde::Serialize;

use super::admin::Admin;
use super::{FAILED, Global, NotFound, Usage, print_line};
use crate::audit::{Entry, Outcome};
use crate::factor::{
    self, Given, Judge, Judgement, LABEL_MAX, Parameters, Record, Use, YubikeyBy, hotp, totp, yubikey,
};
use crate::key::Key;
use crate::store::NewFactor;
use show::{Shown, qr};

/// The most bytes of a file with a secret.
const SECRET_FILE_MAX: u64 = 4_096;
/// How often a code is asked for at the terminal.
const ASKED_MAX: usize = 3;
/// The fewest bytes of a secret (RFC 4226, R6: 128 bits).
const SECRET_MIN: usize = 16;

/// Give users authenticator apps, tokens, YubiKeys, recovery codes or RADIUS as their second factor.
///
/// A factor counts once its owner gave a right answer: at once (`--code`, or when asked), or later by `factor confirm`.
/// Secrets are read from a file, or from standard input with `-`, never from the command line. docs/factors.md tells more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport factor add totp ANNA --label phone
  sallyport factor confirm ANNA 7 123456
  sallyport factor add hotp BERT --label 'token 4711' --secret seed.txt --hex --code 755224
  sallyport factor add yubikey ANNA --public-id cccccccdefgh --private-id 8792ebfe26cc --key-file key.txt
  sallyport factor add yubikey ANNA --server --otp cccccccdefgh...
  sallyport factor add radius ANNA --name anna@example.com
  sallyport factor recovery ANNA > codes-for-anna.txt
  sallyport factor test ANNA 7
  sallyport factor list --json | jq -r '.[] | select(.counts | not) | .user'")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add a factor.
    Add {
        #[command(subcommand)]
        kind: Add,
    },
    /// Issue ten recovery codes, shown now and never again; they end the ones before.
    Recovery {
        /// The user.
        user: User,
    },
    /// Have a factor count, by an answer that it gives.
    Confirm {
        /// The user.
        user: User,
        /// The factor's number, as `factor list` shows it.
        number: i64,
        /// What it shows.
        code: String,
    },
    /// Try whether an answer is right, and use it up. Asks for it, or reads a line of standard input.
    Test {
        /// The user.
        user: User,
        /// The factor's number.
        number: i64,
    },
    /// List the factors of a user, or of all.
    List {
        /// The user.
        user: Option<User>,
    },
    /// Show everything about a factor that is no secret.
    Show {
        /// The user.
        user: User,
        /// The factor's number.
        number: i64,
    },
    /// Set an app or a token right whose clock or counter is off, by two codes in a row.
    Resync {
        /// The user.
        user: User,
        /// The factor's number.
        number: i64,
        /// The first code.
        first: String,
        /// The one after it.
        second: String,
    },
    /// Remove a factor, and end the user's repeat windows.
    Remove {
        /// The user.
        user: User,
        /// The factor's number.
        number: i64,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Add {
    /// An authenticator app (or a token with a clock), RFC 6238.
    Totp {
        /// The user.
        user: User,
        /// A word by which the user knows it.
        #[arg(long, default_value = "app")]
        label: String,
        /// How many digits a code has. Apps that know 6 only are common.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(6..=8))]
        digits: u8,
        /// The hash: sha1, sha256 or sha512. Apps that know sha1 only, and say nothing, are common.
        #[arg(long, default_value = "sha1")]
        algorithm: hotp::Algorithm,
        /// How long a code is shown, in seconds.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(15..=120))]
        period: u32,
        #[command(flatten)]
        seed: Seed,
    },
    /// A token with a button, RFC 4226.
    Hotp {
        /// The user.
        user: User,
        /// A word by which the user knows it.
        #[arg(long, default_value = "token")]
        label: String,
        /// How many digits a code has.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(6..=8))]
        digits: u8,
        #[command(flatten)]
        seed: Seed,
    },
    /// A YubiKey that gives Yubico one-time passwords.
    Yubikey {
        /// The user.
        user: User,
        /// A word by which the user knows it.
        #[arg(long, default_value = "yubikey")]
        label: String,
        /// Have it judged by the servers of [yubikey]; otherwise the gateway does that.
        #[arg(long, requires = "otp", conflicts_with_all = ["public_id", "private_id", "key_file"])]
        server: bool,
        /// Its public id: 12 letters.
        #[arg(long, required_unless_present = "server", value_name = "MODHEX")]
        public_id: Option<String>,
        /// Its private id: 12 hexadecimal digits.
        #[arg(long, required_unless_present = "server", value_name = "HEX")]
        private_id: Option<String>,
        /// A file with its AES key, 32 hexadecimal digits; `-` is standard input.
        #[arg(long, required_unless_present = "server", value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// A one-time password of it, which shows that it works.
        #[arg(long)]
        otp: Option<String>,
    },
    /// What the servers of [radius] ask for.
    Radius {
        /// The user.
        user: User,
        /// A word by which the user knows it.
        #[arg(long, default_value = "RADIUS")]
        label: String,
        /// The user's name there [default: as radius.user_name says].
        #[arg(long)]
        name: Option<String>,
    },
}

/// Where a secret comes from, and what shows that it works.
#[derive(Debug, clap::Args)]
struct Seed {
    /// A file with the secret, in base32; `-` is standard input. Without it, one is drawn and shown.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// The secret in the file is in hexadecimal digits.
    #[arg(long, requires = "secret")]
    hex: bool,
    /// A code that the token shows, for a token that has its secret already.
    #[arg(long, requires = "secret")]
    code: Option<String>,
}

/// A factor that was added, and what its owner needs for it.
#[derive(Debug, Serialize)]
struct Added {
    #[serde(flatten)]
    shown: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
}

/// Recovery codes, as shown.
#[derive(Debug, Serialize)]
struct Codes<'a> {
    user: &'a str,
    number: i64,
    codes: Vec<&'a str>,
}

struct Desk<'a> {
    admin: Admin,
    key: Key,
    global: &'a Global,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let key = Key::open(&admin.config.gateway.key_file, &admin.system)?;
    let desk = Desk { admin, key, global };
    match args.verb {
        Verb::Add { kind } => desk.add(kind).await,
        Verb::Recovery { user } => desk.recovery(user).await,
        Verb::Confirm { user, number, code } => desk.confirm(user, number, Secret::new(code)).await,
        Verb::Test { user, number } => desk.test(user, number).await,
        Verb::List { user } => desk.list(user).await,
        Verb::Show { user, number } => {
            let shown = Shown::from(&desk.admin.store.factor(user, number).await?);
            global.print_one(&shown, shown.all(&desk.admin))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Resync { user, number, first, second } => {
            desk.resync(user, number, Secret::new(first), Secret::new(second)).await
        }
        Verb::Remove { user, number } => {
            let record = desk.admin.store.factor(user.clone(), number).await?;
            let shown = Shown::from(&record);
            desk.admin.store.remove_factor(user, number, desk.entry(&record)).await?;
            global.print_one(&shown, format_args!("Factor {number} ({}) is removed.", shown.sentence()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Desk<'_> {
    /// An entry about a factor; the store says what was changed about it.
    fn entry(&self, record: &Record) -> Entry {
        let id = if record.id == 0 { String::new() } else { format!(" {}", record.id) };
        let entry = self.admin.entry("factor-tested", &format!("{}{id}: {}", record.kind(), record.label));
        Entry { factor: Some(record.kind().as_str().to_owned()), ..entry.user(Some(&record.user)) }
    }

    /// A judge for what the gateway judges alone, or with the servers that the configuration names.
    fn judge(&self, parameters: &Parameters) -> anyhow::Result<Judge> {
        let alone = Judge::new(&self.key, None, None);
        if alone.can_judge(parameters) {
            return Ok(alone);
        }
        let config = &self.admin.config;
        let judge = Judge::from_config(config, &mut config.open()?, &self.key, &self.admin.system)?;
        if !judge.can_judge(parameters) {
            let table = if parameters.kind() == Factor::Radius { "[radius]" } else { "[yubikey]" };
            return Err(Usage(format!("{} has no table {table}", config.path().display())).into());
        }
        Ok(judge)
    }

    async fn add(&self, kind: Add) -> anyhow::Result<ExitCode> {
        match kind {
            Add::Totp { user, label, digits, algorithm, period, seed } => {
                let parameters = Parameters::Totp(totp::Settings { algorithm, digits, period, offset: 0 });
                self.add_codes(draft(user, label, parameters)?, seed).await
            }
            Add::Hotp { user, label, digits, seed } => {
                self.add_codes(draft(user, label, Parameters::Hotp { digits })?, seed).await
            }
            Add::Yubikey { user, label, server, public_id, private_id, key_file, otp } => {
                let otp = otp.map(Secret::new);
                if server {
                    let otp = otp.ok_or_else(|| Usage("--server needs --otp".into()))?;
                    return self.add_served_yubikey(user, label, &otp).await;
                }
                let public_id = public_id.unwrap_or_default().to_lowercase();
                let parameters = Parameters::Yubikey { public_id, by: YubikeyBy::Gateway };
                if !parameters.are_possible() {
                    return Err(Usage("--public-id is 12 of the letters cbdefghijklnrtuv".into()).into());
                }
                let record = draft(user, label, parameters)?;
                let private_id = hex(private_id.unwrap_or_default().trim(), 6)
                    .ok_or_else(|| Usage("--private-id has 12 hexadecimal digits".into()))?;
                let text = read(&key_file.unwrap_or_default())?;
                let aes = hex(text.expose().trim(), 16)
                    .ok_or_else(|| Usage("the key file holds no AES key of 32 hexadecimal digits".into()))?;
                let mut secret = Vec::with_capacity(yubikey::SECRET_LENGTH);
                secret.extend_from_slice(private_id.expose());
                secret.extend_from_slice(aes.expose());
                let secret = Secret::new(secret);
                let used = match otp {
                    Some(otp) => Some(self.fits(&record, &secret, &otp)?),
                    None => None,
                };
                self.insert(record, Some(secret), used, false).await
            }
            Add::Radius { user, label, name } => {
                let record = draft(user, label, Parameters::Radius { name })?;
                self.judge(&record.parameters)?;
                self.insert(record, None, Some(Use::Elsewhere), false).await
            }
        }
    }

    /// Adds an app or a token.
    async fn add_codes(&self, record: Record, seed: Seed) -> anyhow::Result<ExitCode> {
        // Before anything is shown that cannot be added.
        self.admin.store.user(record.user.clone()).await?;
        let is_new = seed.secret.is_none();
        let secret = match &seed.secret {
            Some(path) => {
                let text = read(path)?;
                let secret = if seed.hex { hex_any(text.expose().trim()) } else { totp::read(&text) };
                let form = if seed.hex { "hexadecimal digits" } else { "base32" };
                secret
                    .filter(|secret| secret.expose().len() >= SECRET_MIN)
                    .ok_or_else(|| Usage(format!("the file holds no secret of {SECRET_MIN} bytes or more in {form}")))?
            }
            None => {
                let mut bytes = vec![0; totp::SECRET_LENGTH];
                self.admin.system.fill(&mut bytes)?;
                Secret::new(bytes)
            }
        };
        let mut used = match seed.code {
            Some(code) => Some(self.fits(&record, &secret, &Secret::new(code))?),
            None => None,
        };
        let mut told = false;
        if is_new && !self.global.json && io::stdin().is_terminal() && io::stdout().is_terminal() {
            self.tell(&record, &secret)?;
            told = true;
            used = self.ask(&record, &secret)?;
        }
        self.insert_told(record, secret, used, is_new, told).await
    }

    /// Tells the owner of a new secret what to put into the app.
    fn tell(&self, record: &Record, secret: &Secret<Vec<u8>>) -> anyhow::Result<()> {
        if let Some(uri) = self.uri(record, secret) {
            print_line(qr(uri.expose())?)?;
            print_line(uri.expose())?;
        }
        print_line(format_args!("Key: {}", totp::written(secret).expose()))
    }

    fn uri(&self, record: &Record, secret: &Secret<Vec<u8>>) -> Option<Secret<String>> {
        let Parameters::Totp(settings) = &record.parameters else { return None };
        Some(totp::address(settings, secret, &self.admin.config.gateway.name, record.user.as_str()))
    }

    /// Asks for a code at the terminal; `None`: not now.
    fn ask(&self, record: &Record, secret: &Secret<Vec<u8>>) -> anyhow::Result<Option<Use>> {
        for _ in 0..ASKED_MAX {
            let Some(code) = line("Code that it shows (nothing: confirm later): ")? else { return Ok(None) };
            match factor::judge(record, secret, &code, self.admin.system.now()) {
                Judgement::Right(spend) => return Ok(Some(spend.what)),
                Judgement::Replayed | Judgement::Wrong | Judgement::More { .. } | Judgement::Unavailable(_) => {
                    print_line("This code does not fit.")?
                }
            }
        }
        Ok(None)
    }

    /// What `answer` uses up, where it fits.
    fn fits(&self, record: &Record, secret: &Secret<Vec<u8>>, answer: &Secret<String>) -> anyhow::Result<Use> {
        match factor::judge(record, secret, answer, self.admin.now) {
            Judgement::Right(spend) => Ok(spend.what),
            Judgement::Replayed | Judgement::Wrong | Judgement::More { .. } | Judgement::Unavailable(_) => {
                anyhow::bail!("the answer does not fit this secret; nothing is added")
            }
        }
    }

    async fn add_served_yubikey(&self, user: User, label: String, otp: &Secret<String>) -> anyhow::Result<ExitCode> {
        let taken = yubikey::Otp::parse(otp).ok_or_else(|| Usage("--otp is no Yubico one-time password".into()))?;
        let parameters = Parameters::Yubikey { public_id: taken.public_id().to_owned(), by: YubikeyBy::Server };
        let record = draft(user, label, parameters)?;
        let given = Given { answer: otp, state: None, source: None };
        match self.judge(&record.parameters)?.judge(&record, &given, self.admin.now).await {
            Judgement::Right(spend) => self.insert(record, None, Some(spend.what), false).await,
            Judgement::Replayed => anyhow::bail!("this one-time password was used before; touch the key again"),
            Judgement::Wrong | Judgement::More { .. } => {
                anyhow::bail!("the server says that this is no one-time password of a key it knows")
            }
            Judgement::Unavailable(code) => anyhow::bail!("no server could judge it ({code}); see the log"),
        }
    }

    async fn insert_told(
        &self,
        record: Record,
        secret: Secret<Vec<u8>>,
        used: Option<Use>,
        is_new: bool,
        told: bool,
    ) -> anyhow::Result<ExitCode> {
        if is_new && !told && !self.global.json {
            self.tell(&record, &secret)?;
        }
        self.insert(record, Some(secret), used, is_new).await
    }

    /// Adds `record`, confirmed where something of it was used, and says so; `show`: with the secret for programs.
    async fn insert(
        &self,
        record: Record,
        secret: Option<Secret<Vec<u8>>>,
        used: Option<Use>,
        show: bool,
    ) -> anyhow::Result<ExitCode> {
        let judge = Judge::new(&self.key, None, None);
        let (written, uri) = match (&secret, show) {
            (Some(secret), true) => (Some(totp::written(secret)), self.uri(&record, secret)),
            (Some(_) | None, _) => (None, None),
        };
        let entry = self.entry(&record);
        let new = NewFactor {
            user: record.user.clone(),
            label: record.label,
            parameters: record.parameters,
            secret,
            confirmed: used.is_some(),
            used,
        };
        let id = self.admin.store.add_factor(new, judge.sealer().clone(), entry).await?;
        let shown = Shown::from(&self.admin.store.factor(record.user.clone(), id).await?);
        let text = if used.is_some() {
            format!("Factor {id} of {} counts.", record.user)
        } else {
            let user = &record.user;
            format!(
                "Factor {id} of {user} is added. It counts once it is confirmed: sallyport factor confirm {user} {id} CODE"
            )
        };
        let show = |secret: Option<Secret<String>>| secret.map(|secret| secret.expose().clone());
        self.global.print_one(&Added { shown, secret: show(written), uri: show(uri) }, text)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn recovery(&self, user: User) -> anyhow::Result<ExitCode> {
        self.admin.store.user(user.clone()).await?;
        let judge = Judge::new(&self.key, None, None);
        let set = judge.hasher().issue(&self.admin.system).await?;
        let record = draft(user.clone(), "recovery codes".to_owned(), Parameters::Recovery)?;
        let entry = self.entry(&record);
        let new = NewFactor {
            user: record.user,
            label: record.label,
            parameters: record.parameters,
            secret: Some(set.kept),
            confirmed: true,
            used: None,
        };
        let number = self.admin.store.add_factor(new, judge.sealer().clone(), entry).await?;
        let codes: Vec<&str> = set.codes.iter().map(|code| code.expose().as_str()).collect();
        let text = format!(
            "Recovery codes of {user}, each good once. They are not shown again, and older ones are void.\n\n    {}",
            codes.join("\n    ")
        );
        self.global.print_one(&Codes { user: user.as_str(), number, codes }, text)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn confirm(&self, user: User, number: i64, code: Secret<String>) -> anyhow::Result<ExitCode> {
        let record = self.admin.store.factor(user.clone(), number).await?;
        if record.confirmed_at.is_some() {
            anyhow::bail!("factor {number} of {user} counts already");
        }
        let given = Given { answer: &code, state: None, source: None };
        let judgement = self.judge(&record.parameters)?.judge(&record, &given, self.admin.now).await;
        let confirmed = match judgement {
            Judgement::Right(spend) => self.admin.store.confirm_factor(spend, self.entry(&record)).await?,
            Judgement::Unavailable(code) => anyhow::bail!("the code could not be judged ({code}); see the log"),
            Judgement::Replayed | Judgement::Wrong | Judgement::More { .. } => false,
        };
        if !confirmed {
            let entry = Entry { outcome: Outcome::Failed, ..self.entry(&record) };
            self.admin.store.miss_factor(user.clone(), number, entry).await?;
            anyhow::bail!("the code does not fit; factor {number} of {user} does not count yet");
        }
        let shown = Shown::from(&self.admin.store.factor(user.clone(), number).await?);
        self.global.print_one(&shown, format_args!("Factor {number} of {user} counts."))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn test(&self, user: User, number: i64) -> anyhow::Result<ExitCode> {
        let record = self.admin.store.factor(user.clone(), number).await?;
        let judge = self.judge(&record.parameters)?;
        let mut state = None;
        let mut prompt = "Answer: ".to_owned();
        loop {
            let answer = line(&prompt)?.unwrap_or_else(|| Secret::new(String::new()));
            let given = Given { answer: &answer, state: state.as_ref(), source: None };
            let entry = self.entry(&record);
            let (said, right) = match judge.judge(&record, &given, self.admin.system.wall()).await {
                Judgement::Right(spend) => match self.admin.store.spend_factor(spend, entry).await? {
                    true => ("right", true),
                    false if record.confirmed_at.is_none() => ("right, but the factor is not confirmed", false),
                    false => ("used before", false),
                },
                Judgement::More { state: next, text } => {
                    prompt = if text.is_empty() { "Answer: ".to_owned() } else { format!("{text} ") };
                    state = Some(next);
                    continue;
                }
                Judgement::Replayed => ("used before", false),
                Judgement::Wrong => {
                    let entry = Entry { outcome: Outcome::Failed, ..entry };
                    self.admin.store.miss_factor(user.clone(), number, entry).await?;
                    ("wrong", false)
                }
                Judgement::Unavailable(code) => {
                    let entry = Entry { outcome: Outcome::Failed, ..entry };
                    self.admin.store.append(entry.reason(code)).await?;
                    anyhow::bail!("the answer could not be judged ({code}); see the log");
                }
            };
            let told = serde_json::json!({ "user": user.as_str(), "number": number, "right": right, "said": said });
            self.global.print_one(&told, format_args!("The answer is {said}."))?;
            return Ok(if right { ExitCode::SUCCESS } else { FAILED.into() });
        }
    }

    async fn list(&self, user: Option<User>) -> anyhow::Result<ExitCode> {
        let records = match user {
            Some(user) => {
                self.admin.store.user(user.clone()).await?;
                self.admin.store.factors(user).await?
            }
            None => self.admin.store.all_factors().await?,
        };
        let shown: Vec<Shown> = records.iter().map(Shown::from).collect();
        let headers = ["number", "user", "kind", "label", "state", "last used", "wrong", "remarks"];
        self.global.print_list(&shown, &headers, |shown| shown.row(&self.admin))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn resync(
        &self,
        user: User,
        number: i64,
        first: Secret<String>,
        second: Secret<String>,
    ) -> anyhow::Result<ExitCode> {
        let record = self.admin.store.factor(user.clone(), number).await?;
        if !matches!(record.kind(), Factor::Totp | Factor::Hotp) {
            return Err(Usage(format!("factor {number} of {user} has neither clock nor counter to set right")).into());
        }
        if record.confirmed_at.is_none() {
            anyhow::bail!("factor {number} of {user} is not confirmed; remove it and add it anew");
        }
        let secret = Judge::new(&self.key, None, None).open(&record)?;
        let found = factor::resync(&record, &secret, &first, &second, self.admin.now);
        let done = match found {
            Some((parameters, spend)) => self.admin.store.resync_factor(spend, parameters, self.entry(&record)).await?,
            None => false,
        };
        if !done {
            anyhow::bail!("these are no two codes in a row of this factor, or they were used before");
        }
        let shown = Shown::from(&self.admin.store.factor(user.clone(), number).await?);
        self.global.print_one(&shown, format_args!("Factor {number} of {user} is set right. {}", shown.remarks()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A factor that is not in the store yet.
fn draft(user: User, label: String, parameters: Parameters) -> Result<Record, Usage> {
    let fits = (1..=LABEL_MAX).contains(&label.chars().count()) && !label.chars().any(char::is_control);
    if !fits {
        return Err(Usage(format!("--label has 1 to {LABEL_MAX} characters")));
    }
    if !parameters.are_possible() {
        return Err(Usage(format!("such a {} cannot be", parameters.kind().words())));
    }
    Ok(Record {
        id: 0,
        user,
        label,
        parameters,
        sealed: Vec::new(),
        counter: None,
        drift: 0,
        created_at: jiff::Timestamp::UNIX_EPOCH,
        confirmed_at: None,
        used_at: None,
        failures: 0,
        used_codes: Vec::new(),
    })
}

/// What a file with a secret holds; `-` is standard input.
fn read(path: &Path) -> anyhow::Result<Secret<String>> {
    let mut text = String::with_capacity(usize::try_from(SECRET_FILE_MAX)?);
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(SECRET_FILE_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(SECRET_FILE_MAX).read_to_string(&mut text))
    };
    let text = Secret::new(text);
    match read {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(NotFound(format!("there is no file {}", path.display())).into())
        }
        Err(error) => Err(anyhow::anyhow!("{}: {error}", path.display())),
    }
}

/// A line of standard input, asked for where that is a terminal; `None` where it is empty.
fn line(prompt: &str) -> anyhow::Result<Option<Secret<String>>> {
    if io::stdin().is_terminal() {
        // Not to standard output, which may be JSON.
        let mut stderr = io::stderr();
        stderr.write_all(crate::audit::neutral(prompt).as_bytes())?;
        stderr.flush()?;
    }
    let mut text = String::with_capacity(256);
    io::stdin().read_line(&mut text)?;
    let text = Secret::new(text);
    let kept = text.expose().trim();
    Ok((!kept.is_empty()).then(|| Secret::new(kept.to_owned())))
}

fn hex(text: &str, length: usize) -> Option<Secret<Vec<u8>>> {
    hex_any(text).filter(|bytes| bytes.expose().len() == length)
}

fn hex_any(text: &str) -> Option<Secret<Vec<u8>>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().map(Secret::new)
}
