//! `sallyport settings`: numbers and switches, each with unit, range, default and reason.

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::Global;
use super::admin::Admin;
use crate::store::StoredSetting;

/// Look at settings and change them.
///
/// Changes take effect at once, without a restart.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport settings list
  sallyport settings show passcode.digits
  sallyport settings set repeat.minutes 60
  sallyport settings reset repeat.minutes")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List all settings.
    List,
    /// Show what a setting does, and why its default and its range are what they are.
    Show {
        /// The setting.
        name: String,
    },
    /// Set a setting.
    Set {
        /// The setting.
        name: String,
        /// The value.
        value: String,
    },
    /// Have the default count again.
    Reset {
        /// The setting.
        name: String,
    },
}

/// A setting, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    value: String,
    unit: &'static str,
    range: String,
    default: String,
    meaning: &'static str,
    reason: &'static str,
    changed_at: Option<Timestamp>,
}

impl From<StoredSetting> for Shown {
    fn from(StoredSetting { setting, value, changed_at }: StoredSetting) -> Self {
        Self {
            name: setting.name,
            value,
            unit: setting.unit(),
            range: setting.range(),
            default: setting.default_value(),
            meaning: setting.meaning,
            reason: setting.reason,
            changed_at,
        }
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    match args.verb {
        Verb::List => {
            let settings: Vec<Shown> = admin.store.settings().await?.into_iter().map(Shown::from).collect();
            global.print_list(&settings, &["setting", "value", "unit", "range", "default", "changed"], |shown| {
                vec![
                    shown.name.to_owned(),
                    shown.value.clone(),
                    shown.unit.to_owned(),
                    shown.range.clone(),
                    shown.default.clone(),
                    shown.changed_at.map(|at| admin.local(at)).unwrap_or_default(),
                ]
            })?;
        }
        Verb::Show { name } => {
            let shown = find(&admin, &name).await?;
            let changed = shown.changed_at.map_or_else(|| "never".to_owned(), |at| admin.local(at));
            let text = format!(
                "{} = {} {}\n\n{}\n\nRange    {} {}\nDefault  {}\nChanged  {changed}\nReason   {}",
                shown.name,
                shown.value,
                shown.unit,
                shown.meaning,
                shown.range,
                shown.unit,
                shown.default,
                shown.reason
            );
            global.print_one(&shown, text)?;
        }
        Verb::Set { name, value } => {
            let before = find(&admin, &name).await?;
            let entry = admin.entry("setting-changed", &format!("{name}: {} -> {value}", before.value));
            admin.store.set_setting(name.clone(), value, entry).await?;
            let shown = find(&admin, &name).await?;
            let text = format!("{name} = {} {} (was {})", shown.value, shown.unit, before.value);
            global.print_one(&shown, text.replace("  ", " "))?;
        }
        Verb::Reset { name } => {
            let before = find(&admin, &name).await?;
            let entry = admin.entry("setting-changed", &format!("{name}: {} -> {}", before.value, before.default));
            admin.store.reset_setting(name.clone(), entry).await?;
            let shown = find(&admin, &name).await?;
            let text = format!("{name} = {} {} (the default; was {})", shown.value, shown.unit, before.value);
            global.print_one(&shown, text.replace("  ", " "))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(admin: &Admin, name: &str) -> anyhow::Result<Shown> {
    let setting = policy::setting::find(name).map_err(crate::store::Error::Setting)?;
    let settings = admin.store.settings().await?;
    let found = settings.into_iter().find(|stored| stored.setting.name == setting.name);
    found.map(Shown::from).ok_or_else(|| anyhow::anyhow!("the store does not know {name}"))
}

#[cfg(test)]
mod tests {
    use policy::setting::SETTINGS;

    /// The page of the documentation that this table makes.
    fn page() -> String {
        let mut page = String::from(
            "# Settings\n\n\
             `sallyport settings set NAME VALUE`; they count at once, without a restart. `sallyport settings show NAME` prints\n\
             what stands here. (This page is made from the table in `policy/src/setting.rs`; a test compares the two.)\n\n\
             | Setting | Default | Range | What it does | Why so |\n|---|---|---|---|---|\n",
        );
        for setting in SETTINGS {
            let unit = if setting.unit().is_empty() { String::new() } else { format!(" {}", setting.unit()) };
            page.push_str(&format!(
                "| `{}` | {}{unit} | {} | {} | {} |\n",
                setting.name,
                setting.default_value(),
                setting.range(),
                setting.meaning,
                setting.reason
            ));
        }
        page
    }

    #[test]
    fn the_documentation_is_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
        if std::env::var_os("SALLYPORT_WRITE_DOCS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, page(), "run: SALLYPORT_WRITE_DOCS=1 cargo test --lib the_documentation");
    }
}
