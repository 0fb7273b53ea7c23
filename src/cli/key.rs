//! `sallyport key`: the deployment's keys, and changing them.

use std::process::ExitCode;

use jiff::SignedDuration;
use serde::Serialize;

use super::admin::{Admin, counted};
use super::{FAILED, Global, NotFound};
use crate::key::{Key, KeyId};
use crate::store::Resealed;

/// How long after a rotation the older key must stay: passcodes are out that were hashed under it.
const PASSCODES_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Show, rotate and retire the deployment's keys.
///
/// Passcodes are hashed and secrets of factors are sealed under the current key; the older ones only verify and open. The
/// keys themselves are never shown. A running gateway notices by itself that the key file was replaced. Where several
/// machines share the store, copy the key file to the others before `key reseal`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport key list
  sallyport key rotate                     a new key, and everything resealed under it
  sallyport key rotate --later             a new key only; copy the file to the other machines, then:
  sallyport key reseal
  sallyport key retire 5f9a0c21            once nothing is sealed under it")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the keys by id, and how many secrets each seals.
    List,
    /// Add a key, which is the current one from now on, and reseal everything under it.
    Rotate {
        /// Do not reseal now.
        #[arg(long)]
        later: bool,
    },
    /// Bring everything that is sealed under the current key.
    Reseal,
    /// Take a key out of the file that seals nothing any more, 15 minutes after the file was last changed at the earliest.
    Retire {
        /// The key's id, as `key list` shows it.
        #[arg(value_parser = |text: &str| text.parse::<KeyId>())]
        id: KeyId,
    },
}

/// A key, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: KeyId,
    /// Whether it hashes and seals.
    current: bool,
    /// Whether it is in the file.
    held: bool,
    /// How many secrets it seals.
    seals: u32,
}

/// What rotating or resealing came to.
#[derive(Debug, Serialize)]
struct Done {
    current: KeyId,
    resealed: usize,
    broken: usize,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let key = Key::open(&admin.config.gateway.key_file, &admin.system)?;
    match args.verb {
        Verb::List => {
            let headers = ["id", "use", "secrets"];
            global.print_list(&shown(&admin, &key).await?, &headers, |key| {
                let current = match (key.current, key.held) {
                    (true, _) => "current",
                    (false, true) => "older",
                    (false, false) => "LOST",
                };
                vec![key.id.to_string(), current.to_owned(), key.seals.to_string()]
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Rotate { later } => {
            let entry = admin.entry("key-rotated", "a key was added");
            let current = admin.store.rotate_key(key.clone(), admin.system.clone(), entry).await?;
            if later {
                let done = Done { current, resealed: 0, broken: 0 };
                global.print_one(&done, format_args!("Key {current} is the current one. Nothing is resealed yet."))?;
                return Ok(ExitCode::SUCCESS);
            }
            reseal(&admin, global, &key).await
        }
        Verb::Reseal => reseal(&admin, global, &key).await,
        Verb::Retire { id } => {
            if !key.ids()?.contains(&id) {
                return Err(NotFound(format!("there is no key {id}")).into());
            }
            let wait = PASSCODES_MAX.saturating_sub(admin.now.duration_since(key.changed_at()?));
            if wait.is_positive() {
                let minutes = wait.as_secs() / 60 + 1;
                anyhow::bail!("passcodes may be out that were hashed under key {id}; retire it in {minutes} minutes");
            }
            let entry = admin.entry("key-retired", &format!("key {id}"));
            admin.store.retire_key(key, id, admin.system.clone(), entry).await?;
            global.print_one(&serde_json::json!({ "retired": id }), format_args!("Key {id} is retired."))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn shown(admin: &Admin, key: &Key) -> anyhow::Result<Vec<Shown>> {
    let sealed = admin.store.sealed().await?;
    let held = key.ids()?;
    let seals = |id: KeyId| sealed.iter().find(|(known, _)| *known == id).map_or(0, |(_, count)| *count);
    let mut shown: Vec<Shown> = held
        .iter()
        .enumerate()
        .map(|(number, id)| Shown { id: *id, current: number == 0, held: true, seals: seals(*id) })
        .collect();
    let lost = sealed.iter().filter(|(id, _)| !held.contains(id));
    shown.extend(lost.map(|(id, seals)| Shown { id: *id, current: false, held: false, seals: *seals }));
    Ok(shown)
}

async fn reseal(admin: &Admin, global: &Global, key: &Key) -> anyhow::Result<ExitCode> {
    let current = *key.ids()?.first().ok_or_else(|| anyhow::anyhow!("there is no key"))?;
    let entry = admin.entry("secrets-resealed", &format!("under key {current}"));
    let Resealed { resealed, broken } = admin.store.reseal(key.clone(), entry).await?;
    let trouble = match broken {
        0 => String::new(),
        broken => format!("\n{} cannot be opened and stay as they are.", counted(broken, "secret")),
    };
    let text = format!("Key {current} is the current one; {} resealed.{trouble}", counted(resealed, "secret"));
    global.print_one(&Done { current, resealed, broken }, text)?;
    Ok(if broken == 0 { ExitCode::SUCCESS } else { FAILED.into() })
}
