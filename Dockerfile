# One image for every role: `docker run heliograph writer`, `… hub`, `… migrate` and so on.
# Both BuildKit and the legacy builder can build it. Another package index is a build argument and stays out of the image:
# `docker build --build-arg PIP_INDEX_URL=https://… .`
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Dependencies change rarely: a layer of their own. The environment gets no pip; the base image's installs into it.
COPY requirements/server.txt requirements/
RUN python -m venv --without-pip /opt/heliograph \
 && pip --python /opt/heliograph/bin/python install --quiet --require-hashes --only-binary :all: -r requirements/server.txt
COPY agents agents
COPY services services
# What only building, testing, debugging and notebooks need goes, and the compiled half of plotly's thousand classes, of
# which a few are ever imported.
RUN pip --python /opt/heliograph/bin/python install --quiet --no-deps --no-build-isolation ./agents ./services \
 && pip --python /opt/heliograph/bin/python uninstall --quiet --yes hatchling trove-classifiers pathspec pluggy tomlkit \
 && cd /opt/heliograph/lib/python3.*/site-packages \
 && rm -rf plotly/labextension plotly/package_data/widgetbundle.js plotly/package_data/datasets dash/labextension dash/nbextension \
    dash/testing sqlalchemy/testing alembic/testing numpy/f2py ../../../share ../../../etc \
 && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && find plotly/graph_objs -mindepth 3 -name '*.pyc' -delete \
 && find . -type f \( -name '*.map' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.h' -o -name '*.a' \) -delete

FROM ${PYTHON_IMAGE}
# The uid is fixed, so that volumes and secrets can be given to it. Nothing of the program belongs to it.
RUN groupadd --system --gid 10001 heliograph \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/heliograph --shell /usr/sbin/nologin heliograph \
 && install -d -o heliograph -g heliograph -m 0700 /var/lib/heliograph
COPY --from=build /opt/heliograph /opt/heliograph
ENV PATH=/opt/heliograph/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="Heliograph" \
      org.opencontainers.image.description="Workflow monitoring for Parsl and plain Python" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /var/lib/heliograph
EXPOSE 8080 55055 55056
ENTRYPOINT ["heliograph"]
CMD ["--help"]
