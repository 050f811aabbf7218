//! The program: chooses the TLS provider, hands everything to the command line, and ends with
//! its code. It decides nothing else.

use postrider::cli::{self, ExitCode, Failure, Foreground, Output, Places, Stage};
use postrider::config::paths::process_environment;
use postrider::daemon::{self, ServeError, ServeFlags};
use postrider::demo::World;

fn main() -> std::process::ExitCode {
    // Fails only if one is installed already, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let serve = |Places { config, state_dir, socket }: Places, _: &mut Output| {
        let flags = ServeFlags { config, state_dir, socket };
        daemon::serve(&flags, &process_environment).map(|()| ExitCode::Done).map_err(|error| failure(&error))
    };
    let demo = |stage: &Stage, show: Foreground<'_>| {
        World::during(stage.seed, &stage.folder, show).unwrap_or_else(|error| Err(failure(&error)))
    };
    cli::run(std::env::args_os(), &process_environment, serve, demo).into()
}

fn failure(error: &ServeError) -> Failure {
    let exit = match error {
        ServeError::Config(_) | ServeError::Unusable(_) => ExitCode::BadConfig,
        ServeError::InUse(_) => ExitCode::TryAgain,
        ServeError::NotPermitted(_) => ExitCode::NotPermitted,
        ServeError::Io(_) => ExitCode::InputOutput,
    };
    Failure::new(exit, error.to_string())
}
