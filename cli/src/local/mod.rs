//! What `dfs local` shows and tries on a cluster, through the real `dfs` program.

pub(crate) mod demo;
pub(crate) mod program;
pub(crate) mod test_ops;
