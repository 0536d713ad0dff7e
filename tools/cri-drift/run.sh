#!/bin/sh
# Compares proto/runtime_v1.proto and the method table with the descriptors that two versions of the
# Go module k8s.io/cri-api register. Needs go and its module proxy, once for each version.
set -eu

cd "$(dirname "$0")/../.."
command -v go >/dev/null || { echo "cri-drift: go is not installed" >&2; exit 2; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM

for version in newest v0.31; do
    (cd "tools/cri-drift/$version" && go run .) >"$out/$version.fds"
done

status=0
for version in newest v0.31; do
    cargo run --locked --quiet --example cri_drift -- \
        "$version" "$out/$version.fds" "tools/cri-drift/expected-$version.txt" || status=1
done
exit "$status"
