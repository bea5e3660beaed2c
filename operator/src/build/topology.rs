//! Where machines are, as DataNodes are told: pods need no rights to find out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dfs_kubernetes::crd::Placement;
use dfs_kubernetes::names::TOPOLOGY_KEY;
use k8s_openapi::api::core::v1::ConfigMap;

use super::Builder;

/// Zone of machines that say nothing about theirs.
const NO_ZONE: &str = "default";
/// Most machines that are told about: a ConfigMap holds 1 MiB, a line at most some 200 bytes.
const MAX_MACHINES: usize = 5_000;

/// The labels of a machine.
pub type Machine = BTreeMap<String, String>;

/// One line for each machine: `NAME /ZONE[/RACK]`.
pub fn lines(placement: &Placement, machines: &BTreeMap<String, Machine>) -> String {
    let mut text = String::new();
    for (name, labels) in machines.iter().take(MAX_MACHINES) {
        let value = |label: &str| labels.get(label).filter(|value| !value.is_empty()).map(String::as_str);
        let zone = value(&placement.zone_label).unwrap_or(NO_ZONE);
        let rack = placement.rack_label.as_deref().and_then(value);
        // Writing to a string can't fail.
        let _never_fails = match rack {
            Some(rack) => writeln!(text, "{name} /{zone}/{rack}"),
            None => writeln!(text, "{name} /{zone}"),
        };
    }
    text
}

impl Builder<'_> {
    pub(super) fn topology(&self, machines: &BTreeMap<String, Machine>) -> ConfigMap {
        let lines = lines(&self.spec.placement, machines);
        ConfigMap {
            metadata: self.metadata(self.name.topology()),
            data: Some(BTreeMap::from([(TOPOLOGY_KEY.to_owned(), lines)])),
            ..ConfigMap::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_a_zone_and_perhaps_a_rack() {
        let machine = |labels: &[(&str, &str)]| -> Machine {
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let machines = BTreeMap::from([
            ("a".to_owned(), machine(&[("topology.kubernetes.io/zone", "z1"), ("rack", "r7")])),
            ("b".to_owned(), machine(&[("topology.kubernetes.io/zone", "z2")])),
            ("c".to_owned(), machine(&[("rack", "r1"), ("topology.kubernetes.io/zone", "")])),
        ]);
        let mut placement = Placement::default();
        assert_eq!(lines(&placement, &machines), "a /z1\nb /z2\nc /default\n");
        placement.rack_label = Some("rack".to_owned());
        assert_eq!(lines(&placement, &machines), "a /z1/r7\nb /z2\nc /default/r1\n");
    }
}
