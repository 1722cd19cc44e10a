#!/usr/bin/env bash
# Starts tritonserver below supervise.py, which takes this script's place and hands signals on: SIGTERM lets what is in flight finish.
# Arguments come last and so prevail over the flags here.
# A model that is not loaded is named on stderr, with Triton's reason; the others are served, and the exit code at the end is 1.
# HF2TRITON_STRICT=1: stop instead, with the same exit code.
# HF2TRITON_LOAD_SECONDS: how long loading may take; what is not loaded then is a model that failed. By default there is no limit.
# HF2TRITON_TLS: a folder with tls.crt and tls.key: gRPC with TLS.
# HF2TRITON_MUTUAL_TLS, in its place: a folder that has ca.crt as well: callers need a certificate which that has signed.
# HF2TRITON_CONTROL_KEY, or HF2TRITON_CONTROL_KEY_FILE: the key of those who may change models, traces and logs, or hand over shared
#   memory. Without one nobody has it.
set -euo pipefail

fail() {
    echo "serve.sh: $1" >&2
    exit 2
}

key="${HF2TRITON_CONTROL_KEY:-}"
file="${HF2TRITON_CONTROL_KEY_FILE:-}"
# compose mounts /dev/null where no file was named
if [[ -n "${file}" && ! -c "${file}" ]]; then
    [[ -r "${file}" ]] || fail "HF2TRITON_CONTROL_KEY_FILE=${file} cannot be read by user $(id -u)"
    key="$(<"${file}")"
    [[ -n "${key}" ]] || fail "HF2TRITON_CONTROL_KEY_FILE=${file} is empty"
fi
[[ -n "${key}" ]] || key="$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
unset HF2TRITON_CONTROL_KEY # models need not know it

closed="model-repository,trace,logging,shared-memory"
http_closed="${closed}"
tls=()
folder="${HF2TRITON_MUTUAL_TLS:-${HF2TRITON_TLS:-}}"
if [[ -n "${folder}" ]]; then
    [[ -z "${HF2TRITON_TLS:-}" || -z "${HF2TRITON_MUTUAL_TLS:-}" ]] \
        || fail "HF2TRITON_MUTUAL_TLS is TLS as well: set it alone, without HF2TRITON_TLS"
    needed=(tls.crt tls.key)
    # HTTP has no TLS: it is for the health check, which runs beside the server, and without the key answers nothing else. By default
    # the metrics would go where HTTP goes.
    http_closed="${closed},inference,metadata,model-config,statistics"
    tls=(
        --grpc-use-ssl=true
        "--grpc-server-cert=${folder}/tls.crt"
        "--grpc-server-key=${folder}/tls.key"
        --http-address=127.0.0.1
        --metrics-address=0.0.0.0
    )
    if [[ -n "${HF2TRITON_MUTUAL_TLS:-}" ]]; then
        needed+=(ca.crt)
        tls+=(--grpc-use-ssl-mutual=true "--grpc-root-cert=${folder}/ca.crt")
    fi
    for name in "${needed[@]}"; do
        [[ -r "${folder}/${name}" ]] || fail "${folder}/${name} is needed for TLS and cannot be read by user $(id -u)"
    done
fi

# --grpc-max-connection-age: clients look the server's name up again when a connection ends, and so find servers that were added;
#   calls in flight are finished first
# --exit-timeout-secs: of the calls in flight at the end; Kubernetes and compose wait a little longer
# --exit-on-error, --strict-readiness: one model that fails takes neither the server down nor all of its models out of rotation
# --metrics-config: quantiles of latencies, for the dashboard
exec python3 "${BASH_SOURCE[0]%/*}/supervise.py" tritonserver \
    --model-control-mode=explicit \
    --disable-auto-complete-config \
    --exit-on-error=false \
    --strict-readiness=false \
    --exit-timeout-secs=30 \
    --grpc-max-connection-age=60000 \
    --http-restricted-api="${http_closed}:hf2triton-control=${key}" \
    --grpc-restricted-protocol="${closed}:hf2triton-control=${key}" \
    --metrics-config=summary_latencies=true \
    --log-format=ISO8601 \
    "${tls[@]}" \
    "$@"
