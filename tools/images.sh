#!/usr/bin/env bash
# Makes the test images, offline: tools/images.sh OUT fills OUT with one OCI layout per image, each tagged `latest`.
#
#   pause                  a static program that waits; the sandbox image
#   busybox                no USER
#   busybox-user           USER 1000
#   busybox-app            USER app, uid 1001 in its /etc/passwd
#   busybox-root-name      USER toor, a name that is uid 0 in its /etc/passwd
#   app-one, app-two       the same program in two builds (/build says which), USER 1000: one tag can move between them
#   platforms              an image index: linux/amd64 or linux/arm64 (this machine's), and linux/s390x
#   checkpoint             an image index whose manifest carries a checkpoint annotation
#
# Times, owners and order are fixed: the same busybox and compiler give the same digests.
set -euo pipefail

out=${1:?usage: tools/images.sh OUT}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
when=2024-01-01T00:00:00Z
case $(uname -m) in
  x86_64) machine=amd64 ;;
  aarch64) machine=arm64 ;;
  *) machine=$(uname -m) ;;
esac

# layer ROOTFS TAR
layer() { tar --sort=name --mtime="$when" --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .; }

# image NAME ARCHITECTURE TAR [umoci config options]
image() {
  local name=$1 architecture=$2 tar=$3
  shift 3
  umoci --log error init --layout "$out/$name"
  umoci --log error new --image "$out/$name:latest"
  umoci --log error raw add-layer --no-history --image "$out/$name:latest" "$tar"
  umoci --log error config --no-history --image "$out/$name:latest" --created "$when" --os linux --architecture "$architecture" "$@"
  umoci --log error gc --layout "$out/$name"
}

# manifest NAME: digest and size of the manifest that `latest` names.
manifest() {
  skopeo inspect --raw "oci:$out/$1:latest" >"$work/manifest"
  printf '%s %s\n' "$(sha256sum "$work/manifest" | cut -d' ' -f1)" "$(stat -c %s "$work/manifest")"
}

# index NAME INDEX_JSON FROM...: a layout whose `latest` is an index over the images FROM.
index() {
  local name=$1 json=$2 digest from
  shift 2
  mkdir -p "$out/$name/blobs/sha256"
  for from; do cp -n "$out/$from"/blobs/sha256/* "$out/$name/blobs/sha256/"; done
  printf '{"imageLayoutVersion":"1.0.0"}' >"$out/$name/oci-layout"
  digest=$(printf %s "$json" | sha256sum | cut -d' ' -f1)
  printf %s "$json" >"$out/$name/blobs/sha256/$digest"
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
    "$digest" "${#json}" >"$out/$name/index.json"
}

mkdir -p "$out"

mkdir -p "$work/pause"
gcc -static -Os -s -o "$work/pause/pause" "$here/pause.c"
layer "$work/pause" "$work/pause.tar"
image pause "$machine" "$work/pause.tar" --config.entrypoint /pause

# Busybox with a link per applet. Its own list contains `busybox`: a link of that name would replace the program.
root=$work/busybox
mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev,root,home/app,data}
chmod 1777 "$root/tmp" "$root/data"
cp "$(command -v busybox)" "$root/bin/busybox"
"$root/bin/busybox" --list | while read -r applet; do
  [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\napp:x:1001:1001:app:/home/app:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\napp:x:1001:\n' >"$root/etc/group"
layer "$root" "$work/busybox.tar"
image busybox "$machine" "$work/busybox.tar" --config.cmd sh
image busybox-user "$machine" "$work/busybox.tar" --config.cmd sh --config.user 1000
image busybox-app "$machine" "$work/busybox.tar" --config.cmd sh --config.user app
image busybox-root-name "$machine" "$work/busybox.tar" --config.cmd sh --config.user toor

for build in one two; do
  echo "$build" >"$root/build"
  layer "$root" "$work/app.tar"
  image "app-$build" "$machine" "$work/app.tar" --config.cmd sh --config.user 1000
done
rm "$root/build"

mkdir -p "$work/other"
echo "not for this machine" >"$work/other/readme"
layer "$work/other" "$work/other.tar"
image other s390x "$work/other.tar" --config.cmd /none

read -r here_digest here_size < <(manifest app-one)
read -r other_digest other_size < <(manifest other)
type=application/vnd.oci.image.manifest.v1+json
index platforms "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{\"mediaType\":\"$type\",\"digest\":\"sha256:$here_digest\",\"size\":$here_size,\"platform\":{\"architecture\":\"$machine\",\"os\":\"linux\"}},{\"mediaType\":\"$type\",\"digest\":\"sha256:$other_digest\",\"size\":$other_size,\"platform\":{\"architecture\":\"s390x\",\"os\":\"linux\"}}]}" app-one other

# containerd restores a container from an image whose index carries this annotation, instead of starting its command.
index checkpoint "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{\"mediaType\":\"$type\",\"digest\":\"sha256:$here_digest\",\"size\":$here_size,\"platform\":{\"architecture\":\"$machine\",\"os\":\"linux\"}}],\"annotations\":{\"org.criu.checkpoint.container.name\":\"app\"}}" app-one
