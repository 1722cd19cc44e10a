#!/usr/bin/env bash
# Starts tritonserver in place of this script, so that it gets the signals itself: SIGTERM lets what is in flight finish.
# Arguments come last and so prevail over the flags here.
set -euo pipefail

# Whoever may change models, traces and logs, or hand over shared memory, has to send this key; without one nobody has it.
key="${HF2TRITON_CONTROL_KEY:-$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')}"
closed="model-repository,trace,logging,shared-memory:hf2triton-control=${key}"

# --grpc-max-connection-age: clients look the server's name up again when a connection ends, and so find servers that were added;
#   calls in flight are finished first
# --exit-timeout-secs: of the calls in flight at the end; Kubernetes and compose wait a little longer
# --metrics-config: quantiles of latencies, for the dashboard
exec tritonserver \
    --model-control-mode=explicit \
    --disable-auto-complete-config \
    --strict-readiness=true \
    --exit-timeout-secs=30 \
    --grpc-max-connection-age=60000 \
    --http-restricted-api="${closed}" \
    --grpc-restricted-protocol="${closed}" \
    --metrics-config=summary_latencies=true \
    --log-format=ISO8601 \
    "$@"
