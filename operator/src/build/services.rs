//! Names of pods, and the way in for clients inside the Kubernetes cluster.

use dfs_kubernetes::names::Component;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Builder, datanode_ports, namenode_ports};

impl Builder<'_> {
    pub(super) fn services(&self) -> Vec<Service> {
        vec![
            self.headless(self.name.namenode_service(), Component::NameNode, &namenode_ports()),
            self.headless(self.name.datanode_service(), Component::DataNode, &datanode_ports()),
            self.service(self.name.client_service(), Component::NameNode, &namenode_ports()),
        ]
    }

    fn service(&self, name: String, component: Component, ports: &[(&str, u16)]) -> Service {
        let ports = ports
            .iter()
            .map(|(name, number)| ServicePort {
                name: Some((*name).to_owned()),
                port: i32::from(*number),
                target_port: Some(IntOrString::String((*name).to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            })
            .collect();
        let mut metadata = self.metadata(name);
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(dfs_kubernetes::names::LABEL_COMPONENT.to_owned(), component.label().to_owned());
        Service {
            metadata,
            spec: Some(ServiceSpec {
                selector: Some(self.name.selector_labels(component, None)),
                ports: Some(ports),
                type_: Some("ClusterIP".to_owned()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    /// Gives each pod a name, also while it is not ready: NameNodes must find each other before any of them serves.
    fn headless(&self, name: String, component: Component, ports: &[(&str, u16)]) -> Service {
        let mut service = self.service(name, component, ports);
        if let Some(spec) = &mut service.spec {
            spec.cluster_ip = Some("None".to_owned());
            spec.publish_not_ready_addresses = Some(true);
        }
        service
    }
}
