#!/usr/bin/env bash
# Version: jaxns 3.0.0, with jax 0.10.2.
# Behaviour: importing `jaxns.core` sets up the logging of the whole process: the root
#   logger loses the handlers that the program gave it, gets two of JAXNS and the level
#   INFO, and a file application.log is made in the working directory, to which messages
#   of every library go from then on.
# Output seen:
#   before: ['NullHandler'] 30, files: []
#   after: ['StreamHandler', 'FileHandler'] 20, files: ['application.log']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    jaxns==3.0.0 jax==0.10.2 jaxlib==0.10.2
mkdir "$work/empty"
cd "$work/empty"
"$work/venv/bin/python" -W ignore - <<'PY'
import logging
import os

root = logging.getLogger()
root.addHandler(logging.NullHandler())


def state():
    return [type(h).__name__ for h in root.handlers], root.level, os.listdir()


before = state()
import jaxns.core  # noqa: E402, F401

after = state()
for name, (handlers, level, files) in {"before": before, "after": after}.items():
    print(f"{name}: {handlers} {level}, files: {files}")
same = after == (["StreamHandler", "FileHandler"], logging.INFO, ["application.log"])
raise SystemExit(0 if same else "changed: the import leaves logging alone")
PY
