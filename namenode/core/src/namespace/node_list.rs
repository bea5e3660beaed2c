//! A short list of nodes in 16 bytes.

use crate::cluster::NodeIndex;

/// Nodes a list holds without memory of its own: every usual replication.
const INLINE: usize = 7;

/// The nodes with a good replica of one chunk, in order of arrival.
#[derive(Debug, Clone)]
pub(super) enum NodeList {
    /// Up to [`INLINE`] nodes, of which the first `count` are valid.
    Inline { count: u8, nodes: [NodeIndex; INLINE] },
    /// More nodes. A thin pointer keeps the list at 16 bytes.
    #[expect(clippy::box_collection, reason = "a Vec would make every chunk 16 bytes larger")]
    Heap(Box<Vec<NodeIndex>>),
}

impl Default for NodeList {
    fn default() -> Self {
        Self::Inline { count: 0, nodes: [NodeIndex(0); INLINE] }
    }
}

impl NodeList {
    /// The nodes.
    pub(super) fn as_slice(&self) -> &[NodeIndex] {
        match self {
            Self::Inline { count, nodes } => nodes.get(..usize::from(*count)).unwrap_or(nodes),
            Self::Heap(nodes) => nodes,
        }
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether the node is in the list.
    pub(super) fn contains(&self, node: NodeIndex) -> bool {
        self.as_slice().contains(&node)
    }

    /// Adds a node that is not in the list.
    pub(super) fn push(&mut self, node: NodeIndex) {
        match self {
            Self::Inline { count, nodes } => match nodes.get_mut(usize::from(*count)) {
                Some(place) => {
                    *place = node;
                    *count += 1;
                }
                None => *self = Self::Heap(Box::new(nodes.iter().copied().chain([node]).collect())),
            },
            Self::Heap(nodes) => nodes.push(node),
        }
    }

    /// Takes a node out; `false` if it was not in the list.
    pub(super) fn remove(&mut self, node: NodeIndex) -> bool {
        let kept: Vec<NodeIndex> = match self {
            Self::Inline { count, nodes } => {
                let Some(at) = nodes.iter().take(usize::from(*count)).position(|there| *there == node) else {
                    return false;
                };
                nodes.copy_within(at + 1.., at);
                *count -= 1;
                return true;
            }
            Self::Heap(nodes) => {
                let Some(at) = nodes.iter().position(|there| *there == node) else {
                    return false;
                };
                nodes.remove(at);
                if nodes.len() > INLINE {
                    return true;
                }
                nodes.to_vec()
            }
        };
        *self = Self::default();
        for node in kept {
            self.push(node);
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
        fn behaves_like_a_vec(operations in proptest::collection::vec((any::<bool>(), 0_u16..20), 0..60)) {
            let mut list = NodeList::default();
            let mut model = Vec::new();
            for (add, node) in operations {
                let node = NodeIndex(node);
                if add && !model.contains(&node) {
                    list.push(node);
                    model.push(node);
                } else if !add {
                    let at = model.iter().position(|there| *there == node);
                    prop_assert_eq!(list.remove(node), at.is_some());
                    at.map(|at| model.remove(at));
                }
                prop_assert_eq!(list.as_slice(), model.as_slice());
                prop_assert_eq!(list.contains(node), model.contains(&node));
                prop_assert_eq!(list.len(), model.len());
            }
        }
    }
}
