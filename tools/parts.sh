#!/usr/bin/env bash
# Brings the real parts that demo, tests and end-to-end suites run against.
#
#   tools/parts.sh debian       Debian's containerd, runc, CNI plugins, registry and image tools
#   tools/parts.sh containerd2  containerd 2.x with its shim and ctr, built from its Go module
#   tools/parts.sh kubelet      a kubelet, built from its Go module
#   tools/parts.sh apiserver    a kube-apiserver of the same version
#   tools/parts.sh etcd         Debian's etcd, unpacked: no user and no service comes with it
#   tools/parts.sh images       the test images, made offline
#   tools/parts.sh cargo-deny   cargo-deny of a pinned version
#   tools/parts.sh cargo-fuzz   cargo-fuzz of a pinned version
#   tools/parts.sh where        where each part is (or would be), as name=path lines
#
# What is built goes to $PULLGUARD_CACHE, by default ~/.cache/pullguard, keyed by version, once per machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PULLGUARD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pullguard}
parts=$cache/parts
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2

say() { printf 'parts: %s\n' "$*" >&2; }
stop() { printf 'parts: %s\n' "$*" >&2; exit 1; }

# module_version DIR MODULE: the version that a wrapper module requires.
module_version() {
  awk -v module="$2" '$1 == "require" && $2 == module { print substr($3, 2); exit }
                      $1 == module && NF >= 2 && $2 ~ /^v/ { print substr($2, 2); exit }' "$here/parts/$1/go.mod"
}

containerd_dir() { echo "$parts/containerd-$(module_version containerd github.com/containerd/containerd/v2)"; }
kubelet_dir() { echo "$parts/kubelet-$(module_version kubelet k8s.io/kubernetes)"; }
apiserver_dir() { echo "$parts/kube-apiserver-$(module_version kubelet k8s.io/kubernetes)"; }
etcd_dir() { echo "$parts/etcd-debian"; }
images_dir() {
  local key
  key=$(cat "$here/images.sh" "$here/pause.c" "$(command -v busybox || echo /dev/null)" | sha256sum | cut -c1-16)
  echo "$parts/images-$key"
}

# once NAME DEST BUILDER: runs `BUILDER STAGING` unless DEST is there; other processes wait for the same DEST.
# DEST appears whole, by one rename, or not at all.
once() {
  local name=$1 dest=$2 builder=$3 staging
  [ -d "$dest" ] && return 0
  mkdir -p "$parts"
  exec 9>"$dest.lock"
  flock 9
  if [ ! -d "$dest" ]; then
    say "building $name into $dest (once per machine and version)"
    staging=$(mktemp -d "$parts/.staging.XXXXXX")
    # shellcheck disable=SC2064  # the path is meant to be read now
    trap "chmod -R u+w '$staging' 2>/dev/null; rm -rf '$staging'" EXIT
    "$builder" "$staging"
    chmod 0755 "$staging"
    mv -T "$staging" "$dest"
    trap - EXIT
  fi
  exec 9>&-
}

need_go() {
  command -v go >/dev/null || stop "go is not installed: install Go $(awk '$1 == "go" { print $2; exit }' "$here/parts/kubelet/go.mod") or newer and put it on PATH"
}

# go_build MODULE_DIR OUT LDFLAGS PACKAGE...
go_build() {
  local module=$1 out=$2 ldflags=$3
  shift 3
  need_go
  (cd "$here/parts/$module" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath -buildvcs=false -ldflags "$ldflags" -o "$out/" "$@") ||
    stop "go could not build $module (its own words are above)"
}

build_containerd2() {
  local m=github.com/containerd/containerd/v2
  go_build containerd "$1" "-X $m/version.Version=$(module_version containerd $m)" $m/cmd/containerd $m/cmd/containerd-shim-runc-v2 $m/cmd/ctr
}

# build_kubernetes OUT PROGRAM: one program of the one wrapper module, so that all have the same version.
build_kubernetes() {
  go_build kubelet "$1" "-X k8s.io/component-base/version.gitVersion=v$(module_version kubelet k8s.io/kubernetes)" "k8s.io/kubernetes/cmd/$2"
}

build_kubelet() { build_kubernetes "$1" kubelet; }

build_apiserver() { build_kubernetes "$1" kube-apiserver; }

# The program alone, without installing its package: that would make a user, and start a service.
build_etcd() {
  local command
  for command in apt-get dpkg-deb; do
    command -v $command >/dev/null || stop "etcd comes from a Debian package, and there is no $command here; put its program at $(etcd_dir)/etcd by hand"
  done
  (cd "$1" && apt-get download -q etcd-server >&2) ||
    { apt-get update -q >&2 && (cd "$1" && apt-get download -q etcd-server >&2); } ||
    stop "apt-get could not download etcd-server (its own words are above)"
  dpkg-deb -x "$1"/etcd-server_*.deb "$1/package"
  mv "$1/package/usr/bin/etcd" "$1/etcd"
  rm -rf "$1/package" "$1"/etcd-server_*.deb
}

