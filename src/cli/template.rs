//! `sallyport template`: what messages say.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use policy::Language;
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound, Usage};
use crate::delivery::{Names, sample, text_of};
use crate::notify::Template;
use crate::notify::template::{TEMPLATES, Value, sms_warning};
use crate::store::Stationery;

/// Look at the texts of messages and change them.
///
/// Each template has a text for each language, built in until it is changed. `{variables}` are replaced; `template show`
/// tells which there are. Changes take effect at once, without a restart.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport template list
  sallyport template show passcode-body --language de
  sallyport template set passcode-subject 'Ihr Passcode {prefix}' --language de
  sallyport template set passcode-body --language de --file body.txt
  sallyport template show passcode-sms > sms.txt; vi sms.txt; sallyport template set passcode-sms < sms.txt
  sallyport template preview passcode-body
  sallyport template reset passcode-body --language de")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List all templates, and in which languages each was changed.
    List,
    /// Print the text that counts; with --json also the variables.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Change a text.
    Set {
        #[command(flatten)]
        which: Which,
        /// The text; without it and without --file, it is read from standard input.
        text: Option<String>,
        /// A file with the text.
        #[arg(long, conflicts_with = "text")]
        file: Option<PathBuf>,
    },
    /// Have the text that is built in count again.
    Reset {
        #[command(flatten)]
        which: Which,
    },
    /// Print a text as it would arrive, with made-up values.
    Preview {
        #[command(flatten)]
        which: Which,
    },
}

/// One text.
#[derive(Debug, clap::Args)]
struct Which {
    /// The template.
    name: String,
    /// The language: en, de, fr, es, it. Without it, that of the setting `language`.
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Language>,
}

/// A template, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    purpose: &'static str,
    language: Language,
    changed: bool,
    text: String,
    needs: &'static [&'static str],
    may: &'static [&'static str],
    warning: Option<String>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    match args.verb {
        Verb::List => list(&admin, global).await?,
        Verb::Show { which } => {
            let (template, stationery) = find(&admin, &which).await?;
            let shown = shown(&admin, template, &stationery);
            global.print_one(&shown, &shown.text)?;
        }
        Verb::Preview { which } => {
            let (template, stationery) = find(&admin, &which).await?;
            let text = preview(&admin, template, &stationery);
            let shown = Shown { text, ..shown(&admin, template, &stationery) };
            warn(&shown);
            global.print_one(&shown, &shown.text)?;
        }
        Verb::Set { which, text, file } => {
            let (template, stationery) = find(&admin, &which).await?;
            let text = match (text, file) {
                (Some(text), _) => text,
                (None, Some(file)) => {
                    std::fs::read_to_string(&file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?
                }
                (None, None) => {
                    let mut text = String::new();
                    std::io::stdin().read_to_string(&mut text)?;
                    text
                }
            };
            let name = template.name;
            let text = template.check(&text).map_err(|fault| Usage(format!("{name}: {fault}")))?;
            let language = stationery.language;
            let entry = admin.entry("template-changed", &format!("{name} in {language}"));
            admin.store.set_text(name, language, Some(text), entry).await?;
            let shown = shown(&admin, template, &find(&admin, &which).await?.1);
            warn(&shown);
            global.print_one(&shown, format_args!("{name} in {language} is changed; it counts from now on."))?;
        }
        Verb::Reset { which } => {
            let (template, stationery) = find(&admin, &which).await?;
            let (name, language) = (template.name, stationery.language);
            let entry = admin.entry("template-reset", &format!("{name} in {language}"));
            admin.store.set_text(name, language, None, entry).await?;
            let shown = shown(&admin, template, &find(&admin, &which).await?.1);
            global.print_one(&shown, format_args!("{name} in {language} is the text that is built in."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &Admin, global: &Global) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        purpose: &'static str,
        needs: &'static [&'static str],
        may: &'static [&'static str],
        changed: Vec<Language>,
    }
    let texts = admin.store.texts().await?;
    let rows: Vec<_> = TEMPLATES
        .iter()
        .map(|template| Row {
            name: template.name,
            purpose: template.purpose,
            needs: template.needs,
            may: template.may,
            changed: texts.iter().filter(|text| text.name == template.name).map(|text| text.language).collect(),
        })
        .collect();
    global.print_list(&rows, &["template", "changed", "purpose"], |row| {
        let changed: Vec<_> = row.changed.iter().map(|language| language.as_str()).collect();
        vec![row.name.to_owned(), changed.join(", "), row.purpose.to_owned()]
    })
}

async fn find(admin: &Admin, which: &Which) -> anyhow::Result<(&'static Template, Stationery)> {
    let template = Template::find(&which.name)
        .ok_or_else(|| NotFound(format!("there is no template {}; sallyport template list shows all", which.name)))?;
    Ok((template, admin.store.stationery(None, which.language).await?))
}

fn shown(admin: &Admin, template: &'static Template, stationery: &Stationery) -> Shown {
    let warning = template.is_sms().then(|| sms_warning(&preview(admin, template, stationery))).flatten();
    Shown {
        name: template.name,
        purpose: template.purpose,
        language: stationery.language,
        changed: stationery.texts.iter().any(|text| text.name == template.name),
        text: text_of(template, stationery),
        needs: template.needs,
        may: template.may,
        warning,
    }
}

fn preview(admin: &Admin, template: &Template, stationery: &Stationery) -> String {
    let values = sample(template, &Names::of(&admin.config), stationery.language);
    let values: Vec<_> = values.iter().map(|(name, value)| (*name, Value::Lines(value))).collect();
    template.fill(&text_of(template, stationery), &values).expose().clone()
}

/// Warns of text messages that cost more than one.
fn warn(shown: &Shown) {
    if let Some(warning) = &shown.warning {
        tracing::warn!("with made-up values {} has {warning}", shown.name);
    }
}
