# The commands of every day. `just` lists them; each is what CI runs, so nothing passes here and fails there.

_default:
    @just --list

# Format the code
fmt:
    cargo fmt

# What must be clean before a commit
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# Everything that needs nothing else installed
test *ARGS:
    cargo test --locked {{ARGS}}

# The black-box suite against the release binary; as root it also cuts power and fills disks
blackbox *ARGS:
    cargo build --release --locked
    POSTRIDER_BIN="$PWD/target/release/postrider" cargo test --locked --test blackbox -- {{ARGS}}

# The release binary against libraries and receivers that are not ours
interop:
    cargo build --release --locked
    bash tests/interop/run.sh

# A .deb, an .rpm and a tarball, in target/package; needs cargo-deb, cargo-generate-rpm and cargo-cyclonedx
package *REVISION:
    cargo build --release --locked
    bash packaging/build.sh {{REVISION}}

# The .deb on a bare system that is made for it: install, use, upgrade, purge; as root
packages *FILES:
    bash tests/packages/install.sh {{FILES}}

# Each fuzz target for FUZZ_SECONDS (30), on the stable toolchain
fuzz *TARGETS:
    bash fuzz/run.sh {{TARGETS}}

# How fast, next to the bare pieces it is made of
bench *ARGS:
    cargo bench --locked --bench throughput -- {{ARGS}}

# How it grows: a backlog and a log of so many events (a million)
scale *ARGS:
    cargo bench --locked --bench scale -- {{ARGS}}

# How it is after weeks, and while days expire: so many days of so many events, kept for so many days
days *ARGS:
    cargo bench --locked --bench days -- {{ARGS}}

# What bad receivers cost a thousand others
neighbours:
    cargo bench --locked --bench neighbours

# Instructions of one event, next to what is noted; --record notes them
instructions *ARGS:
    cargo build --release --locked
    python3 benches/instructions.py {{ARGS}}

# Licences, sources, banned crates, advisories
deny:
    cargo deny --locked check

# What the binary is made of (CycloneDX), as postrider.cdx.json
sbom:
    cargo cyclonedx --format json --override-filename postrider.cdx

# All of it, as CI does; installs what it needs, so run it as root on a machine for that
ci:
    CI=true bash .ci/run
