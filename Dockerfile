# scripts/build-docker.sh builds this. Any image with Python 3.11 or newer and its venv will do as a base, if wheels for it are there.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /build

# From what changes least to what changes most: a change of the code begins at `COPY app`.
COPY requirements-build.lock ./
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --no-deps --requirement requirements-build.lock

# No pip in what runs, no compiler for what has no wheel, and no tests of packages.
COPY requirements.lock ./
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/build/bin/pip --python /opt/venv/bin/python3 install --require-hashes --no-deps --only-binary=:all: \
        --requirement requirements.lock \
    && find /opt/venv -depth -type d \( -name tests -o -name testdata \) -exec rm -r {} +

COPY LICENSE-APACHE LICENSE-MIT README.md pyproject.toml ./
COPY app app
# Beside the environment and not in it, to be a layer of its own.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/venv/bin/python3 install --no-deps --no-index --prefix /opt/service dist/*.whl


FROM ${PYTHON_IMAGE}
# With the root read-only, /data and /tmp are what can be written.
RUN install --directory --owner=1000 --group=1000 /data
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1 \
    CONFIG_PATH=/app/config/production.yaml
COPY --from=build /opt/venv /opt/venv
COPY config config
COPY --from=build /opt/service /opt/venv

USER 1000:1000
VOLUME /data
EXPOSE 8080 4317 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD ["otlp-service", "health"]
ENTRYPOINT ["otlp-service"]
CMD ["serve"]

# Last, so that another version or date makes no layer anew.
ARG VERSION
ARG VCS_REF
ARG BUILD_DATE
LABEL org.opencontainers.image.title="otlp-service" \
      org.opencontainers.image.description="A durable OTLP gateway" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${VCS_REF}" \
      org.opencontainers.image.created="${BUILD_DATE}"
