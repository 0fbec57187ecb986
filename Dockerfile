FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package nexus && cp target/release/nexus /usr/local/bin/nexus

# The image has no folder that an unprivileged user could write to.
FROM nats:2.15-alpine AS nats
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
CMD ["nats-server", "--config", "/etc/nats/nats-server.conf"]

FROM debian:bookworm-slim AS nexus
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /data && chown 10001:10001 /data
COPY --from=build /usr/local/bin/nexus /usr/local/bin/nexus
COPY bus-config /opt/nexus/bus-config
WORKDIR /opt/nexus
USER 10001:10001
ENTRYPOINT ["nexus"]
