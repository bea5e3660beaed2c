//! Where a DataNode is, and which of its storage is meant.

use std::fmt;

use crate::{NodeId, StorageType};

/// Where a DataNode is now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// IP address or DNS name.
    pub host: String,
    /// gRPC port.
    pub data_port: u16,
    /// HTTP port.
    pub http_port: u16,
    /// Topology, `/zone/rack`; empty for none.
    pub location: String,
}

/// `host:port` of the data port, with brackets around an IPv6 address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, data_port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{data_port}") } else { write!(f, "{host}:{data_port}") }
    }
}

/// A DataNode, where it is, and what of it: HDFS's `DatanodeInfoWithStorage`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The node.
    pub id: NodeId,
    /// Where it is.
    pub at: Address,
    /// The storage that a replica is on there, or shall be; `None` if none is meant, or nobody said.
    pub storage: Option<StorageType>,
}

impl Endpoint {
    /// `host:port` of the data port.
    pub fn address(&self) -> String {
        self.at.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_brackets() {
        for (host, shown) in
            [("10.0.0.1", "10.0.0.1:9001"), ("fd00::1", "[fd00::1]:9001"), ("a.b", "a.b:9001")]
        {
            let at =
                Address { host: host.into(), data_port: 9_001, http_port: 9_864, location: String::new() };
            assert_eq!(at.to_string(), shown);
        }
    }
}
