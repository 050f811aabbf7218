//! The program: chooses the TLS provider, hands everything to the command line, and ends with
//! its code. It decides nothing else.

use postrider::cli::{self, ExitCode, Failure};
use postrider::config::paths;
use postrider::daemon::{self, ServeError, ServeFlags};

fn main() -> std::process::ExitCode {
    // Fails only if one is installed already, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let serve = |places: &cli::Places, _: &mut cli::Output| {
        let (config, state_dir, socket) = (places.config.clone(), places.state_dir.clone(), places.socket.clone());
        let served = daemon::serve(&ServeFlags { config, state_dir, socket }, &paths::process_environment);
        served.map(|()| ExitCode::Done).map_err(|error| Failure::new(exit_code(&error), error.to_string()))
    };
    cli::run(std::env::args_os(), &paths::process_environment, serve).into()
}

fn exit_code(error: &ServeError) -> ExitCode {
    match error {
        ServeError::Config(_) | ServeError::Unusable(_) => ExitCode::BadConfig,
        ServeError::InUse(_) => ExitCode::TryAgain,
        ServeError::NotPermitted(_) => ExitCode::NotPermitted,
        ServeError::Io(_) => ExitCode::InputOutput,
    }
}
