//! Certificates: those that our listeners show, and how long any certificate is still good.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::{Context, Finding};
use crate::tls;

/// Days that are few, and that are too few.
const DAYS: (i64, i64) = (30, 7);

/// The certificates of our listeners. That key and certificate fit each other is a matter of the configuration.
pub(super) async fn ours(at: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    let now = at.system.now();
    let mut seen = Vec::new();
    for listener in &at.config.listeners {
        let Some(files) = &listener.tls else { continue };
        if seen.contains(&&files.certificate.path) {
            continue;
        }
        seen.push(&files.certificate.path);
        let subject = format!("{} ({})", files.certificate.path.display(), listener.name);
        match tls::certificates(&files.certificate.path) {
            Ok(chain) => findings.extend(chain_findings(&subject, &chain, now)),
            Err(error) => findings.push(Finding::problem(subject, error.to_string(), "a PEM file with the chain")),
        }
    }
    if findings.is_empty() {
        let advice = "[listener.tls]: without TLS whoever listens on the network reads passwords and passcodes";
        findings.push(Finding::warning("listeners", "none has TLS", advice));
    }
    findings
}

/// What there is to say about a chain: its dates, its names, its order.
fn chain_findings(subject: &str, chain: &[CertificateDer<'_>], now: Timestamp) -> Vec<Finding> {
    let mut findings: Vec<_> = chain
        .iter()
        .enumerate()
        .map(|(index, certificate)| {
            let which = if index == 0 { subject.to_owned() } else { format!("{subject}, certificate {}", index + 1) };
            good_until(which, certificate, now)
        })
        .collect();
    if let Some(first) = chain.first() {
        let names = tls::names(first);
        if names.is_empty() {
            let advice = "a certificate with the name that clients connect to (subjectAltName)";
            findings.push(Finding::warning(subject, "it is for no name that clients check", advice));
        } else {
            findings.push(Finding::ok(subject, format!("for {}", names.join(", "))));
        }
    }
    for pair in chain.windows(2) {
        if let [certificate, issuer] = pair
            && !tls::is_issued_by(certificate, issuer)
        {
            let advice = "the certificate first, then that of its issuer, and so on";
            findings.push(Finding::problem(subject, "the chain is not in order, or not one chain", advice));
        }
    }
    findings
}

/// How long `certificate` is still good.
pub(super) fn good_until(subject: String, certificate: &CertificateDer<'_>, now: Timestamp) -> Finding {
    let Some((from, until)) = tls::dates(certificate) else {
        return Finding::problem(subject, "its dates cannot be read", "an X.509 certificate");
    };
    let days = until.saturating_sub(now.as_second()).div_euclid(86_400);
    let date = Timestamp::from_second(until).map_or_else(|_| "for ever".to_owned(), |until| until.to_string());
    let advice = "renew it, then: sallyport reload";
    if from > now.as_second() {
        Finding::problem(subject, "it is not valid yet", "look at the clock, and at the certificate")
    } else if days < 0 {
        Finding::problem(subject, format!("it has expired ({date})"), advice)
    } else if days < DAYS.1 {
        Finding::problem(subject, format!("it expires in {days} days ({date})"), advice)
    } else if days < DAYS.0 {
        Finding::warning(subject, format!("it expires in {days} days ({date})"), advice)
    } else {
        Finding::ok(subject, format!("valid for {days} days ({date})"))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::super::Level;
    use super::*;

    #[test]
    fn certificates_expire() {
        let mut params = CertificateParams::new(["gate.example.com".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 12, 31));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let level = |day: &str| {
            let now: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
            good_until("x".into(), certificate.der(), now).level
        };
        for (day, expected) in [
            ("2025-12-31", Level::Problem),
            ("2026-06-01", Level::Ok),
            ("2026-12-05", Level::Warning),
            ("2026-12-28", Level::Problem),
            ("2027-01-01", Level::Problem),
        ] {
            assert_eq!(level(day), expected, "{day}");
        }
    }

    #[test]
    fn chains_and_names() {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "The authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["gate.example.com".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        let ours = params.signed_by(&key, &authority).unwrap();
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let good = [ours.der().clone(), authority.der().clone()];
        let findings = chain_findings("x", &good, now);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
        assert!(findings.iter().any(|finding| finding.found == "for gate.example.com, 192.0.2.1"), "{findings:?}");
        let turned = [authority.der().clone(), ours.der().clone()];
        let findings = chain_findings("x", &turned, now);
        assert!(findings.iter().any(|finding| finding.found.contains("not in order")), "{findings:?}");
        assert!(findings.iter().any(|finding| finding.found.contains("for no name")), "{findings:?}");
    }
}
