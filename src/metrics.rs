//! What is counted and measured, as Prometheus reads it (OpenMetrics text, by prometheus-client).
//!
//! A process has one set of counters, so that whoever counts needs one line and no handle. What can be looked up when it is
//! asked for (sessions, the audit's size, certificates) is not counted but told in a [`Moment`].
//!
//! Invariants: no label holds a user, an address or anything else that a client can choose, both for privacy and so that
//! nobody makes the number of series grow; names of listeners and providers are the configuration's. Reading changes nothing.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use policy::{AlertKind, Decision, Service};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::limit::Full;
use crate::sessions::{State, Summary};

/// Of a call of the store: half a millisecond to the longest that a call may take, and beyond.
const STORE_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
/// Of a delivery: what a relay near by takes, to what the configuration allows at most.
const DELIVERY_BUCKETS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// What is looked up when metrics are asked for.
#[derive(Debug, Default)]
pub struct Moment {
    /// The live sessions.
    pub sessions: Vec<Summary>,
    /// The listeners, and what each speaks.
    pub listeners: Vec<(String, Service)>,
    /// When the certificate of each listener expires, in seconds since 1970.
    pub certificates: Vec<(String, i64)>,
    /// How many entries the audit has; `None`: the store does not answer.
    pub audit_entries: Option<u64>,
    /// Whether the gateway is ready.
    pub is_ready: bool,
    /// Whether the gateway takes no new connections any more.
    pub is_draining: bool,
}

/// Which of the store's threads a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// One that only reads.
    Read,
    /// One that may write.
    Write,
}

