# One image for all programs: static, from scratch, non-root. `make image` builds the same without Docker.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools ca-certificates && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"
# binaries.sh refuses programs that tell where they were built: a path that is in none of them for another reason.
WORKDIR /usr/src/leveret-build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/usr/src/leveret-build/target \
    folder=$(.ci/release/binaries.sh) && \
    mkdir -p /out/tmp /out/var/lib /out/etc/ssl/certs /data/leveret && chmod 1777 /out/tmp && chmod 700 /data/leveret && \
    for name in leveret leveret-broker leveret-operator kubectl-leveret; do cp -P "$folder/$name" /out/; done && \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ && \
    echo 'nonroot:x:65532:65532:nonroot:/:/' >/out/etc/passwd

FROM scratch
LABEL org.opencontainers.image.title="Leveret" org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/leveret/leveret"
COPY --from=build /out/ /
# Not a part of /out: a folder that is there already keeps its owner.
COPY --from=build --chown=65532:65532 /data/ /var/lib/
ENV PATH=/ SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 5672 15672 15692
ENTRYPOINT ["/leveret-broker"]
CMD ["--data-dir", "/var/lib/leveret", "--amqp-listen", "0.0.0.0:5672", "--http-listen", "0.0.0.0:15672", \
    "--prometheus-listen", "0.0.0.0:15692"]
