# syntax=docker/dockerfile:1
# The service in a container. First `deploy/wheels.sh`, which fills deploy/wheels with the project's
# wheel, its dependencies and their hashes; the build itself needs no network.
#
#   deploy/wheels.sh && docker build -t stageaudit .
#   docker build --build-arg BASE_IMAGE=<an image with CUDA libraries and Python 3.11> -t stageaudit .
#
# BASE_IMAGE needs python3 (3.11+) with venv, and useradd; nothing is installed from elsewhere.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
COPY deploy/wheels /wheels
# --require-hashes: what is installed is what deploy/wheels.sh wrote down, byte for byte.
RUN python3 -m venv /opt/stageaudit \
 && /opt/stageaudit/bin/python -m pip install --no-cache-dir --no-index --no-deps \
      --find-links /wheels --require-hashes --requirement /wheels/requirements.txt \
 && /opt/stageaudit/bin/python -m pip uninstall --yes --quiet pip \
 && /opt/stageaudit/bin/stageaudit --version

FROM ${BASE_IMAGE}
RUN useradd --system --uid 10001 --user-group --no-log-init \
      --home-dir /var/lib/stageaudit --shell /usr/sbin/nologin stageaudit \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/stageaudit
COPY --from=build /opt/stageaudit /opt/stageaudit

# The root file system may be read-only: what is written goes to the volume, and to /tmp.
ENV PATH=/opt/stageaudit/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/stageaudit \
    STAGEAUDIT_DATA_DIR=/var/lib/stageaudit/data
VOLUME ["/var/lib/stageaudit"]
USER 10001:10001
WORKDIR /var/lib/stageaudit

# Drains: no new audits, the current blocks end, leases go back.
STOPSIGNAL SIGTERM
# Alive, not ready: a draining or starting service must not be killed for it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
  CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7461/livez', timeout=4)"]

ENTRYPOINT ["stageaudit"]
CMD ["serve"]
