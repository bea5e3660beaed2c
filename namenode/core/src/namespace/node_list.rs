//! A short list of nodes, and of the volumes there, in 16 bytes.

use crate::cluster::{NodeIndex, VolumeSlot};

/// Nodes a list holds without memory of its own: every usual replication, and one more while a replica is moved.
const INLINE: usize = 4;

/// The nodes with a good replica of one chunk, in order of arrival, and on which of their volumes it is.
#[derive(Debug, Clone)]
pub(super) enum NodeList {
    /// Up to [`INLINE`] nodes, of which the first `count` are valid.
    Inline { count: u8, slots: [VolumeSlot; INLINE], nodes: [NodeIndex; INLINE] },
    /// More nodes. A thin pointer keeps the list at 16 bytes.
    Heap(Box<Many>),
}

/// Both lists are equally long.
#[derive(Debug, Clone, Default)]
pub(super) struct Many {
    nodes: Vec<NodeIndex>,
    slots: Vec<VolumeSlot>,
}

impl Default for NodeList {
    fn default() -> Self {
        Self::Inline { count: 0, slots: [VolumeSlot::UNKNOWN; INLINE], nodes: [NodeIndex(0); INLINE] }
    }
}

impl NodeList {
    /// The nodes.
    pub(super) fn as_slice(&self) -> &[NodeIndex] {
        match self {
            Self::Inline { count, nodes, .. } => nodes.get(..usize::from(*count)).unwrap_or(nodes),
            Self::Heap(many) => &many.nodes,
        }
    }

    /// Their volumes, in the same order.
    fn slots(&self) -> &[VolumeSlot] {
        match self {
            Self::Inline { count, slots, .. } => slots.get(..usize::from(*count)).unwrap_or(slots),
            Self::Heap(many) => &many.slots,
        }
    }

    /// Nodes and volumes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, VolumeSlot)> {
        self.as_slice().iter().copied().zip(self.slots().iter().copied())
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether the node is in the list.
    pub(super) fn contains(&self, node: NodeIndex) -> bool {
        self.as_slice().contains(&node)
    }

    /// The volume beside a node; `None` if the node is not in the list.
    pub(super) fn slot(&self, node: NodeIndex) -> Option<VolumeSlot> {
        self.iter().find(|(there, _)| *there == node).map(|(_, slot)| slot)
    }

    /// Adds a node that is not in the list.
    pub(super) fn push(&mut self, node: NodeIndex, slot: VolumeSlot) {
        match self {
            Self::Inline { count, slots, nodes } => {
                let at = usize::from(*count);
                if let (Some(to), Some(on)) = (nodes.get_mut(at), slots.get_mut(at)) {
                    (*to, *on) = (node, slot);
                    *count += 1;
                    return;
                }
                let nodes = nodes.iter().copied().chain([node]).collect();
                let slots = slots.iter().copied().chain([slot]).collect();
                *self = Self::Heap(Box::new(Many { nodes, slots }));
            }
            Self::Heap(many) => {
                many.nodes.push(node);
                many.slots.push(slot);
            }
        }
    }

    /// Takes a node out; `false` if it was not in the list.
    pub(super) fn remove(&mut self, node: NodeIndex) -> bool {
        let Some(at) = self.as_slice().iter().position(|there| *there == node) else {
            return false;
        };
        match self {
            Self::Inline { count, slots, nodes } => {
                nodes.copy_within(at + 1.., at);
                slots.copy_within(at + 1.., at);
                *count -= 1;
            }
            Self::Heap(many) => {
                many.nodes.remove(at);
                many.slots.remove(at);
                if many.nodes.len() <= INLINE {
                    let few = std::mem::take(&mut **many);
                    *self = Self::default();
                    for (node, slot) in few.nodes.into_iter().zip(few.slots) {
                        self.push(node, slot);
                    }
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_16_bytes() {
        assert_eq!(size_of::<NodeList>(), 16);
    }

    proptest! {
        #[test]
        fn behaves_like_a_vec(operations in proptest::collection::vec((any::<bool>(), 0_u16..20, any::<u8>()), 0..60)) {
            let mut list = NodeList::default();
            let mut model = Vec::new();
            for (add, node, slot) in operations {
                let (node, slot) = (NodeIndex(node), VolumeSlot(slot));
                let at = model.iter().position(|(there, _)| *there == node);
                if add && at.is_none() {
                    list.push(node, slot);
                    model.push((node, slot));
                } else if !add {
                    prop_assert_eq!(list.remove(node), at.is_some());
                    at.map(|at| model.remove(at));
                }
                prop_assert_eq!(list.iter().collect::<Vec<_>>(), model.clone());
                prop_assert_eq!(list.as_slice().len(), list.len());
                let known = model.iter().find(|(there, _)| *there == node).map(|(_, slot)| *slot);
                prop_assert_eq!((list.contains(node), list.slot(node)), (known.is_some(), known));
            }
        }
    }
}
