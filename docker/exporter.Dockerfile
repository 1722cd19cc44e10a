# The command line, for CI: exports, proves and reports. The embedded Triton is inside, so `hf2triton validate --serve` works.
#   docker build -f docker/exporter.Dockerfile -t hf2triton-exporter .
#   docker run --rm -v "$PWD:/build" -u "$(id -u):$(id -g)" hf2triton-exporter build models.yaml
# TORCH_INDEX_URL: the index that torch comes from, such as that of PyTorch's CPU builds, which are far smaller than the default's.
# For production, pin the image below by its digest: docker buildx imagetools inspect python:3.12-slim-bookworm prints it.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/hf2triton
WORKDIR /src
# before the source, whose changes need not fetch it again
RUN /opt/hf2triton/bin/pip install torch==2.13.0 ${TORCH_INDEX_URL:+--index-url "${TORCH_INDEX_URL}"}
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY clients clients
RUN /opt/hf2triton/bin/pip install ".[export,cpu,serve,report,bench]"

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/hf2triton /opt/hf2triton
# caches lie under a folder that any user may write to: CI services choose the user
ENV PATH=/opt/hf2triton/bin:$PATH \
    HOME=/tmp \
    HF_HOME=/tmp/huggingface \
    HF2TRITON_CACHE=/tmp/hf2triton \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /build
STOPSIGNAL SIGTERM
# it is a command and no service: there is nothing to ask
HEALTHCHECK NONE
ENTRYPOINT ["hf2triton"]
CMD ["--help"]
