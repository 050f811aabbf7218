//! The program: chooses what to do and turns the result into an exit code.

fn main() -> std::process::ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let flags = postrider::daemon::ServeFlags {
        config: None,
        state_dir: std::env::args().nth(2).map(Into::into),
        socket: None,
    };
    match postrider::daemon::serve(&flags, &postrider::config::paths::process_environment) {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{error}");
            error.exit_code().into()
        }
    }
}
