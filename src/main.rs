//! The program: chooses the TLS provider, hands everything to the command line, and ends with
//! its code. It decides nothing else.

use postrider::cli::{self, ExitCode, Failure};
use postrider::config::paths;

fn main() -> std::process::ExitCode {
    // Fails only if one is installed already, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let serve = |_: &cli::Places, _: &mut cli::Output| Err(Failure::new(ExitCode::Internal, "not wired"));
    cli::run(std::env::args_os(), &paths::process_environment, serve).into()
}
