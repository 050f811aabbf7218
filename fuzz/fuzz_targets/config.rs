//! Configuration files: used, or refused with problems that can be shown, at places that exist.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use postrider::config::Config;
use postrider::domain::text::misleads;

fuzz_target!(|text: &str| {
    let files = [(PathBuf::from("/etc/postrider/postrider.toml"), text.to_owned())];
    match Config::from_texts(&files) {
        Ok(config) => {
            assert!(config.email.max_per_hour > 0 && config.delivery.max_in_flight > 0);
            assert!(config.warnings.iter().all(|warning| !warning.to_string().contains(misleads)));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.to_string().contains(misleads), "{problem}");
                assert!(problem.place.line as usize <= text.split('\n').count() + 1, "{problem}");
            }
        }
    }
});
