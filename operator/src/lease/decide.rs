//! Who may take the Lease. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;

use super::DURATION;

/// What of a Lease matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who holds it.
    pub holder: Option<String>,
    /// How long it lasts after a renewal.
    pub lasts: Duration,
    /// The last renewal, by the holder's clock: only whether it changes matters.
    pub renewed: Option<Timestamp>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is another one's.
    StandBy,
    /// It is nobody's.
    Take,
    /// It is one's own.
    Renew,
}

impl Record {
    /// Of a Lease.
    pub fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        Self {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
            lasts: seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(DURATION, Duration::from_secs),
            renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        }
    }
}

/// What `own` does about a Lease that has been as it is for `unchanged`, by its own clock.
pub fn decide(record: &Record, own: &str, unchanged: Duration) -> Decision {
    match &record.holder {
        Some(holder) if holder == own => Decision::Renew,
        Some(_) if unchanged <= record.lasts => Decision::StandBy,
        Some(_) | None => Decision::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_only_when_it_is_nobodys() {
        let held = |holder: Option<&str>| Record {
            holder: holder.map(str::to_owned),
            lasts: Duration::from_secs(15),
            renewed: None,
        };
        for (holder, unchanged, decision) in [
            (None, 0, Decision::Take),
            (Some("me"), 0, Decision::Renew),
            (Some("me"), 60, Decision::Renew),
            (Some("other"), 0, Decision::StandBy),
            (Some("other"), 15, Decision::StandBy),
            (Some("other"), 16, Decision::Take),
        ] {
            assert_eq!(
                decide(&held(holder), "me", Duration::from_secs(unchanged)),
                decision,
                "{holder:?} {unchanged}"
            );
        }
    }

    #[test]
    fn odd_leases_are_read_with_care() {
        let lease = |spec: serde_json::Value| -> Lease {
            serde_json::from_value(serde_json::json!({ "metadata": {}, "spec": spec })).unwrap()
        };
        let record =
            Record::of(&lease(serde_json::json!({ "holderIdentity": "", "leaseDurationSeconds": -1 })));
        assert_eq!((record.holder, record.lasts), (None, DURATION));
        assert_eq!(Record::of(&Lease::default()).holder, None);
    }
}
