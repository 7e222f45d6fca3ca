"""Puts the broker on localhost where the suites of aiormq and aio-pika would start a container."""
import tests.docker_client as docker


class Here:
    def __init__(self, info=None):
        pass

    def run(self, image, ports, environment=None):
        return docker.ContainerInfo(id="none", ports={p: int(p.split("/")[0]) for p in ports}, host="localhost")

    def kill(self, container):
        pass

    remove = kill


docker.check_docker_available = lambda: None
docker.DockerClient = Here
