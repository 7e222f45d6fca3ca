#!/usr/bin/env python3
"""sbom.py   print a CycloneDX 1.5 bill of materials of the programs: every crate that is linked in for the image's target,
from `cargo metadata` and Cargo.lock's checksums. The same sources give the same bytes."""
import json, os, re, subprocess, sys

TARGET = os.environ.get("LEVERET_TARGET", "x86_64-unknown-linux-musl")
ROOTS = {"leveret-broker", "leveret-operator"}


def linked(metadata):
    """Ids of the packages that the programs depend on, build scripts and tests left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [package["id"] for package in metadata["packages"] if package["name"] in ROOTS]
    found = {}
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        normal = [d["pkg"] for d in nodes[package]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
        found[package] = sorted(normal)
        waiting += normal
    return found


def checksums():
    with open("Cargo.lock", encoding="utf-8") as file:
        text = file.read()
    pattern = r'name = "(.+)"\nversion = "(.+)"\nsource = .+\nchecksum = "(.+)"'
    return {(name, version): checksum for name, version, checksum in re.findall(pattern, text)}


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def main():
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    found, sums = linked(metadata), checksums()
    components = []
    for package in (packages[identity] for identity in found):
        component = {
            "type": "application" if package["name"] in ROOTS else "library",
            "bom-ref": reference(package),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(package),
        }
        if package.get("license"):
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if (package["name"], package["version"]) in sums:
            component["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        if package.get("repository"):
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
    components.sort(key=lambda component: component["bom-ref"])
    depends = [
        {"ref": reference(packages[identity]), "dependsOn": sorted(reference(packages[d]) for d in needs)}
        for identity, needs in found.items()
    ]
    version = next(package["version"] for package in metadata["packages"] if package["name"] == "leveret-broker")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "leveret", "name": "leveret", "version": version}},
        "components": components,
        "dependencies": [{"ref": "leveret", "dependsOn": sorted(reference(packages[i]) for i in found if packages[i]["name"] in ROOTS)}]
        + sorted(depends, key=lambda entry: entry["ref"]),
    }
    json.dump(document, sys.stdout, indent=1)
    print()


main()
