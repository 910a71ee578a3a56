#!/bin/bash
# What bench/gpu.sh's bundle does where it was unpacked: correctness, then speed. Needs bash, tar and coreutils; PyTorch for the
# ratios. Where there is no GPU each part says that it is skipped, and everything else still runs.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
theirs=${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH="$here/libraries${theirs:+:$theirs}"
failed=0
part() { printf '\n== %s\n' "$1"; }
check() { if [ "$1" = "$2" ]; then echo "right: $3"; else echo "WRONG: $3: found $1, expected $2"; failed=1; fi; }

part "Every layer: GPU = CPU"
"$here/nn_tests" --nocapture the_real_card_agrees_with_the_cpu || failed=1

part "Gradients of every layer, and whole trainings: GPU = CPU"
"$here/nn_tests" --nocapture the_real_card_trains_as_the_cpu_does || failed=1

for what in score train; do
    part "Speed: $what, and distance from the CPU"
    "$here/gpu_$what" | tee "$here/ours_$what.txt" || failed=1

    part "PyTorch on the same card"
    LD_LIBRARY_PATH=$theirs ${PYTHON:-python3} "$here/torch_$what.py" | tee "$here/torch_$what.txt"
    for name in cnn_small resnet9; do
        ours=$(awk -v n=$name '$1 == n { print $2 }' "$here/ours_$what.txt")
        while read -r _ kind torch; do
            [ -n "$ours" ] && awk -v w=$what -v n=$name -v k="$kind" -v a="$ours" -v b="$torch" \
                'BEGIN { printf "gpu-%s-%s-%s: ratio %.2f (goal >= 1.00)\n", w, n, k, a / b }'
        done < <(awk -v n=$name '$1 == n' "$here/torch_$what.txt")
    done
done
# 0.1 % of the weights' size, as the tests have it.
awk '$1 == "cnn_small" || $1 == "resnet9" { if ($3 > 1e-3) { print "WRONG: " $1 " is trained " $3 " from the CPU"; bad = 1 } }
    END { exit bad }' "$here/ours_train.txt" || failed=1

part "The server"
# A copy where the server's user, who must not be root, may read it.
data=$(mktemp -d)
cp -r "$here"/{server,libraries,images.sql} "$data/"
bin=$data/server/lib/postgresql/15/bin
LD_LIBRARY_PATH="$data/libraries${theirs:+:$theirs}"
as=()
if [ "$(id -u)" = 0 ]; then
    chmod -R go+rX "$data" && chown nobody "$data"
    as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
fi
server() { "${as[@]}" env LD_LIBRARY_PATH="$LD_LIBRARY_PATH" HOME="$data" "$@"; }
sql() { server "$bin/psql" -XAtq -v ON_ERROR_STOP=1 -h "$data" -U postgres -d postgres "$@"; }
cleanup() { server "$bin/pg_ctl" -D "$data/db" -m immediate stop >/dev/null 2>&1; rm -rf "$data"; }
trap cleanup EXIT
cd "$data" || exit 1
server "$bin/initdb" -D "$data/db" -U postgres -A trust --no-sync -E UTF8 --locale=C >"$data/initdb.log" 2>&1 || { cat "$data/initdb.log"; exit 1; }
printf "listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\njit = off\nmax_connections = 100\n" "$data" >"$data/conf"
server bash -c "cat '$data/conf' >>'$data/db/postgresql.conf'"
server "$bin/pg_ctl" -D "$data/db" -l "$data/log" -w start >/dev/null || { cat "$data/log"; exit 1; }
sql -c "CREATE EXTENSION damson" || exit 1
sql -f "$data/images.sql"
sql -c "SET damson.device = cuda" -c "SELECT device, state, name, reason FROM damson.devices"
state=$(sql -c "SET damson.device = cuda" -c "SELECT state FROM damson.devices WHERE device = 'cuda'")
by_cpu=$(sql -c "SET damson.device = cpu" -c "SELECT string_agg(damson.classify('side', image), '' ORDER BY id) FROM pictures")
by_gpu=$(sql -c "SET damson.device = cuda" -c "SELECT string_agg(damson.classify('side', image), '' ORDER BY id) FROM pictures" 2>"$data/warnings")
check "$(md5sum <<<"$by_gpu")" "$(md5sum <<<"$by_cpu")" "labels of all pictures"
far=$(sql -c "CREATE TABLE scores AS SELECT id, NULL::float8 AS cpu, NULL::float8 AS gpu FROM pictures" \
    -c "SET damson.device = cpu" -c "UPDATE scores SET cpu = (SELECT damson.probability('side', 'left', image) FROM pictures p WHERE p.id = scores.id)" \
    -c "SET client_min_messages = error" -c "SET damson.device = cuda" \
    -c "UPDATE scores SET gpu = (SELECT damson.probability('side', 'left', image) FROM pictures p WHERE p.id = scores.id)" \
    -c "SELECT max(abs(cpu - gpu)) < 1e-4 FROM scores")
check "$far" t "probabilities within 1e-4"
if [ "$state" = ready ]; then
    check "$(grep -c WARNING "$data/warnings")" 0 "no warning"
    check "$(sql -c "SET damson.device = cuda" -c "SELECT rows > 0 FROM damson.devices WHERE device = 'cuda'")" t "the GPU scored"
else
    check "$(grep -c 'no CUDA driver found\|knows no GPU' "$data/warnings")" 1 "one warning, and the CPU serves"
fi

part "Training in SQL: GPU = CPU"
train() {
    sql -c "SET damson.progress = off" -c "SET damson.device = $1" -c "SELECT accuracy FROM (SELECT value AS accuracy FROM damson.train('by_$1',
        'SELECT image, side FROM pictures', 'side', 'cnn', preprocess => '{\"image\": [32, 32, 1]}', seed => 3,
        params => '{\"epochs\": 3, \"architecture\": \"resnet9\"}')) t" 2>"$data/warnings"
}
trained_by_cpu=$(train cpu)
trained_by_gpu=$(train cuda)
echo "accuracy of resnet9: by the CPU $trained_by_cpu, by cuda $trained_by_gpu"
check "$(awk -v a="$trained_by_gpu" -v b="$trained_by_cpu" 'BEGIN { print (a - b < 0.05 && b - a < 0.05) }')" 1 "the same accuracy"
if [ "$state" = ready ]; then
    check "$(grep -c WARNING "$data/warnings")" 0 "no warning"
    check "$(sql -c "SET damson.device = cuda" -c "SELECT epochs > 0 FROM damson.devices WHERE device = 'cuda'")" t "the GPU trained"
else
    check "$(grep -c 'no CUDA driver found' "$data/warnings")" 1 "one warning, and the CPU trains"
fi

part "32 sessions, a row each"
cat >"$data/one.sql" <<'SQL'
\set id random(1, 500)
SELECT 1 / (damson.classify('side', image) = side)::int FROM pictures WHERE id = :id;
SQL
chmod a+r "$data/one.sql"
for device in cpu cuda; do
    printf '%s: ' $device
    server env PGOPTIONS="-c damson.device=$device -c client_min_messages=error" "$bin/pgbench" -n -M prepared -c 32 -j 8 -T 5 \
        -f "$data/one.sql" -h "$data" -U postgres postgres 2>&1 | grep -E 'tps|failed|aborted|ERROR' | tr '\n' ' '
    echo
done
sql -c "SET damson.device = cuda" -c "SELECT 'batches: mean ' || mean_batch || ', largest ' || largest_batch || ', sizes ' || batch_sizes || ', wait ' || mean_wait_ms || ' ms, compute ' || mean_compute_ms || ' ms' FROM damson.devices WHERE device = 'cuda' AND state = 'ready'"
[ $failed = 0 ] && printf '\nall right\n' || printf '\nsomething is wrong\n'
exit $failed
