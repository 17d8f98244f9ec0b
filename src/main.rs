//! The `sarm` program: see `sarm --help`.

fn main() -> std::process::ExitCode {
    sarm::cli::run()
}
