//! Factors in the store: sealed, bound to their row, counted upwards, spent once.

use super::*;
use crate::audit::{Event, Outcome};
use crate::factor::{Given, Judge, Judgement, YubikeyBy, hotp, totp, yubikey};
use crate::key::Key;
use crate::system::System;
use crate::testing::Folder;

const SECRET: &[u8] = b"12345678901234567890";

struct Bench {
    folder: Folder,
    store: Store,
    system: System,
    key: Key,
    judge: Judge,
}

impl Bench {
    async fn new() -> Self {
        let (folder, system) = (Folder::new(), System::stopped());
        let store = Store::open(&folder.path("store"), system.now()).await.unwrap();
        let key = Key::open(&folder.path("key"), &system).unwrap();
        let judge = Judge::new(&key, None, None);
        let bench = Self { folder, store, system, key, judge };
        for name in ["ANNA", "BERT"] {
            let added = bench.store.add_user(name.parse().unwrap(), false, String::new(), bench.entry());
            added.await.unwrap();
        }
        bench
    }

    fn entry(&self) -> Entry {
        Entry::new(self.system.now(), "n", Event::Changed, Outcome::Noted)
    }

    async fn add(
        &self,
        user: &str,
        parameters: Parameters,
        secret: Option<&[u8]>,
        confirmed: bool,
    ) -> Result<i64, Error> {
        let new = NewFactor {
            user: user.parse().unwrap(),
            label: "phone".to_owned(),
            parameters,
            secret: secret.map(|secret| Secret::new(secret.to_vec())),
            confirmed,
            used: None,
        };
        self.store.add_factor(new, self.judge.sealer().clone(), self.entry()).await
    }

    async fn record(&self, user: &str, id: i64) -> Record {
        self.store.factor(user.parse().unwrap(), id).await.unwrap()
    }

    async fn judge(&self, user: &str, id: i64, answer: &Secret<String>) -> Judgement {
        let given = Given { answer, state: None, source: None };
        self.judge.judge(&self.record(user, id).await, &given, self.system.now()).await
    }

    /// Judges and uses up; whether the answer counts.
    async fn passes(&self, user: &str, id: i64, answer: &Secret<String>) -> bool {
        let Judgement::Right(spend) = self.judge(user, id, answer).await else { return false };
        self.store.spend_factor(spend, self.entry()).await.unwrap()
    }

    /// The code of the step `ahead` of now.
    fn code(&self, ahead: i64) -> Secret<String> {
        let step = u64::try_from(self.system.now().as_second() / 30 + ahead).unwrap();
        hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits: 6, secret: SECRET }.code(step)
    }

    fn sql(&self, sql: &str) {
        let connection = Connection::open(self.folder.path("store")).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

const TOTP: Parameters =
    Parameters::Totp(totp::Settings { algorithm: hotp::Algorithm::Sha1, digits: 6, period: 30, offset: 0 });

#[tokio::test]
async fn a_factor_counts_once_it_is_confirmed_and_its_code_does_not_come_back() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), false).await.unwrap();
    let code = bench.code(0);
    assert!(!bench.record("ANNA", id).await.counts());
    let Judgement::Right(spend) = bench.judge("ANNA", id, &code).await else { panic!("the code is right") };
    assert!(!bench.store.spend_factor(spend.clone(), bench.entry()).await.unwrap(), "not before it is confirmed");
    assert!(bench.store.confirm_factor(spend.clone(), bench.entry()).await.unwrap());
    assert!(!bench.store.confirm_factor(spend, bench.entry()).await.unwrap(), "once");
    assert!(bench.record("ANNA", id).await.counts());
    assert!(matches!(bench.judge("ANNA", id, &code).await, Judgement::Replayed));
    assert!(bench.passes("ANNA", id, &bench.code(1)).await);
    let record = bench.record("ANNA", id).await;
    assert_eq!((record.drift, record.used_at), (1, Some(bench.system.now())));
}

#[tokio::test]
async fn of_a_thousand_answers_with_one_code_one_passes() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), true).await.unwrap();
    let Judgement::Right(spend) = bench.judge("ANNA", id, &bench.code(0)).await else { panic!("the code is right") };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (store, spend, entry) = (bench.store.clone(), spend.clone(), bench.entry());
        tasks.spawn(async move { store.spend_factor(spend, entry).await.unwrap() });
    }
    let passed = tasks.join_all().await.into_iter().filter(|passed| *passed).count();
    assert_eq!(passed, 1);
}

#[tokio::test]
async fn counters_outlive_a_restart() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", Parameters::Hotp { digits: 6 }, Some(SECRET), true).await.unwrap();
    let code = |counter| hotp::Codes { algorithm: hotp::Algorithm::Sha1, digits: 6, secret: SECRET }.code(counter);
    assert!(bench.passes("ANNA", id, &code(5)).await);
    let Bench { folder, store, system, key: _, judge: _ } = bench;
    drop(store);
    let store = Store::open(&folder.path("store"), system.now()).await.unwrap();
    let key = Key::open(&folder.path("key"), &system).unwrap();
    let judge = Judge::new(&key, None, None);
    let bench = Bench { folder, store, system, key, judge };
    for counter in 0..=5 {
        assert!(!bench.passes("ANNA", id, &code(counter)).await, "{counter}");
    }
    assert!(bench.passes("ANNA", id, &code(6)).await);
}

