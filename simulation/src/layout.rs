//! Where the chunks lie at the beginning: evenly over all nodes, whatever their size, and well spread over zones and
//! racks.

use crate::disk::Disk;
use crate::settings::{Settings, mix};

/// Draws after which a replica lies on whatever node comes next.
const DRAWS: u64 = 64;

/// The nodes that hold a chunk, from its number alone.
struct Layout<'a> {
    settings: &'a Settings,
    zones: usize,
}

impl Layout<'_> {
    /// Whether two nodes are as far apart as the cluster allows for replicas of one chunk.
    fn apart(&self, a: usize, b: usize) -> bool {
        let wanted = usize::from(self.settings.replication);
        if self.zones >= wanted {
            self.settings.zone(a) != self.settings.zone(b)
        } else {
            self.settings.racks() < wanted || self.settings.rack(a) != self.settings.rack(b)
        }
    }

    fn place(&self, chunk: u32, chosen: &mut Vec<usize>) {
        let nodes = u64::from(self.settings.nodes);
        let start = mix(self.settings.seed ^ mix(u64::from(chunk)));
        chosen.clear();
        let mut draw = 0;
        while chosen.len() < usize::from(self.settings.replication).min(usize::from(self.settings.nodes)) {
            let node = (mix(start.wrapping_add(draw)) % nodes) as usize;
            draw += 1;
            let fits = |there: &usize| *there != node && (draw > DRAWS || self.apart(*there, node));
            if chosen.iter().all(fits) {
                chosen.push(node);
            }
        }
    }
}

/// The disks of all nodes with the first chunks on them.
pub(crate) fn fill(settings: &Settings) -> Vec<Disk> {
    let nodes = usize::from(settings.nodes);
    let zones = (0..nodes).map(|node| settings.zone(node)).max().map_or(0, |zone| zone + 1);
    let layout = Layout { settings, zones };
    let mean =
        u64::from(settings.chunks) * u64::from(settings.replication) / u64::from(settings.nodes.max(1));
    // Room for what a random share differs from the mean, so that no list is moved while it grows.
    let room = mean as usize + 5 * (mean as f64).sqrt() as usize;
    let mut disks: Vec<Vec<u32>> = (0..nodes).map(|_| Vec::with_capacity(room)).collect();
    let mut chosen = Vec::new();
    for chunk in 0..settings.chunks {
        layout.place(chunk, &mut chosen);
        for node in &chosen {
            if let Some(disk) = disks.get_mut(*node) {
                disk.push(chunk);
            }
        }
    }
    disks.into_iter().map(Disk::of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn replicas_lie_apart_and_nodes_are_even() {
        let settings = Settings { rack_size: 5, zones: 4, ..Settings::new(60, 20_000, 3) };
        let disks = fill(&settings);
        let mut zones: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for (node, disk) in disks.iter().enumerate() {
            assert!((850..1_150).contains(&disk.len()), "{}", disk.len());
            for chunk in disk.iter() {
                zones.entry(chunk).or_default().insert(settings.zone(node));
            }
        }
        assert_eq!(zones.len(), 20_000);
        assert!(zones.values().all(|zones| zones.len() == 3));
    }

    #[test]
    fn few_nodes_in_one_rack_hold_each_chunk_as_often() {
        let settings = Settings::new(4, 100, 3);
        assert_eq!(fill(&settings).iter().map(Disk::len).sum::<usize>(), 300);
    }
}
