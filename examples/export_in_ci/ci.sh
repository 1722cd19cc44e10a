#!/usr/bin/env bash
# Builds the repository that models.yaml declares, proves it through a real Triton, and writes report/validation.json and .md.
# Ends with 3 if a model does not give PyTorch's answers, and with 1 if the repository is not what the file declares.
set -euo pipefail
cd "$(dirname "$0")"

rm -rf report
hf2triton build models.yaml                # builds what changed since the repository was cached
hf2triton build models.yaml --check        # fails for entries that the file no longer declares

status=0
hf2triton validate --serve --repository model_repository \
  --report report/validation.json --report report/validation.md || status=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f report/validation.md ]; then
  cat report/validation.md >> "$GITHUB_STEP_SUMMARY"
fi
exit "$status"
