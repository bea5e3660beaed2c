//! How the bytes of a chunk lie on DataNodes.

/// How a chunk's bytes lie. What places, counts, recovers or reads replicas takes it apart, so that the compiler names all
/// that a further layout concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Every replica has all bytes.
    Replicated {
        /// Replicas wanted.
        replicas: u32,
    },
}

/// A layout's number in the tables of the namespace.
const REPLICATED: u8 = 0;

impl Layout {
    /// Its number and its parameter, as stored. 1 is kept for chunks that several small files are packed into, 2 for
    /// striped (erasure coded) ones.
    pub const fn to_stored(self) -> (u8, u32) {
        match self {
            Self::Replicated { replicas } => (REPLICATED, replicas),
        }
    }

    /// The layout of a stored number and parameter; `None` if this program does not know it.
    pub const fn from_stored(number: u8, parameter: u32) -> Option<Self> {
        match number {
            REPLICATED => Some(Self::Replicated { replicas: parameter }),
            _ => None,
        }
    }
}