impl Call {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfListener {
    listener: String,
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEnd {
    listener: String,
    service: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLimit {
    listener: String,
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    service: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDecision {
    service: &'static str,
    effect: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDelivery {
    provider: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProvider {
    provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCall {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCertificate {
    listener: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAlert {
    kind: &'static str,
}

/// A histogram for each set of labels.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug)]
struct Metrics {
    registry: Registry,
    /// Held while what is looked up is put in and everything is read.
    reading: Mutex<()>,
    connections: Family<OfListener, Counter>,
    ended: Family<OfEnd, Counter>,
    turned_away: Family<OfLimit, Counter>,
    open: Family<OfListener, Gauge>,
    sessions: Family<OfState, Gauge>,
    decisions: Family<OfDecision, Counter>,
    challenges: Family<OfService, Counter>,
    passcodes: Family<OfDelivery, Counter>,
    delivery: Histograms<OfProvider>,
    store: Histograms<OfCall>,
    store_failures: Family<OfCall, Counter>,
    store_waiting: Family<OfCall, Gauge>,
    audit_entries: Counter<u64, AtomicU64>,
    certificates: Family<OfCertificate, Gauge>,
    alerts: Family<OfAlert, Counter>,
    panics: Counter,
    ready: Gauge,
    draining: Gauge,
}

/// A call of the store that is under way; it counts as waiting until it is done or dropped.
#[derive(Debug)]
pub struct Waiting {
    call: Call,
    gauge: Gauge,
}

impl Waiting {
    /// It is done, or failed, after `time`.
    pub fn done(self, time: Duration, has_failed: bool) {
        let of = OfCall { call: self.call.as_str() };
        METRICS.store.get_or_create(&of).observe(time.as_secs_f64());
        if has_failed {
            METRICS.store_failures.get_or_create(&of).inc();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A connection came in by `listener`.
pub fn connected(listener: &str, service: Service) {
    METRICS.connections.get_or_create(&of_listener(listener, service)).inc();
}

/// A connection ended, for a reason of a few that there are.
pub fn ended(listener: &str, service: Service, reason: &'static str) {
    let of = OfEnd { listener: listener.to_owned(), service: service.as_str(), reason };
    METRICS.ended.get_or_create(&of).inc();
}

/// A connection was turned away by a limit.
pub fn turned_away(listener: &str, full: Full) {
    METRICS.turned_away.get_or_create(&OfLimit { listener: listener.to_owned(), limit: full.code() }).inc();
}

/// It was decided about somebody.
pub fn decided(service: Service, decision: &Decision) {
    let (effect, reason) = (decision.effect.as_str(), decision.reason.code());
    METRICS.decisions.get_or_create(&OfDecision { service: service.as_str(), effect, reason }).inc();
}

/// A passcode is asked for.
pub fn challenged(service: Service) {
    METRICS.challenges.get_or_create(&OfService { service: service.as_str() }).inc();
}

/// A passcode was handed over to `provider`, or was not, within `time`.
pub fn sent(provider: &str, is_sent: bool, time: Duration) {
    let (provider, result) = (provider.to_owned(), if is_sent { "sent" } else { "failed" });
    METRICS.passcodes.get_or_create(&OfDelivery { provider: provider.clone(), result }).inc();
    METRICS.delivery.get_or_create(&OfProvider { provider }).observe(time.as_secs_f64());
}

/// A call of the store begins.
#[must_use]
pub fn waiting(call: Call) -> Waiting {
    let gauge = METRICS.store_waiting.get_or_create_owned(&OfCall { call: call.as_str() });
    gauge.inc();
    Waiting { call, gauge }
}

/// An alert was raised.
pub fn alerted(kind: AlertKind) {
    METRICS.alerts.get_or_create(&OfAlert { kind: kind.as_str() }).inc();
}

/// Something panicked.
pub fn panicked() {
    METRICS.panics.inc();
}

/// Everything, as text, at this `moment`.
#[must_use]
pub fn render(moment: &Moment) -> String {
    METRICS.render(moment)
}

/// The content type of what [`render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn of_listener(listener: &str, service: Service) -> OfListener {
    OfListener { listener: listener.to_owned(), service: service.as_str() }
}

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sallyport"),
            reading: Mutex::new(()),
            connections: Family::default(),
            ended: Family::default(),
            turned_away: Family::default(),
            open: Family::default(),
            sessions: Family::default(),
            decisions: Family::default(),
            challenges: Family::default(),
            passcodes: Family::default(),
            delivery: Family::new_with_constructor(|| Histogram::new(DELIVERY_BUCKETS)),
            store: Family::new_with_constructor(|| Histogram::new(STORE_BUCKETS)),
            store_failures: Family::default(),
            store_waiting: Family::default(),
            audit_entries: Counter::default(),
            certificates: Family::default(),
            alerts: Family::default(),
            panics: Counter::default(),
            ready: Gauge::default(),
            draining: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("connections", "Connections that came in", self.connections.clone());
        registry.register("connections_ended", "Connections that ended, by why", self.ended.clone());
        let help = "Connections turned away, by which limit";
        registry.register("connections_turned_away", help, self.turned_away.clone());
        registry.register("connections_open", "Connections that are open", self.open.clone());
        registry.register("sessions", "Live sessions, by how far they have come", self.sessions.clone());
        registry.register("decisions", "Decisions about sign-ons, by effect and reason", self.decisions.clone());
        registry.register("challenges", "Passcodes asked for", self.challenges.clone());
        registry.register("passcodes", "Passcodes handed over for delivery, or not", self.passcodes.clone());
        let help = "How long handing a passcode over took";
        registry.register_with_unit("delivery", help, Unit::Seconds, self.delivery.clone());
        let help = "How long a call of the store took, waiting included";
        registry.register_with_unit("store_call", help, Unit::Seconds, self.store.clone());
        registry.register("store_failures", "Calls of the store that failed", self.store_failures.clone());
        let help = "Calls of the store that wait or are carried out";
        registry.register("store_waiting", help, self.store_waiting.clone());
        registry.register("audit_entries", "Entries of the audit, of all nodes", self.audit_entries.clone());
        let help = "When the certificate of a listener expires, in seconds since 1970";
        registry.register("certificate_expiry_timestamp_seconds", help, self.certificates.clone());
        registry.register("alerts", "Alerts that this process raised, by kind", self.alerts.clone());
        registry.register("panics", "Faults in Sallyport that ended a connection", self.panics.clone());
        registry.register("ready", "Whether all of /readyz is well", self.ready.clone());
        registry.register("draining", "Whether no new connections are taken any more", self.draining.clone());
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        // Series that are there from the start can be watched for a first increase.
        for call in [Call::Read, Call::Write] {
            let of = OfCall { call: call.as_str() };
            drop(self.store_failures.get_or_create(&of));
            drop(self.store_waiting.get_or_create(&of));
        }
        for kind in AlertKind::ALL {
            drop(self.alerts.get_or_create(&OfAlert { kind: kind.as_str() }));
        }
    }

    fn render(&self, moment: &Moment) -> String {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.clear();
        self.sessions.clear();
        self.certificates.clear();
        for (listener, service) in &moment.listeners {
            drop(self.open.get_or_create(&of_listener(listener, *service)));
            drop(self.connections.get_or_create(&of_listener(listener, *service)));
            for state in State::ALL {
                drop(self.sessions.get_or_create(&OfState { service: service.as_str(), state: state.as_str() }));
            }
        }
        let mut open = BTreeMap::<_, i64>::new();
        let mut sessions = BTreeMap::<_, i64>::new();
        for session in &moment.sessions {
            *open.entry((&session.listener, session.service.as_str())).or_default() += 1;
            *sessions.entry((session.service.as_str(), session.state.as_str())).or_default() += 1;
        }
        for ((listener, service), count) in open {
            self.open.get_or_create(&OfListener { listener: listener.clone(), service }).set(count);
        }
        for ((service, state), count) in sessions {
            self.sessions.get_or_create(&OfState { service, state }).set(count);
        }
        for (listener, at) in &moment.certificates {
            self.certificates.get_or_create(&OfCertificate { listener: listener.clone() }).set(*at);
        }
        if let Some(entries) = moment.audit_entries {
            self.audit_entries.inner().store(entries, std::sync::atomic::Ordering::Relaxed);
        }
        self.ready.set(moment.is_ready.into());
        self.draining.set(moment.is_draining.into());
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use policy::{Effect, Reason};

    use super::*;

    #[test]
    fn everything_is_told() {
        // What is counted is counted for the whole process, so it needs one without other tests.
        if std::env::var_os("SALLYPORT_TEST_ALONE").is_none() {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "metrics::tests::everything_is_told", "--nocapture"])
                .env("SALLYPORT_TEST_ALONE", "1")
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        connected("terminals", Service::Telnet);
        ended("terminals", Service::Telnet, "client");
        turned_away("terminals", Full::Rate);
        challenged(Service::Ftp);
        sent("smtp", true, Duration::from_millis(20));
        sent("smtp", false, Duration::from_secs(40));
        decided(
            Service::Telnet,
            &Decision {
                effect: Effect::Deny,
                meant: Effect::Deny,
                reason: Reason::NetworkDenied,
                rule: None,
                account: None,
            },
        );
        waiting(Call::Read).done(Duration::from_millis(2), false);
        waiting(Call::Write).done(Duration::from_secs(3), true);
        let held = waiting(Call::Write);
        panicked();
        alerted(AlertKind::Lockout);
        let moment = Moment {
            listeners: vec![("terminals".into(), Service::Telnet)],
            certificates: vec![("terminals".into(), 1_900_000_000)],
            audit_entries: Some(7),
            is_ready: true,
            ..Moment::default()
        };
        let page = render(&moment);
        for line in [
            "sallyport_connections_total{listener=\"terminals\",service=\"telnet\"} 1",
            "sallyport_connections_ended_total{listener=\"terminals\",service=\"telnet\",reason=\"client\"} 1",
            "sallyport_connections_turned_away_total{listener=\"terminals\",limit=\"connects_per_minute\"} 1",
            "sallyport_connections_open{listener=\"terminals\",service=\"telnet\"} 0",
            "sallyport_sessions{service=\"telnet\",state=\"admitted\"} 0",
            "sallyport_decisions_total{service=\"telnet\",effect=\"deny\",reason=\"network-denied\"} 1",
            "sallyport_challenges_total{service=\"ftp\"} 1",
            "sallyport_passcodes_total{provider=\"smtp\",result=\"failed\"} 1",
            "sallyport_alerts_total{kind=\"node-down\"} 0",
            "sallyport_delivery_seconds_count{provider=\"smtp\"} 2",
            "sallyport_delivery_seconds_bucket{le=\"30.0\",provider=\"smtp\"} 1",
            "sallyport_store_call_seconds_bucket{le=\"0.0025\",call=\"read\"} 1",
            "sallyport_store_failures_total{call=\"write\"} 1",
            "sallyport_store_waiting{call=\"write\"} 1",
            "sallyport_audit_entries_total 7",
            "sallyport_certificate_expiry_timestamp_seconds{listener=\"terminals\"} 1900000000",
            "sallyport_panics_total 1",
            "sallyport_ready 1",
            "sallyport_draining 0",
            concat!("sallyport_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
        drop(held);
        let later = render(&Moment::default());
        assert!(later.contains("sallyport_store_waiting{call=\"write\"} 0") && later.contains("sallyport_ready 0"));
        assert!(!later.contains("sallyport_connections_open{"), "a listener that is gone is gone");
        assert!(later.contains("sallyport_audit_entries_total 7"), "what is not known now stays as it was");
    }
}
