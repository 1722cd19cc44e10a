# Serves a model repository that hf2triton made:
#   docker build -f docker/server.Dockerfile --target gpu -t hf2triton-server:gpu .
#   docker run --rm --gpus all --shm-size 1g -p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$PWD/model_repository:/models:ro" hf2triton-server:gpu
# Another release: --build-arg TRITON_RELEASE=25.08 --build-arg ONNXRUNTIME=1.23.2 (docs/releases.md).
# A tag can be moved. For production, pin the image by its digest: docker buildx imagetools inspect nvcr.io/nvidia/tritonserver:26.08-py3
# prints it, and --build-arg TRITON_IMAGE=nvcr.io/nvidia/tritonserver@sha256:… builds from it.
ARG TRITON_RELEASE=26.08
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:${TRITON_RELEASE}-py3

FROM ${TRITON_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Ubuntu 24.04 keeps its Python to itself unless told otherwise; Triton's stub runs on that one
ENV PIP_BREAK_SYSTEM_PACKAGES=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
COPY docker/server-requirements.txt /opt/hf2triton/requirements.txt
RUN python3 -m pip install --no-cache-dir -r /opt/hf2triton/requirements.txt
COPY --chmod=755 docker/serve.sh docker/supervise.py docker/flags.py docker/health.py docker/parts.py /opt/hf2triton/
# what looks after a server in `hf2triton serve` too
COPY \
    exporter/hf2triton/serving/host.py \
    exporter/hf2triton/serving/leftovers.py \
    exporter/hf2triton/serving/loading.py \
    exporter/hf2triton/serving/missing.py \
    exporter/hf2triton/serving/presence.py \
    exporter/hf2triton/serving/proc.py \
    exporter/hf2triton/serving/reloads.py \
    exporter/hf2triton/serving/renewal.py \
    exporter/hf2triton/serving/sockets.py \
    exporter/hf2triton/serving/states.py \
    exporter/hf2triton/serving/stubs.py \
    exporter/hf2triton/serving/supervisor.py \
    exporter/hf2triton/serving/work.py \
    /opt/hf2triton/serving/
# by number, so that Kubernetes can see that it is not root
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "/opt/hf2triton/health.py", "ready"]
ENTRYPOINT ["/opt/hf2triton/serve.sh"]
# whatever is given to `docker run` after the image's name replaces these; serve.sh has the other flags
CMD ["--model-repository=/models", "--load-model=*"]

# Without GPUs: onnxruntime for the graphs that run inside the Python models.
FROM base AS cpu
ARG ONNXRUNTIME=1.28.0
USER 0:0
RUN python3 -m pip install --no-cache-dir "onnxruntime==${ONNXRUNTIME}"
USER 1000:1000

# With GPUs: models that generate run in the Python model, with onnxruntime's CUDA provider and the CUDA libraries of the release.
# All others run in the release's own onnxruntime backend.
FROM base AS gpu
ARG ONNXRUNTIME=1.28.0
USER 0:0
# the folder is for TensorRT's engines: a volume that is mounted there for the first time takes its owner from it
RUN python3 -m pip install --no-cache-dir "onnxruntime-gpu==${ONNXRUNTIME}" \
    && install -d -o 1000 -g 1000 /var/cache/hf2triton-tensorrt
USER 1000:1000
