#!/usr/bin/env bash
# Versions: arviz-plots 0.8.0 (the newest release that Python 3.11 can install), with
#   arviz-base 0.8.2 and arviz-stats 0.8.0; matplotlib 3.11.2.
# Behaviour: pip installs the two together without a complaint, and then `import
#   arviz_plots` fails, whatever backend is meant to be used: it appends to a list in
#   `matplotlib.style.core`, a module that matplotlib 3.11 no longer has.
# Output seen, on Python 3.11:
#   AttributeError: module 'matplotlib.style' has no attribute 'core'
# So on Python 3.11 ArviZ's new plots need matplotlib below 3.11; ArviZ 0.23's own
# plot_pair works with both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    arviz-plots==0.8.0 arviz-base==0.8.2 arviz-stats==0.8.0 matplotlib==3.11.2
if seen=$("$work/venv/bin/python" -c "import arviz_plots" 2>&1); then
    echo "changed: arviz_plots imports"
    exit 1
fi
echo "$seen" | tail -n 1
echo "$seen" | grep -q "module 'matplotlib.style' has no attribute 'core'" || exit 1
