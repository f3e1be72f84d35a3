# syntax=docker/dockerfile:1
# The gateway alone: broker and database are services of their own, see compose.yaml.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p gw && cp target/release/gw /usr/local/bin/gw

FROM debian:trixie-slim
# HTTPS to the providers is checked against these.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/gw /usr/local/bin/gw
RUN install -d -o 65532 -g 65532 /data
USER 65532:65532
WORKDIR /data
# In a container the loopback reaches nobody. The API port is for your own network.
ENV GW_PUBLIC_ADDR=0.0.0.0:4108 GW_API_ADDR=0.0.0.0:4110
EXPOSE 4108 4110
ENTRYPOINT ["gw"]
CMD ["serve"]
