//! What claims are made of.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Storage of each NameNode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity('64Mi')) >= 0")
        .message("size is less than 64Mi: write a unit, for example 10Gi")
        .field_path(".size"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName can't be changed: volumes stay where they are")
        .field_path(".storageClassName")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Bytes of the claim, such as `10Gi`. It can grow if the StorageClass allows it. It never shrinks: less than a claim has
    /// is not obeyed, and the condition Progressing says so.
    #[serde(default = "default_metadata_size")]
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")
    )]
    pub size: String,
    /// Name of the StorageClass; the cluster's default one if not given. Choose the fastest one for small synced writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

fn default_metadata_size() -> String {
    "10Gi".to_owned()
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: default_metadata_size(), storage_class_name: None }
    }
}

/// A volume of each DataNode of a pool: one claim, one directory of chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity('64Mi')) >= 0")
        .message("size is less than 64Mi: write a unit, for example 1Ti")
        .field_path(".size"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName can't be changed: add a pool with the other class")
        .field_path(".storageClassName")
)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Name of the volume: small letters and digits, as it begins the names of the claims.
    #[schemars(length(min = 1, max = 15), regex(pattern = "^[a-z0-9]+$"))]
    pub name: String,
    /// Bytes of the claim, such as `1Ti`. It can grow if the StorageClass allows it. It never shrinks: less than a claim has is
    /// not obeyed, and the condition Progressing says so.
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")
    )]
    pub size: String,
    /// Name of the StorageClass; the cluster's default one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// The bytes that a Kubernetes quantity stands for, rounded up; `None` if it is not a number of bytes.
pub fn size_in_bytes(quantity: &str) -> Option<u64> {
    let digits = quantity.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match quantity.get(digits.len()..)? {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    let scale = 10_u128.pow(fraction.len() as u32);
    let part = fraction.parse::<u64>().unwrap_or(0);
    let part = (u128::from(part) * u128::from(factor)).div_ceil(scale);
    u64::try_from(whole + part).ok()
}

#[cfg(test)]
mod tests {
    use super::size_in_bytes;

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        for (quantity, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1_024)),
            ("1Ki", Some(1_024)),
            ("1.5Gi", Some(3 << 29)),
            ("0.5T", Some(500_000_000_000)),
            ("1k", Some(1_000)),
            ("15Ei", Some(15 << 60)),
            ("16Ei", None),
            ("", None),
            ("Gi", None),
            ("-1Gi", None),
            ("1m", None),
            ("1e3", None),
            ("1 Gi", None),
            (".5Gi", None),
        ] {
            assert_eq!(size_in_bytes(quantity), bytes, "{quantity}");
        }
    }
}
