//! How factors look on the command line.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::admin::{Admin, counted};
use policy::Factor;

use crate::factor::{Parameters, Record};

/// A factor, as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    number: i64,
    user: String,
    label: String,
    /// The kind, and what goes with it.
    #[serde(flatten)]
    parameters: Parameters,
    /// Whether it counts.
    counts: bool,
    created_at: Timestamp,
    confirmed_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
    wrong_answers: u32,
    drift_steps: Option<i64>,
    codes_left: Option<usize>,
}

impl From<&Record> for Shown {
    fn from(record: &Record) -> Self {
        Self {
            number: record.id,
            user: record.user.to_string(),
            label: record.label.clone(),
            parameters: record.parameters.clone(),
            counts: record.counts(),
            created_at: record.created_at,
            confirmed_at: record.confirmed_at,
            used_at: record.used_at,
            wrong_answers: record.failures,
            drift_steps: (record.kind() == Factor::Totp && record.counter.is_some()).then_some(record.drift),
            codes_left: record.codes_left(),
        }
    }
}

impl Shown {
    /// `authenticator app "phone" of ANNA`
    pub(super) fn sentence(&self) -> String {
        format!("{} \"{}\" of {}", self.parameters.kind().words(), self.label, self.user)
    }

    fn state(&self) -> &'static str {
        match (self.counts, self.confirmed_at, self.codes_left) {
            (true, ..) => "counts",
            (false, Some(_), Some(0)) => "used up",
            (false, _, _) => "unconfirmed",
        }
    }

    /// What goes with its kind.
    pub(super) fn remarks(&self) -> String {
        match &self.parameters {
            Parameters::Totp(settings) => {
                let drift = match self.drift_steps {
                    None | Some(0) => String::new(),
                    Some(steps) => {
                        let seconds = steps.unsigned_abs() * u64::from(settings.period);
                        format!(", clock {seconds} s {}", if steps > 0 { "ahead" } else { "behind" })
                    }
                };
                format!("{} digits, {}, {} s{drift}", settings.digits, settings.algorithm.as_str(), settings.period)
            }
            Parameters::Hotp { digits } => format!("{digits} digits"),
            Parameters::Yubikey { public_id, by } => {
                let by = match by {
                    crate::factor::YubikeyBy::Gateway => "the gateway",
                    crate::factor::YubikeyBy::Server => "a server",
                };
                format!("{public_id}, judged by {by}")
            }
            Parameters::Recovery => format!("{} left", counted(self.codes_left.unwrap_or(0), "code")),
            Parameters::Radius { name } => name.as_ref().map(|name| format!("as {name}")).unwrap_or_default(),
        }
    }

    pub(super) fn row(&self, admin: &Admin) -> Vec<String> {
        vec![
            self.number.to_string(),
            self.user.clone(),
            self.parameters.kind().to_string(),
            self.label.clone(),
            self.state().to_owned(),
            self.used_at.map(|at| admin.local(at)).unwrap_or_default(),
            self.wrong_answers.to_string(),
            self.remarks(),
        ]
    }

    /// Everything, a line each.
    pub(super) fn all(&self, admin: &Admin) -> String {
        let time = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |time| admin.local(time));
        format!(
            "Factor {}: {}\n  state      {}\n  kind       {} ({})\n  added      {}\n  confirmed  {}\n  last used  {}\n  wrong      {}",
            self.number,
            self.sentence(),
            self.state(),
            self.parameters.kind(),
            self.remarks(),
            admin.local(self.created_at),
            time(self.confirmed_at),
            time(self.used_at),
            self.wrong_answers
        )
    }
}

/// `text` as a QR code of half blocks, light on dark as most terminals are; where standard output is a terminal, in these
/// colours whatever its own are.
pub(super) fn qr(text: &str) -> anyhow::Result<String> {
    use std::io::IsTerminal;

    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L)?;
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    if !std::io::stdout().is_terminal() {
        return Ok(drawn);
    }
    Ok(drawn.lines().map(|line| format!("\u{1b}[97;40m{line}\u{1b}[0m")).collect::<Vec<_>>().join("\n"))
}
