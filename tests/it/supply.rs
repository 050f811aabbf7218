//! What comes into the binary from others: the rules that CI holds against the lock file are as strict as they say.

use std::path::Path;

use crate::rows::covered;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn every_exception_is_explained_dated_and_not_forgotten() {
    let rules: toml::Table = read("deny.toml").parse().unwrap();
    let ignored = rules["advisories"]["ignore"].as_array().unwrap();
    for exception in ignored {
        let (id, reason) = (exception["id"].as_str().unwrap(), exception["reason"].as_str().unwrap());
        assert!(id.starts_with("RUSTSEC-"), "{id}");
        assert!(reason.contains("unmaintained"), "{id} is more than unmaintained: {reason}");
        let again = reason.split("look again ").nth(1).unwrap_or_else(|| panic!("{id}: look again when?"));
        assert_eq!(again.trim_end_matches(')').len(), "2027-05".len(), "{id}: {again}");
    }
    assert!(ignored.len() <= 2, "{} exceptions", ignored.len());
    assert_eq!(rules["advisories"]["yanked"].as_str(), Some("deny"));
    assert_eq!(rules["advisories"]["unmaintained"].as_str(), Some("all"));
    assert_eq!(rules["bans"]["wildcards"].as_str(), Some("deny"));
    assert_eq!(rules["sources"]["unknown-registry"].as_str(), Some("deny"));
    assert_eq!(rules["sources"]["unknown-git"].as_str(), Some("deny"));
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let text = format!("{} explained and dated exceptions, none of them a vulnerability", ignored.len());
    covered(&["T22"], "every_exception_is_explained_dated_and_not_forgotten", text);
}

#[test]
fn all_crates_come_from_one_registry_with_a_checksum() {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if name == "postrider" {
            continue;
        }
        assert_eq!(package["source"].as_str(), Some("registry+https://github.com/rust-lang/crates.io-index"), "{name}");
        assert_eq!(package["checksum"].as_str().map(str::len), Some(64), "{name}");
    }
    let text = format!("{} crates, each with its checksum", packages.len() - 1);
    covered(&["T22"], "all_crates_come_from_one_registry_with_a_checksum", text);
}
