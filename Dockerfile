# syntax=docker/dockerfile:1
# One image for every service of docker-compose.yml. Not run by our tests, which have no Docker: they lint it, and run
# what it runs where that can be done without a container.
FROM ghcr.io/prefix-dev/pixi:0.77.0 AS pixi

FROM nvidia/cuda:13.0.3-runtime-ubuntu24.04

COPY --from=pixi /usr/local/bin/pixi /usr/local/bin/pixi

# The owner of the project folder that is mounted, so that commits and data belong to a person and not to root.
ARG FTZARD_UID=1000
RUN if id ubuntu >/dev/null 2>&1; then userdel --remove ubuntu; fi \
    && useradd --uid "${FTZARD_UID}" --create-home ftzard \
    && install --directory --owner=ftzard /project /var/lib/ftzard /var/lib/ftzard/dagster /var/lib/mlflow

WORKDIR /opt/ftzard

# First what names the dependencies, with an empty package: a change of source does not install them again. The machine
# that builds the image need not have a GPU, so pixi is told which CUDA the image is for.
COPY pixi.toml pyproject.toml constraints.txt ./
ENV CONDA_OVERRIDE_CUDA=13.0
RUN --mount=type=cache,target=/root/.cache \
    mkdir -p src/ftzard conf \
    && touch src/ftzard/__init__.py README.md LICENSE \
    && pixi install --environment docker \
    && pixi run --environment docker demo_packages

# Installed editable, so this is all that a change of source costs.
COPY README.md LICENSE ./
COPY conf conf
COPY src src

# The environment's programs come first, git and DVC among them.
ENV CONDA_PREFIX=/opt/ftzard/.pixi/envs/docker \
    DAGSTER_DISABLE_TELEMETRY=yes \
    DAGSTER_HOME=/var/lib/ftzard/dagster \
    DVC_NO_ANALYTICS=1 \
    HOME=/home/ftzard \
    MLFLOW_DISABLE_TELEMETRY=true \
    PATH=/opt/ftzard/.pixi/envs/docker/bin:$PATH \
    PYTHONUNBUFFERED=1

# A number, which a host that runs only non-root images can judge.
USER ${FTZARD_UID}
WORKDIR /project
# git refuses a repository of another owner; this one folder is trusted, no other.
RUN git config --global --add safe.directory /project

EXPOSE 3000 5000

HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/server_info', timeout=8)"]

# Publish it on loopback only (docker run -p 127.0.0.1:3000:3000): the webserver asks nobody who they are.
CMD ["dagster-webserver", "--host", "0.0.0.0", "--port", "3000", "--module-name", "ftzard.definitions"]
