//! Who may use the checks of a user: strangers leave the owner one, and never reach the host's limit.

use super::*;

/// Where strangers come from.
const STRANGER: &str = "198.51.100.66:4000";

impl Ftp {
    /// ANNA got in from [`Ftp::anew`] before.
    async fn known() -> Self {
        let ftp = Self::new().await;
        ftp.set("ftp.window", "0").await;
        ftp.set("lockout.delay-after", "100").await;
        let code = ftp.asked().await;
        assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
        ftp.system.pass(DAY);
        ftp.heard();
        ftp
    }

    async fn guess(&self, password: &str) -> End {
        self.give(&self.from(STRANGER), password).await
    }
}

#[tokio::test]
async fn a_stranger_does_not_keep_the_owner_out_where_the_owner_was_before() {
    let ftp = Ftp::new().await;
    ftp.set("ftp.window", "0").await;
    let code = ftp.asked().await;
    assert_eq!(ftp.give(&ftp.anew(), &code).await, entered());
    ftp.system.pass(DAY);
    assert_eq!(ftp.give(&ftp.from("198.51.100.66:4000"), "a").await, End::HostRefused);
    assert_eq!(ftp.give(&ftp.from("198.51.100.66:4000"), "b").await, End::Refused, "the last one is the owner's");
    assert_eq!(ftp.give(&ftp.from("203.0.113.10:1"), PASSWORD).await, End::Refused, "from elsewhere nobody can tell");
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
    // A month later it is nobody's.
    ftp.system.pass(31 * DAY);
    for password in ["a", "b"] {
        assert_eq!(ftp.give(&ftp.from("198.51.100.66:4000"), password).await, End::HostRefused);
    }
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Refused);
    // A sign-on at a terminal helps.
    ftp.guard.record(&ftp.abroad(), Report::HostAccepted { user: anna() }).await;
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
}

#[tokio::test]
async fn passwords_refused_at_terminals_leave_the_owner_a_check() {
    let ftp = Ftp::known().await;
    for day in 0..4 {
        ftp.system.pass(DAY - 3_600);
        // From many places: of one alone no more than a share counts.
        for _ in 0..2 {
            ftp.guard.record(&ftp.peer(&format!("198.51.100.{day}:1")), Report::HostRefused { user: anna() }).await;
        }
        assert_eq!(
            ftp.guess(&format!("guess{day}")).await,
            End::Refused,
            "the terminals used up the strangers' checks"
        );
    }
    assert_eq!(ftp.give(&ftp.anew(), "typo").await, End::HostRefused);
    assert_eq!(ftp.give(&ftp.anew(), "tipo").await, End::Refused, "one, and no more");
    // The next one comes with time, whatever strangers do meanwhile.
    ftp.system.pass(DAY - 3_600);
    ftp.guard.record(&ftp.peer("198.51.100.9:1"), Report::HostRefused { user: anna() }).await;
    assert_eq!(ftp.guess("guess").await, End::Refused);
    ftp.system.pass(3_600);
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
}

#[tokio::test]
async fn what_comes_with_time_is_not_for_strangers() {
    let ftp = Ftp::known().await;
    assert_eq!(ftp.guess("a").await, End::HostRefused);
    for day in 0..5 {
        ftp.system.pass(DAY);
        assert_eq!(ftp.guess("b").await, End::Refused, "{day}");
        assert_eq!(ftp.last_reason(Event::SignOn).await, "host-check-budget");
    }
    assert_eq!(ftp.heard(), 1, "the host counts no more than this");
    assert_eq!(ftp.give(&ftp.anew(), PASSWORD).await, End::Asked);
    // The host has forgotten, and so has the budget.
    assert_eq!(ftp.guess("c").await, End::HostRefused);
}

#[tokio::test]
async fn owners_and_strangers_together_stay_below_the_host_s_limit() {
    for checks in 1..=3_u32 {
        let ftp = Ftp::known().await;
        ftp.set("ftp.host-checks", &checks.to_string()).await;
        for round in 0..6 {
            ftp.guard.record(&ftp.peer(STRANGER), Report::HostRefused { user: anna() }).await;
            for source in [STRANGER, "203.0.113.9:1", "198.51.100.67:1", "203.0.113.9:2"] {
                let _ = ftp.give(&ftp.from(source), &format!("{source} {round}")).await;
                ftp.system.pass(60);
            }
        }
        assert!(ftp.heard() <= usize::try_from(checks).unwrap(), "{checks}");
    }
}
