# The image of mclass-server. docs/service.md tells how it is built without a registry or a package index.

# By tag, since tests pin what is inside: `--build-arg BASE=…@sha256:…` for the very same bytes again.
# Anything with `python` 3.11 and pip will do.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# Wheels for a machine without a package index: `--build-context wheels=FOLDER --build-arg PIP_NO_INDEX=1`.
FROM scratch AS wheels

FROM ${BASE} AS build
ARG PIP_NO_INDEX
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 PYTHONPATH=/srv/lib PYTHONPYCACHEPREFIX=/srv/pycache
WORKDIR /srv
COPY --from=wheels / /wheels/
COPY app/requirements.txt ./
RUN python -m pip install --require-hashes --only-binary :all: --find-links /wheels --no-cache-dir --no-compile \
        --disable-pip-version-check --root-user-action ignore --target lib --requirement requirements.txt \
    && rm -r lib/bin \
    && find lib -name '*.py[xdi]' -delete
COPY app app
# Times and modes do not depend on the checkout's. The dependencies are a layer of their own.
ARG SOURCE_DATE_EPOCH=0
RUN python -m app.precompile \
    && rm app/precompile.py pycache/srv/app/precompile.* app/requirements.* \
    && mkdir -p /out/deps/srv /out/app/srv/pycache/srv \
    && mv pycache/srv/app /out/app/srv/pycache/srv/ \
    && mv app /out/app/srv/ \
    && mv lib pycache /out/deps/srv/ \
    && chmod -R u=rwX,go=rX /out \
    && find /out -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE}
ARG SOURCE_DATE_EPOCH=0
# Fargate mounts an empty volume over /tmp and gives it to whom the image's folder belongs to.
RUN echo 'mclass:x:10001:10001:mclass-server:/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'mclass:x:10001:' >> /etc/group \
    && chown 10001:10001 /tmp \
    && touch --date "@${SOURCE_DATE_EPOCH}" /etc /etc/group /etc/passwd /tmp
VOLUME /tmp
COPY --from=build /out/deps /
COPY --from=build /out/app /
WORKDIR /srv
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/srv/lib PYTHONPYCACHEPREFIX=/srv/pycache PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
# For docker; ECS has its own in the task definition.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-m", "app.healthcheck"]
ENTRYPOINT ["python", "-m", "app"]

# Last, so that a new revision changes no file of a layer.
ARG REVISION=unknown
ARG SOURCE=""
ARG VERSION=""
# Of a changed argument podman and buildah take note in RUN alone, not in ENV (buildah#5501). The layer is empty.
RUN : "${REVISION} ${SOURCE} ${VERSION}"
ENV MCLASS_REVISION=${REVISION} MCLASS_VERSION=${VERSION}
# What the local AWS tells a task by, where it runs as a process: the address of its own, and the port.
LABEL mclass-tf.host-variable="MCLASS_HOST" \
      mclass-tf.port-variable="MCLASS_PORT" \
      org.opencontainers.image.title="mclass-server" \
      org.opencontainers.image.description="The service that mclass-tf deploys" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}"
