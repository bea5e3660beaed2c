//! Settings of the cluster as a whole.

use dfs_types::{ClusterSetting, ClusterSettings, ErrorCode, Mode};

use super::{Fixture, by, mkdir, path, request, root, user};
use crate::store::edit::{Edit, Outcome, PIPELINES, Proposal, SETTINGS};

const UMASK: ClusterSetting = ClusterSetting::Umask;
const PRECISION: ClusterSetting = ClusterSetting::AccessTimePrecision;

fn set(setting: ClusterSetting, value: Option<u64>) -> Edit {
    Edit::SetSetting { setting, value }
}

#[test]
fn settings_are_kept_and_brought_back() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.store().settings(), ClusterSettings::default());
    assert_eq!(fixture.ok(set(UMASK, Some(0o27))), Outcome::Done);
    fixture.ok(set(PRECISION, Some(60_000)));
    fixture.ok(set(UMASK, Some(0o22)));
    let expected = ClusterSettings::default().with(UMASK, Some(0o22)).with(PRECISION, Some(60_000));
    assert_eq!(fixture.store().settings(), expected);
    assert!(fixture.take_changes().is_empty(), "no decision of the engine depends on them");
    fixture.close();
    fixture.open();
    assert_eq!(fixture.store().settings(), expected, "after a restart");
    fixture.ok(set(PRECISION, None));
    fixture.ok(set(PRECISION, None));
    assert_eq!(fixture.store().settings(), expected.with(PRECISION, None));
    assert_eq!(fixture.number("SELECT count(*) FROM setting"), 1);
}

#[test]
fn only_a_superuser_sets_what_is_possible() {
    let fixture = Fixture::new();
    let refused = fixture.propose(by(Some(user("ann", &["staff"])), set(UMASK, Some(0)))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    for (setting, value) in [(UMASK, 0o1000), (PRECISION, 999), (PRECISION, u64::MAX)] {
        assert_eq!(fixture.code(set(setting, Some(value))), ErrorCode::InvalidArgument);
    }
    assert_eq!(fixture.store().settings(), ClusterSettings::default());
    fixture.propose(by(Some(root()), set(UMASK, Some(0o77)))).unwrap();
    fixture.propose(by(Some(user("dan", &["supergroup"])), set(PRECISION, Some(0)))).unwrap();
    let expected = ClusterSettings::default().with(UMASK, Some(0o77)).with(PRECISION, Some(0));
    assert_eq!(fixture.store().settings(), expected);
}

#[test]
fn an_earlier_level_has_none() {
    let fixture = Fixture::at_level(PIPELINES);
    assert_eq!(fixture.code(set(UMASK, Some(0o22))), ErrorCode::Unsupported);
    assert_eq!(fixture.store().settings(), ClusterSettings::default());
    fixture.ok(Edit::RaiseLevel { to: SETTINGS });
    fixture.ok(set(UMASK, Some(0o22)));
    assert_eq!(fixture.store().settings(), ClusterSettings::default().with(UMASK, Some(0o22)));
}

#[test]
fn a_retry_does_not_undo_what_came_later() {
    let fixture = Fixture::new();
    let first = Proposal { request: Some(request(1)), ..by(Some(root()), set(UMASK, Some(0o22))) };
    fixture.propose(first.clone()).unwrap();
    fixture.ok(set(UMASK, Some(0o77)));
    assert_eq!(fixture.propose(first).unwrap(), Outcome::Done);
    assert_eq!(fixture.store().settings(), ClusterSettings::default().with(UMASK, Some(0o77)));
}

/// A leader applies the umask before it proposes: an entry means the same whatever was set meanwhile.
#[test]
fn what_is_in_the_log_is_not_masked_again() {
    let fixture = Fixture::new();
    fixture.ok(set(UMASK, Some(0o777)));
    fixture.ok(mkdir("/a"));
    assert_eq!(fixture.stat("/a").unwrap().mode, Mode::DIRECTORY);
    fixture.ok(Edit::SetMode { path: path("/a"), mode: Mode::new(0o700).unwrap() });
    assert_eq!(fixture.stat("/a").unwrap().mode.bits(), 0o700);
}
