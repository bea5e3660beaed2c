//! The DataNode process.

fn main() -> std::process::ExitCode {
    dfs_datanode::cli::main()
}
