//! The `ddim` binary; see the library's `cli` module.

fn main() -> std::process::ExitCode {
    ddim::cli::main()
}
