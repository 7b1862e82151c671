# The default map in a container, without torch:
#   docker build -t cyclestrain .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" cyclestrain map scan.h5 -o strain.nc
# With the network: docker build --build-arg EXTRAS=network,formats -t cyclestrain .
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE CHANGELOG.md CITATION.cff ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
ARG EXTRAS=formats
# Compiled code is kept where every user may write.
ENV NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib PYTHONDONTWRITEBYTECODE=1
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN grep -v '^torch==' /tmp/constraints.txt > /tmp/pins.txt \
    && wheel="$(echo /tmp/wheels/*.whl)" \
    && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c /tmp/pins.txt "${wheel}[${EXTRAS}]" \
    && rm -rf /tmp/wheels /tmp/constraints.txt /tmp/pins.txt
RUN useradd --create-home --uid 1000 user
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["cyclestrain"]
CMD ["--help"]
