# One image for all programs: static, from scratch, non-root. `make image` builds the same without Docker.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools ca-certificates && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /leveret
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/leveret/target \
    mkdir -p /out/var/lib/leveret /out/tmp /out/etc/ssl/certs && chmod 1777 /out/tmp && \
    cd "$(.ci/release/binaries.sh)" && cp -P leveret leveret-broker leveret-operator kubectl-leveret /out/ && \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ && \
    echo 'nonroot:x:65532:65532:nonroot:/:/' >/out/etc/passwd

FROM scratch
COPY --from=build /out/ /
COPY --from=build --chown=65532:65532 /out/var/lib/leveret /var/lib/leveret
ENV PATH=/ SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 5672 15672
ENTRYPOINT ["/leveret-broker"]
CMD ["--data-dir", "/var/lib/leveret"]
