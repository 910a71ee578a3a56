#!/bin/bash
# Sets up what building and testing Damson needs on Debian 12: packages, and Python environments for the
# clients. `make`, `.ci/run` and docker/ all call this one script. It says what it does, does only what is
# missing, and takes a second when nothing is. Rust is not its business: https://rustup.rs installs it.
#
#   scripts/setup.sh            everything: packages and Python environments
#   scripts/setup.sh bench      the benchmarks' own Python environment, with the peers
#   scripts/setup.sh tools      only the compilers, for a PostgreSQL that is there with its headers
#   scripts/setup.sh build 17   the compilers, and Debian's PostgreSQL 17 with its headers
#
# DAMSON_CACHE, when set, is a folder outside the checkout that keeps the environments between clones.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-all}
major=${2:-15}

packages=(ca-certificates gcc libc6-dev clang libclang-dev make)
[ "$what" = tools ] || packages+=("postgresql-$major" "postgresql-server-dev-$major")
case $what in all | bench) packages+=(python3-venv) ;; esac
# The browser that reports are tested in.
case $what in all) packages+=(chromium) ;; esac

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "these packages are missing, and there is neither root nor sudo to install them:"
        say "  ${missing[*]}"
        exit 1
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
        -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" >/dev/null
}

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [ "${state:0:2}" = ii ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    say "installing Debian packages: ${missing[*]}"
    apt update
    if [[ " ${missing[*]} " == *" postgresql-$major "* ]]; then
        # Debian's server package would make and start a cluster of the machine's own; nobody asked for one.
        apt install --no-install-recommends postgresql-common
        conf=/etc/postgresql-common/createcluster.conf
        as_root cp -p "$conf" "$conf.damson"
        trap 'as_root mv "$conf.damson" "$conf"' EXIT
        echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
    fi
    apt install --no-install-recommends "${missing[@]}"
else
    say "Debian packages: all there"
fi
command -v cargo >/dev/null || say "note: there is no cargo in PATH; https://rustup.rs installs Rust"


# A Python environment in build/NAME. It carries the digest of its requirements, written last: a changed
# list, or a download that broke, makes it anew.
environment() {
    local name=$1 requirements=$2 place=build/$1 digest
    digest=$(sha256sum "$requirements" | cut -c1-16)
    [ -z "${DAMSON_CACHE:-}" ] || place=$DAMSON_CACHE/$name-$digest
    if [ "$(cat "$place/requirements.digest" 2>/dev/null || true)" = "$digest" ]; then
        say "Python environment: $place is there"
    else
        say "making the Python environment $place: $(grep -v '^#' "$requirements" | xargs)"
        rm -rf "$place"
        mkdir -p "$(dirname "$place")"
        python3 -m venv "$place"
        "$place/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >&2
        echo "$digest" >"$place/requirements.digest"
    fi
    if [ "$place" != "build/$name" ]; then
        mkdir -p build
        rm -rf "build/$name"
        ln -s "$place" "build/$name"
    fi
}

case $what in
    all)
        environment venv tests/requirements.txt
        environment datahub-venv tests/requirements-datahub.txt
        ;;
    bench) environment bench-venv bench/requirements.txt ;;
    tools | build) ;;
    *) say "no such part: $what"; exit 1 ;;
esac
