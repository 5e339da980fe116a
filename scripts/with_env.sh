#!/usr/bin/env bash
# Runs a command in the project's environment and makes that environment on first use, as scripts/with_env.py says,
# with any Python that can read that file: it finds the right one itself.
for p in python3 python3.13 python3.12 python3.11 python "${ISOSWEEP_PYTHON:-}"; do
  "$p" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && exec "$p" "$(dirname "${BASH_SOURCE[0]}")/with_env.py" "$@"
done
echo "isosweep needs Python 3.11, 3.12 or 3.13, found: none. Install one, or name it with ISOSWEEP_PYTHON=/path/to/python." >&2
exit 1
