#!/bin/bash
# Makes a bundle that runs by itself on a machine with a GPU: the extension, PostgreSQL 15, the tests of every layer and of
# whole trainings against the CPU, and the same networks in PyTorch. It needs nothing there but bash, and PyTorch for the ratios.
#
#   bench/gpu.sh        makes build/gpu-bundle.tar.gz, under 64 MiB
#   bench/gpu.sh --dry  makes it, unpacks it somewhere else and runs it here
#
# There: tar xzf gpu-bundle.tar.gz && gpu-bundle/run.sh
set -euo pipefail
cd "$(dirname "$0")/.."
limit=$((64 << 20))
say() { printf 'gpu: %s\n' "$*" >&2; }

say "building"
cargo run --release -q -p xtask -- psql --pg 15 -c "SELECT version()" >/dev/null
cargo run --release -q -p xtask -- stop >/dev/null
tests=$(cargo test --release -q -p damson-nn --lib --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
cargo build --release -q -p damson-nn --example gpu_score --example gpu_train

bundle=build/gpu-bundle
rm -rf "$bundle" && mkdir -p "$bundle/libraries" "$bundle/server/lib/postgresql/15/bin"
cp -r build/pg15/server/share "$bundle/server/"
cp -r build/pg15/server/lib/postgresql/15/lib "$bundle/server/lib/postgresql/15/"
# Just-in-time compilation and languages that nothing here speaks.
rm -rf "$bundle"/server/lib/postgresql/15/lib/{bitcode,llvmjit*,pgxs} "$bundle"/server/lib/postgresql/15/lib/pl{perl,python3,tcl}*
for program in postgres initdb pg_ctl psql pgbench; do
    cp "build/pg15/server/lib/postgresql/15/bin/$program" "$bundle/server/lib/postgresql/15/bin/"
done
cp "$tests" "$bundle/nn_tests"
cp target/release/examples/gpu_{score,train} bench/gpu/{run.sh,torch_score.py,torch_train.py,images.sql} bench/_torch_networks.py "$bundle/"
find "$bundle" -name damson.so -exec strip --strip-debug {} +
strip "$bundle"/{nn_tests,gpu_score,gpu_train}
# The C library is that machine's; what lies on top of it comes along.
{ find "$bundle" -type f \( -name '*.so' -o -perm -u+x \) -exec ldd {} + 2>/dev/null || true; } |
    awk '$3 ~ /^\// { print $3 }' | sort -u |
    grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux[^/]*)\.so' |
    xargs -r cp -L -t "$bundle/libraries/"
tar -C build -czf build/gpu-bundle.tar.gz gpu-bundle
size=$(stat -c %s build/gpu-bundle.tar.gz)
say "build/gpu-bundle.tar.gz has $size bytes"
[ "$size" -le "$limit" ] || { say "that is more than $limit"; exit 1; }
if [ "${1:-}" = --dry ]; then
    folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    tar -C "$folder" -xzf build/gpu-bundle.tar.gz
    "$folder/gpu-bundle/run.sh"
fi
