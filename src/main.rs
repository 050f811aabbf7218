//! The program: chooses TLS provider and allocator, hands everything to the command line, ends with its code. It decides nothing else.

use postrider::cli::{self, Errand, ExitCode, Failure, Foreground, Places, Stage};
use postrider::daemon::{self, ServeError, ServeFlags};
use postrider::{config::paths::process_environment, demo::World};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default(); // Fails only if there is one already.
    let daemon = |errand: Errand, Places { config, state_dir, socket }: Places| {
        let flags = ServeFlags { config, state_dir, socket };
        match errand {
            Errand::Serve => daemon::serve(&flags, &process_environment).map(|()| None),
            Errand::Restore(file) => daemon::restore(&file, &flags, &process_environment).map(Some),
        }
        .map_err(|error| failure(&error))
    };
    let demo = |stage: &Stage, show: Foreground<'_>| {
        World::during(stage.seed, &stage.folder, show).unwrap_or_else(|error| Err(failure(&error)))
    };
    cli::run(std::env::args_os(), &process_environment, daemon, demo).into()
}

fn failure(error: &ServeError) -> Failure {
    let known = ExitCode::ALL.into_iter().find(|exit| exit.number() == error.exit_number());
    Failure::new(known.unwrap_or(ExitCode::Internal), error.to_string())
}
