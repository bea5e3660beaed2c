//! The NameNode process.

fn main() -> std::process::ExitCode {
    dfs_namenode::run::main()
}