#[tokio::test]
async fn the_store_s_file_does_not_hold_the_secret_and_a_moved_row_does_not_open() {
    let bench = Bench::new().await;
    let anna = bench.add("ANNA", TOTP, Some(SECRET), true).await.unwrap();
    let bert = bench.add("BERT", TOTP, Some(b"another 20 byte text"), true).await.unwrap();
    for name in ["store", "store-wal"] {
        let bytes = std::fs::read(bench.folder.path(name)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == &SECRET[..10]), "{name}");
    }
    let code = bench.code(0);
    assert!(matches!(bench.judge("BERT", bert, &code).await, Judgement::Wrong));
    // BERT puts the secret that he knows, or his own, where ANNA's is.
    bench.sql(&format!("UPDATE factors SET secret = (SELECT secret FROM factors WHERE id = {anna}) WHERE id = {bert}"));
    assert!(matches!(bench.judge("BERT", bert, &code).await, Judgement::Unavailable("factor-sealed")));
    bench.sql(&format!("UPDATE factors SET user = 'BERT' WHERE id = {anna}"));
    assert!(matches!(bench.judge("BERT", anna, &code).await, Judgement::Unavailable("factor-sealed")));
}

#[tokio::test]
async fn nobody_spends_another_user_s_factor() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), true).await.unwrap();
    let Judgement::Right(spend) = bench.judge("ANNA", id, &bench.code(0)).await else { panic!("the code is right") };
    let stolen = Spend { user: "BERT".parse().unwrap(), ..spend };
    assert!(!bench.store.spend_factor(stolen, bench.entry()).await.unwrap());
    assert!(matches!(bench.store.factor("BERT".parse().unwrap(), id).await, Err(Error::Missing(_))));
    assert!(matches!(
        bench.store.remove_factor("BERT".parse().unwrap(), id, bench.entry()).await,
        Err(Error::Missing(_))
    ));
}

#[tokio::test]
async fn a_recovery_code_is_good_once_and_a_new_set_ends_the_old_one() {
    let bench = Bench::new().await;
    let first = bench.judge.hasher().issue(&bench.system).await.unwrap();
    let id = bench.add("ANNA", Parameters::Recovery, Some(first.kept.expose()), true).await.unwrap();
    let Judgement::Right(spend) = bench.judge("ANNA", id, &first.codes[3]).await else { panic!("the code is right") };
    assert_eq!(spend.what, Use::Code(3));
    assert!(bench.store.spend_factor(spend.clone(), bench.entry()).await.unwrap());
    assert!(!bench.store.spend_factor(spend, bench.entry()).await.unwrap());
    assert!(matches!(bench.judge("ANNA", id, &first.codes[3]).await, Judgement::Replayed));
    assert_eq!(bench.record("ANNA", id).await.codes_left(), Some(9));
    let second = bench.judge.hasher().issue(&bench.system).await.unwrap();
    let next = bench.add("ANNA", Parameters::Recovery, Some(second.kept.expose()), true).await.unwrap();
    let all = bench.store.factors("ANNA".parse().unwrap()).await.unwrap();
    assert_eq!(all.iter().map(|record| record.id).collect::<Vec<_>>(), [next]);
    assert!(matches!(bench.judge("ANNA", next, &first.codes[4]).await, Judgement::Wrong));
    for code in &second.codes {
        assert!(bench.passes("ANNA", next, code).await);
    }
    assert!(!bench.record("ANNA", next).await.counts(), "none is left");
}

#[tokio::test]
async fn a_yubikey_s_older_passwords_are_refused_and_it_belongs_to_one_user() {
    let bench = Bench::new().await;
    let mut software = yubikey::software::YubiKey::new();
    let parameters = Parameters::Yubikey { public_id: software.name(), by: YubikeyBy::Gateway };
    let secret = software.secret();
    let id = bench.add("ANNA", parameters.clone(), Some(secret.expose()), true).await.unwrap();
    let second = bench.add("BERT", parameters, Some(secret.expose()), true).await;
    assert!(matches!(second, Err(Error::Exists(_))), "{second:?}");
    let (old, new) = (software.press(), software.press());
    assert!(bench.passes("ANNA", id, &new).await);
    assert!(!bench.passes("ANNA", id, &new).await);
    assert!(matches!(bench.judge("ANNA", id, &old).await, Judgement::Replayed));
    software.replug();
    assert!(bench.passes("ANNA", id, &software.press()).await);
}

