#!/usr/bin/env bash
# Installs glraster with all it needs on Debian 12, Ubuntu 24.04 or newer, as root:
#
#     docker/install.sh cpu     Mesa's software OpenGL, a CPU build of PyTorch
#     docker/install.sh cuda    NVIDIA's OpenGL through GLVND, PyTorch for CUDA, PyCUDA with OpenGL; needs the CUDA toolkit
#
# PREFIX  the virtual environment to make (default: /opt/glraster)
# TORCH   what to ask pip for (default: torch==2.13.0+cpu, or torch==2.13.0)
set -euo pipefail

kind=${1:-}
source=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/opt/glraster}
vendor_file=${VENDOR_FILE:-/usr/share/glvnd/egl_vendor.d/10_nvidia.json}
python=$prefix/bin/python

# g++ builds the host library; libegl1 is the GLVND loader, libopengl0 the OpenGL functions it hands out.
packages=(ca-certificates g++ libegl1 libopengl0 python3 python3-venv)
case $kind in
  cpu)
    torch=${TORCH:-torch==2.13.0+cpu}
    extras=doctor,samples
    packages+=(libegl-mesa0 libgl1-mesa-dri)
    ;;
  cuda)
    torch=${TORCH:-torch==2.13.0}
    extras=cuda,doctor,samples
    packages+=(libgl-dev libgl1 make python3-dev)  # PyCUDA is compiled, with the headers of OpenGL and Python
    ;;
  *)
    echo "usage: $0 cpu|cuda" >&2
    exit 2
    ;;
esac

install_packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  rm -rf /var/lib/apt/lists/*
}

# The container runtime brings libEGL_nvidia.so.0, older ones without the file that tells the loader of it.
write_vendor_file() {
  mkdir -p "$(dirname "$vendor_file")"
  printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "libEGL_nvidia.so.0"}}\n' > "$vendor_file"
}

# The wheels have no OpenGL, and neither has a build from the source package without this switch.
install_pycuda() {
  local cuda build
  cuda=${CUDA_HOME:-/usr/local/cuda}
  build=$(mktemp -d)
  "$python" -m pip download --quiet --no-deps --no-binary pycuda --dest "$build" pycuda
  tar -xzf "$build"/pycuda-*.tar.gz -C "$build" --strip-components 1
  (cd "$build" && "$python" configure.py --cuda-root="$cuda" --cuda-enable-gl --no-cuda-enable-curand)
  "$python" -m pip install --quiet "$build"
  rm -rf "$build"
}

install_packages
python3 -m venv "$prefix"
export PIP_NO_CACHE_DIR=1
"$python" -m pip install --quiet "$torch"
if [ "$kind" = cuda ]; then
  write_vendor_file
  install_pycuda
fi
"$python" -m pip install --quiet "$source[$extras]"
