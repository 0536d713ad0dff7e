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

# "newest" is pinned, so that a run can be repeated. What the proxy has beyond it is compared as well
# and said; it fails the run only if its fields differ.
pinned=$(sed -n 's/.*k8s\.io\/cri-api \(v[0-9][^ ]*\).*/\1/p' tools/cri-drift/newest/go.mod)
latest=$(cd tools/cri-drift/newest && go list -m -f '{{.Version}}' k8s.io/cri-api@latest 2>/dev/null) || latest=
later=
if [ -z "$latest" ]; then
    echo "cri-drift: the proxy does not say whether there is a newer k8s.io/cri-api than $pinned" >&2
elif [ "$latest" != "$pinned" ]; then
    echo "cri-drift: k8s.io/cri-api $latest is there, $pinned is pinned as newest in tools/cri-drift/newest/go.mod" >&2
    cp -R tools/cri-drift/newest "$out/later"
    if (cd "$out/later" && go get "k8s.io/cri-api@$latest" >/dev/null 2>&1 && go run . >"$out/later.fds"); then
        later=1
    else
        echo "cri-drift: $latest could not be built here; it is not compared" >&2
    fi
fi

status=0
if [ -n "$later" ]; then
    cargo run --locked --quiet --example cri_drift -- \
        "$latest" "$out/later.fds" tools/cri-drift/expected-newest.txt || status=1
fi
for version in newest v0.31; do
    cargo run --locked --quiet --example cri_drift -- \
        "$version" "$out/$version.fds" "tools/cri-drift/expected-$version.txt" || status=1
done
exit "$status"
