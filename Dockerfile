# The image that manifests/ runs: docker build -t stoker:0.1.0 .
FROM python:3.11-slim AS build
WORKDIR /src
COPY image/build.txt image/requirements.txt image/
RUN python -m venv /build && python -m venv --without-pip /opt/stoker
RUN /build/bin/python -m pip --disable-pip-version-check install --quiet \
        --require-hashes --no-deps -r image/build.txt
# As make does it: exactly what was resolved, every hash checked, no resolving here.
RUN /build/bin/python -m pip --disable-pip-version-check --python /opt/stoker/bin/python \
        install --quiet --require-hashes --no-deps -r image/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY stoker stoker
COPY activator activator
COPY autoscaler autoscaler
COPY cache_warmer cache_warmer
COPY simulations simulations
RUN /build/bin/python -m pip --disable-pip-version-check wheel --quiet \
        --no-deps --no-build-isolation --no-index --wheel-dir dist .
RUN /build/bin/python -m pip --disable-pip-version-check --python /opt/stoker/bin/python \
        install --quiet --no-deps --no-index --find-links dist stoker

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Stoker" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/stoker /opt/stoker
# The root file system is read-only in a cluster, and everything is compiled already.
ENV PATH=/opt/stoker/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# By number, so that runAsNonRoot can be checked; nobody of the base image's.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["stoker"]
