#!/usr/bin/env python3
"""oci.py OUT.tar REFERENCE FOLDER   write an OCI image archive without any daemon: from scratch, one layer, the
programs of FOLDER with their links, CA certificates, non-root. The same files give the same bytes: fixed times, fixed
order, no names of users or machines. `ctr image import`, `skopeo copy oci-archive:`, `podman load` and `docker load` take it.
env:  CA_BUNDLE  default /etc/ssl/certs/ca-certificates.crt;  VERSION, REVISION, ARCH (amd64, arm64)  for labels"""
import gzip, hashlib, io, json, os, sys, tarfile

PROGRAMS = ["leveret", "leveret-broker"]
LINKS = {"kubectl-leveret": "leveret", "leveret-operator": "leveret"}  # told apart by the name they are called by
USER = 65532
LIMIT = 40_000_000  # bytes of all files together: what a node keeps


def member(archive, name, data=b"", kind=tarfile.REGTYPE, mode=0o644, target="", owner=0):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, target, len(data)
    entry.uid = entry.gid = owner
    archive.addfile(entry, io.BytesIO(data))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def layer(folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ["etc", "etc/ssl", "etc/ssl/certs"]:
            member(archive, name, kind=tarfile.DIRTYPE, mode=0o755)
        member(archive, "etc/passwd", f"nonroot:x:{USER}:{USER}:nonroot:/:/\n".encode())
        member(archive, "etc/ssl/certs/ca-certificates.crt", read(os.environ.get("CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")))
        for name in PROGRAMS:
            member(archive, name, read(os.path.join(folder, name)), mode=0o755)
        for name, target in LINKS.items():
            member(archive, name, kind=tarfile.SYMTYPE, mode=0o777, target=target)
        # Where a broker that is run without a volume keeps its data, and what wants to write somewhere.
        member(archive, "tmp", kind=tarfile.DIRTYPE, mode=0o1777)
        member(archive, "var", kind=tarfile.DIRTYPE, mode=0o755)
        member(archive, "var/lib", kind=tarfile.DIRTYPE, mode=0o755)
        member(archive, "var/lib/leveret", kind=tarfile.DIRTYPE, mode=0o700, owner=USER)
    return out.getvalue()


def config(diff_id):
    version, revision = os.environ.get("VERSION", "0.0.0"), os.environ.get("REVISION", "")
    labels = {
        "org.opencontainers.image.title": "Leveret",
        "org.opencontainers.image.description": "AMQP 0-9-1 message broker, its operator and its command line",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.source": "https://github.com/leveret/leveret",
        "org.opencontainers.image.version": version,
    }
    if revision:
        labels["org.opencontainers.image.revision"] = revision
    never = "1970-01-01T00:00:00Z"
    return {
        "architecture": os.environ.get("ARCH", "amd64"),
        "os": "linux",
        "created": never,
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "Entrypoint": ["/leveret-broker"],
            "Cmd": ["--data-dir", "/var/lib/leveret", "--amqp-listen", "0.0.0.0:5672", "--http-listen", "0.0.0.0:15672"],
            "ExposedPorts": {"5672/tcp": {}, "15672/tcp": {}},
            "Labels": labels,
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": never, "created_by": "leveret"}],
    }


def main():
    out, reference, folder = sys.argv[1:4]
    blobs = {}

    def blob(data, media, **more):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data), **more}

    def text(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    plain = layer(folder)
    diff_id = "sha256:" + hashlib.sha256(plain).hexdigest()
    packed = blob(gzip.compress(plain, 9, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    image = blob(text(config(diff_id)), "application/vnd.oci.image.config.v1+json")
    manifest_text = text({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": image, "layers": [packed]})
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[-1]}
    manifest = blob(manifest_text, "application/vnd.oci.image.manifest.v1+json", annotations=names)
    # The older form beside it, for `docker load` before version 25.
    docker = [{"Config": "blobs/sha256/" + image["digest"][7:], "RepoTags": [reference], "Layers": ["blobs/sha256/" + packed["digest"][7:]]}]
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:
        member(archive, "blobs", kind=tarfile.DIRTYPE, mode=0o755)
        member(archive, "blobs/sha256", kind=tarfile.DIRTYPE, mode=0o755)
        for digest in sorted(blobs):
            member(archive, f"blobs/sha256/{digest}", blobs[digest])
        member(archive, "index.json", text({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]}))
        member(archive, "manifest.json", text(docker))
        member(archive, "oci-layout", text({"imageLayoutVersion": "1.0.0"}))
    if len(plain) > LIMIT:
        sys.exit(f"oci.py: the image has {len(plain)} bytes, more than {LIMIT}")
    print(f"{manifest['digest']} {len(plain)} bytes, {packed['size']} compressed")


main()
