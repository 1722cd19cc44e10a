#!/bin/sh
# make-venv.sh FOLDER: a virtual environment of $PYTHON, or of a Python 3.10 to 3.13 on the PATH, or of one that uv brings.
set -eu

# 312 for Python 3.12; nothing for what does not run
version_of() { "$1" -c 'import sys; print("%d%02d" % sys.version_info[:2])' 2>/dev/null || true; }

# what is missing to use a Python, and what to do; nothing if it can be used
lacking() {
  if [ -z "$2" ]; then
    echo "$1 does not run: check the name"
  elif [ "$2" -lt 310 ] || [ "$2" -gt 313 ]; then
    echo "$1 is not Python 3.10 to 3.13"
  elif ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$1 has no venv: install it (Debian: apt-get install python3-venv)"
  elif [ "$2" = 313 ] && ! compiles "$1"; then
    echo "$1 is Python 3.13, for which pip compiles numpy 1.26.4: install a C and C++ compiler and Python's headers" \
      "(Debian: apt-get install g++ python3-dev), or Python 3.12"
  fi
}

compiles() {
  command -v "${CC:-cc}" >/dev/null && command -v "${CXX:-c++}" >/dev/null &&
    "$1" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null
}

# sets `chosen`, or `problem` if every Python lacks something; 3.13 only where there is no older one
choose() {
  for most in 312 313; do
    for one in python3 python3.13 python3.12 python3.11 python3.10; do
      version=$(version_of "$one")
      if [ -z "$version" ] || [ "$version" -lt 310 ] || [ "$version" -gt "$most" ]; then continue; fi
      problem=$(lacking "$one" "$version")
      if [ -z "$problem" ]; then chosen=$one && return; fi
    done
  done
}

chosen='' problem=''
if [ -n "${PYTHON:-}" ]; then
  problem=$(lacking "$PYTHON" "$(version_of "$PYTHON")")
  if [ -z "$problem" ]; then chosen=$PYTHON; fi
else
  choose
  if [ -z "$chosen" ] && command -v uv >/dev/null; then
    exec uv venv --quiet --seed --allow-existing --python 3.12 "$1"
  fi
fi
if [ -z "$chosen" ]; then
  echo "make: ${problem:-there is no Python 3.10 to 3.13: install one or uv, which brings one, or name one with PYTHON=…}" >&2
  exit 1
fi
exec "$chosen" -m venv "$1"