build_images() { "$here/images.sh" "$1"; }

# cargo_install ROOT PROGRAM VERSION
cargo_install() {
  command -v cargo >/dev/null || stop "cargo is not installed: install it with rustup"
  # Its own target directory: the caller's CARGO_TARGET_DIR belongs to this project's build.
  env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$1" --version "$3" "$2" ||
    stop "cargo could not install $2 $3 (its own words are above)"
}

build_cargo_deny() { cargo_install "$1" cargo-deny "$cargo_deny_version"; }

build_cargo_fuzz() { cargo_install "$1" cargo-fuzz "$cargo_fuzz_version"; }

# The Debian packages, each with a file that shows it is there (a file, not dpkg: the tests only need the program).
debian_wanted() {
  cat <<'LIST'
containerd /usr/bin/containerd
runc /usr/sbin/runc
containernetworking-plugins /usr/lib/cni/bridge
docker-registry /usr/bin/docker-registry
skopeo /usr/bin/skopeo
umoci /usr/bin/umoci
busybox-static /usr/bin/busybox
protobuf-compiler /usr/bin/protoc
gcc /usr/bin/gcc
libc6-dev /usr/include/stdio.h
iproute2 /usr/sbin/ip
ca-certificates /etc/ssl/certs/ca-certificates.crt
LIST
}

# debian_missing: the packages whose file is not there.
debian_missing() {
  local package file
  while read -r package file; do
    [ -e "$file" ] || echo "$package"
  done < <(debian_wanted)
}

install_debian() {
  local missing policy=/usr/sbin/policy-rc.d
  mapfile -t missing < <(debian_missing)
  if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || stop "missing: ${missing[*]}; there is no apt-get here, install them by hand"
    [ "$(id -u)" = 0 ] || stop "missing: ${missing[*]}; run this as root, or install them by hand"
    say "installing with apt-get: ${missing[*]}"
    # Installing containerd or the registry must not start them: the tests run their own.
    if [ ! -e $policy ]; then
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
      printf '#!/bin/sh\nexit 101\n' >$policy
      chmod 0755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 RUNLEVEL=1
    apt-get update -q >&2 || stop "apt-get update failed (its own words are above)"
    apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 || stop "apt-get could not install: ${missing[*]} (its own words are above)"
    if [ -n "$(trap -p EXIT)" ]; then
      rm -f $policy
      trap - EXIT
    fi
    mapfile -t missing < <(debian_missing)
    [ ${#missing[@]} -eq 0 ] || stop "installed, but without the files looked for: ${missing[*]}; try apt-get install --reinstall"
  fi
}

where() {
  cat <<LIST
cache=$cache
containerd1=/usr/bin/containerd
containerd1_bin=/usr/bin
containerd2=$(containerd_dir)/containerd
containerd2_bin=$(containerd_dir)
kubelet=$(kubelet_dir)/kubelet
apiserver=$(apiserver_dir)/kube-apiserver
etcd=$(etcd_dir)/etcd
images=$(images_dir)
registry=/usr/bin/docker-registry
skopeo=/usr/bin/skopeo
runc=/usr/sbin/runc
cni=/usr/lib/cni
ip=/usr/sbin/ip
cargo_deny=$parts/cargo-deny-$cargo_deny_version/bin/cargo-deny
cargo_fuzz=$parts/cargo-fuzz-$cargo_fuzz_version/bin/cargo-fuzz
LIST
}

[ $# -gt 0 ] || { sed -n '2,/^set /{/^#/p}' "${BASH_SOURCE[0]}" | cut -c3-; exit 2; }
for part; do
  case $part in
    debian) install_debian ;;
    containerd2) once "containerd 2" "$(containerd_dir)" build_containerd2 ;;
    kubelet) once "the kubelet" "$(kubelet_dir)" build_kubelet ;;
    apiserver) once "the API server" "$(apiserver_dir)" build_apiserver ;;
    etcd) once "etcd" "$(etcd_dir)" build_etcd ;;
    images) install_debian; once "the test images" "$(images_dir)" build_images ;;
    cargo-deny) once "cargo-deny" "$parts/cargo-deny-$cargo_deny_version" build_cargo_deny ;;
    cargo-fuzz) once "cargo-fuzz" "$parts/cargo-fuzz-$cargo_fuzz_version" build_cargo_fuzz ;;
    where) where ;;
    *) stop "there is no part called $part; run tools/parts.sh without arguments for the list" ;;
  esac
done
