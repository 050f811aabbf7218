#!/usr/bin/env bash
# Packages of a built release: a .deb, an .rpm, and a tarball with a checksum, all in target/package. `just package` builds first.
#
#     bash packaging/build.sh [DEB_REVISION]
#
# It needs cargo-deb and cargo-generate-rpm (cargo install --locked) and, for the list of parts, cargo-cyclonedx.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/release/postrider
revision=${1:-1}
version=$(python3 -c 'import tomllib; print(tomllib.load(open("Cargo.toml", "rb"))["package"]["version"])')
stage=target/package/stage
rm -rf target/package
mkdir -p "$stage"
# The same input makes the same packages: times are those of the last commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
date=$(date -u -R -d "@$SOURCE_DATE_EPOCH")

"$binary" man "$stage/man" --quiet
find "$stage/man" -type f -exec gzip -9n {} +
for shell in bash zsh fish; do "$binary" completions "$shell" >"$stage/postrider.$shell"; done
"$binary" check-config packaging/postrider.toml --quiet

if [ ! -e target/postrider.cdx.json ]; then
    cargo cyclonedx --quiet --format json --override-filename postrider.cdx
    mv postrider.cdx.json target/
fi
gzip -9nc target/postrider.cdx.json >"$stage/postrider.cdx.json.gz"
python3 packaging/licences.py | gzip -9n >"$stage/licences.txt.gz"
gzip -9nc CHANGELOG.md >"$stage/changelog.gz"
cat >"$stage/changelog.Debian" <<CHANGELOG
postrider ($version-$revision) unstable; urgency=medium

  * Version $version; /usr/share/doc/postrider/changelog.gz says what changed.

 -- The postrider developers <maintainers@postrider.invalid>  $date
CHANGELOG
gzip -9nf "$stage/changelog.Debian"
python3 - "$stage/copyright" <<'PYTHON'
import sys
indented = "\n".join(" " + (line or ".") for line in open("LICENSE-MIT").read().strip().splitlines())
open(sys.argv[1], "w").write(open("packaging/deb/copyright").read().replace("@MIT@", indented))
PYTHON

cargo deb --quiet --no-build --no-strip --deb-revision "$revision" --output "target/package/postrider_$version-${revision}_$(dpkg --print-architecture).deb"
cargo generate-rpm --output target/package/

folder=postrider-$version-$(uname -m)-linux
mkdir -p "target/package/$folder"
cp -r "$binary" README.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE "$stage/man" "target/package/$folder/"
mkdir -p "target/package/$folder/completions"
cp "$stage"/postrider.{bash,zsh,fish} "target/package/$folder/completions/"
cp -r packaging/postrider.toml packaging/systemd packaging/sysusers.d packaging/prometheus packaging/grafana "target/package/$folder/"
cp "$stage/licences.txt.gz" "$stage/postrider.cdx.json.gz" "target/package/$folder/"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C target/package -c "$folder" \
    | gzip -9n >"target/package/$folder.tar.gz"
rm -rf "target/package/$folder"
(cd target/package && sha256sum -- *.deb *.rpm *.tar.gz >SHA256SUMS)
ls -l target/package
