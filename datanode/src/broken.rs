//! The DataNode process with a bug on purpose: see the feature `seeded-bug`.

fn main() -> std::process::ExitCode {
    dfs_datanode::cli::main()
}