#[tokio::test]
async fn a_token_is_set_right_by_two_codes() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), true).await.unwrap();
    let (first, second) = (bench.code(40), bench.code(41));
    assert!(!bench.passes("ANNA", id, &first).await);
    let record = bench.record("ANNA", id).await;
    let secret = bench.judge.open(&record).unwrap();
    let (parameters, spend) = crate::factor::resync(&record, &secret, &first, &second, bench.system.now()).unwrap();
    assert!(bench.store.resync_factor(spend.clone(), parameters.clone(), bench.entry()).await.unwrap());
    assert!(!bench.store.resync_factor(spend, parameters, bench.entry()).await.unwrap(), "these codes are used");
    assert!(!bench.passes("ANNA", id, &bench.code(41)).await);
    assert!(bench.passes("ANNA", id, &bench.code(42)).await);
    assert_eq!(bench.record("ANNA", id).await.drift, 42);
}

#[tokio::test]
async fn keys_are_rotated_under_a_running_reader() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), true).await.unwrap();
    let old = bench.key.ids().unwrap()[0];
    assert_eq!(bench.store.sealed().await.unwrap(), [(old, 1)]);

    // As another process does it: its own key, its own store.
    let admin_key = Key::open(&bench.folder.path("key"), &bench.system).unwrap();
    let admin = Store::open(&bench.folder.path("store"), bench.system.now()).await.unwrap();
    let new = admin.rotate_key(admin_key.clone(), bench.system.clone(), bench.entry()).await.unwrap();
    let refused = admin.retire_key(admin_key.clone(), old, bench.system.clone(), bench.entry()).await;
    assert!(matches!(refused, Err(Error::InUse(_))), "{refused:?}");
    assert!(bench.passes("ANNA", id, &bench.code(-1)).await, "between rotating and resealing");
    let late = bench.add("BERT", TOTP, Some(SECRET), true).await.unwrap();
    assert_eq!(crate::seal::key_of(&bench.record("BERT", late).await.sealed), Some(new), "the running one seals anew");
    let done = admin.reseal(admin_key.clone(), bench.entry()).await.unwrap();
    assert_eq!((done.resealed, done.broken), (1, 0));
    assert_eq!(admin.sealed().await.unwrap(), [(new, 2)]);
    assert!(bench.passes("ANNA", id, &bench.code(0)).await);
    admin.retire_key(admin_key, old, bench.system.clone(), bench.entry()).await.unwrap();
    assert!(bench.passes("ANNA", id, &bench.code(1)).await);
    assert_eq!(bench.key.ids().unwrap(), [new]);
}

#[tokio::test]
async fn what_does_not_open_is_told_and_left() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), true).await.unwrap();
    bench.add("BERT", TOTP, Some(SECRET), true).await.unwrap();
    bench.sql(&format!("UPDATE factors SET secret = CAST(secret || x'00' AS BLOB) WHERE id = {id}"));
    bench.key.rotate(&bench.system).unwrap();
    let done = bench.store.reseal(bench.key.clone(), bench.entry()).await.unwrap();
    assert_eq!((done.resealed, done.broken), (1, 1));
}

#[tokio::test]
async fn every_change_is_audited_with_its_kind_and_without_its_secret() {
    let bench = Bench::new().await;
    let id = bench.add("ANNA", TOTP, Some(SECRET), false).await.unwrap();
    let Judgement::Right(spend) = bench.judge("ANNA", id, &bench.code(0)).await else { panic!("the code is right") };
    bench.store.confirm_factor(spend, bench.entry()).await.unwrap();
    bench.store.miss_factor("ANNA".parse().unwrap(), id, bench.entry().reason("x")).await.unwrap();
    assert_eq!(bench.record("ANNA", id).await.failures, 1);
    bench.store.remove_factor("ANNA".parse().unwrap(), id, bench.entry()).await.unwrap();
    let lines = bench.store.entries(crate::store::Filter::default(), 100).await.unwrap();
    let told: Vec<_> = lines.iter().filter(|line| line.entry.factor.as_deref() == Some("totp")).collect();
    let reasons: Vec<_> = told.iter().filter_map(|line| line.entry.reason.as_deref()).collect();
    for reason in ["factor-added-unconfirmed", "factor-confirmed", "factor-removed"] {
        assert!(reasons.contains(&reason), "{reasons:?}");
    }
}

#[tokio::test]
async fn there_is_a_most_and_removing_the_user_removes_all() {
    let bench = Bench::new().await;
    for _ in 0..FACTORS_MAX {
        bench.add("ANNA", TOTP, Some(SECRET), false).await.unwrap();
    }
    assert!(matches!(bench.add("ANNA", TOTP, Some(SECRET), false).await, Err(Error::Full(_))));
    assert!(matches!(bench.add("CARL", TOTP, Some(SECRET), false).await, Err(Error::Missing(_))));
    bench.store.remove_user("ANNA".parse().unwrap(), bench.entry()).await.unwrap();
    assert!(bench.store.all_factors().await.unwrap().is_empty());
    assert!(bench.store.sealed().await.unwrap().is_empty());
}
