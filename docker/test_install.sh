#!/usr/bin/env bash
# Runs install.sh in a fresh Debian system (debootstrap, chroot), then the doctor in it.
#
#     docker/test_install.sh [cpu|cuda]
#
# Where a precondition is missing it says so and succeeds. "cuda" borrows this machine's CUDA toolkit and builds PyCUDA
# against it; it takes the CPU build of PyTorch all the same, since there is no GPU in the new system.
set -euo pipefail
kind=${1:-cpu}
source=$(cd "$(dirname "$0")/.." && pwd)

skip() {
  echo "docker/test_install.sh $kind: skipped: $1"
  exit 0
}

[ "$(id -u)" = 0 ] || skip "not root"
command -v debootstrap >/dev/null || skip "no debootstrap (on Debian: apt-get install debootstrap)"
unshare --mount true 2>/dev/null || skip "this system allows no mount namespaces"
[ "$kind" = cpu ] || [ -e /usr/local/cuda/include/cudaGL.h ] || skip "no CUDA toolkit in /usr/local/cuda"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
debootstrap --variant=minbase bookworm "$root" >"$work/log" 2>&1 || skip "debootstrap: $(tail -n 1 "$work/log")"
echo "debootstrap: $SECONDS s"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast"  # a crash may cost us this system

# The sources as docker would copy them, and what pip on this machine needs: certificates, settings, local folders.
mkdir "$root/src"
tar -C "$source" --exclude-from="$source/.dockerignore" -c . | tar -C "$root/src" -x
for file in /etc/resolv.conf /etc/pip.conf "$HOME/.config/pip/pip.conf"; do
  [ ! -e "$file" ] || cp --parents --dereference "$file" "$root"
done
cp "${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/pip-certificates.crt"
settings=$(python3 -m pip config list 2>/dev/null || true)
# An index in a folder refers to files beside it: take the folder around it.
folders=$(grep -oE "(file://)?/[^' ]+" <<<"$settings" | sed -E 's,^file://(.*)/.*,\1,' | sort -u || true)
environment=(HOME="$HOME" PATH=/opt/glraster/bin:/usr/sbin:/usr/bin:/sbin:/bin TORCH=torch==2.13.0+cpu)
environment+=(GLRASTER_CXXFLAGS=-O0)  # what is tested is the installation, not its speed
if [ "$kind" = cuda ]; then
  cuda=$(readlink -f /usr/local/cuda)
  folders="$folders $cuda"
  environment+=(CUDA_HOME="$cuda" LDFLAGS=-Wl,--no-as-needed)
  environment[1]+=":$cuda/bin"
  # To link against (whence --no-as-needed), in place of the toolkit's stub; there is no driver to run.
  gcc -shared -x c /dev/null -Wl,-soname,libcuda.so.1 -o "$root/usr/lib/libcuda.so"
fi
mapfile -t -O ${#environment[@]} environment < <(env | grep "^PIP_" || true)

# Runs a command in the new system, in a mount namespace of its own: whatever happens, nothing stays mounted.
inside() {
  root=$root folders=$folders unshare --mount --propagation private bash -euo pipefail -c '
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    for folder in $folders; do
      if [ -d "$folder" ]; then
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
        mount -o remount,bind,ro "$root$folder"
      fi
    done
    exec chroot "$root" env -i "$@"
  ' inside "${environment[@]}" PIP_CERT=/etc/pip-certificates.crt "$@"
}

inside /src/docker/install.sh "$kind" >"$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
echo "install.sh $kind: $SECONDS s"
inside glraster doctor
if [ "$kind" = cpu ]; then
  inside glraster doctor --json | grep -A1 "RasterizeGLContext(device='cpu')" | grep -q '"status": "ok"'
else
  inside python -c 'import importlib.util, pathlib; \
    folder = pathlib.Path(importlib.util.find_spec("pycuda").origin).parent; \
    assert b"cuGraphicsGLRegisterImage" in next(folder.glob("_driver*.so")).read_bytes(), "PyCUDA has no OpenGL"'
fi
echo "docker/test_install.sh $kind: passed in $SECONDS s"
