"""The brokers that are measured: started and ended, each alone, in the network namespace of this process.

Goes in: where the programs are. Comes out: a process id to measure, and ports that answer. Knows nothing of loads.
"""
import os
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get('LEVERET_TEST_CACHE', os.path.expanduser('~/.cache/leveret-test'))
TARGET = os.environ.get('CARGO_TARGET_DIR', os.path.join(ROOT, 'target'))
RABBIT = os.environ.get('RABBITMQ_ROOT', os.path.join(CACHE, 'rabbitmq-sid'))
NAMES = {'leveret': 'Leveret', 'rabbitmq': 'RabbitMQ'}

started = time.monotonic()


def say(text):
    print(f'--- [{time.monotonic() - started:.0f} s] {text}', file=sys.stderr, flush=True)


def program(name, variable, package):
    """The release build of a program, or the one that the environment names."""
    given = os.environ.get(variable)
    if given:
        return given
    build = ['cargo', 'build', '--release', '--quiet', '-p', package, '--bin', name]
    subprocess.run(build, cwd=ROOT, check=True)
    return os.path.join(TARGET, 'release', name)


def rabbitmq_is_installed():
    return os.path.exists(os.path.join(RABBIT, 'usr/lib/rabbitmq/bin/rabbitmq-server'))


def install_rabbitmq():
    """Makes a Debian sid with RabbitMQ in it. Takes four minutes, once."""
    if rabbitmq_is_installed():
        return
    say(f'install RabbitMQ into {RABBIT}')
    if not shutil.which('debootstrap'):
        subprocess.run(['apt-get', 'install', '-y', '-qq', 'debootstrap'], check=True, stdout=subprocess.DEVNULL)
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, 'rabbitmq-install.log'), 'w') as log:
        subprocess.run(['debootstrap', '--variant=minbase', 'sid', RABBIT], check=True, stdout=log)
        policy = os.path.join(RABBIT, 'usr/sbin/policy-rc.d')  # a package must not start anything
        write(policy, '#!/bin/sh\nexit 101\n')
        os.chmod(policy, 0o755)
        write(os.path.join(RABBIT, 'etc/apt/apt.conf.d/99novalid'), 'Acquire::Check-Valid-Until "false";\n')
        mount_rabbitmq()
        install = 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rabbitmq-server'
        subprocess.run(['chroot', RABBIT, 'sh', '-c', install], check=True, stdout=log, stderr=log)
    write(os.path.join(RABBIT, 'etc/hosts'), '127.0.0.1 localhost\n')


def mount_rabbitmq():
    for kind, name in [(['-t', 'proc', 'proc'], 'proc'), (['--bind', '/dev'], 'dev'), (['-t', 'sysfs', 'sysfs'], 'sys')]:
        place = os.path.join(RABBIT, name)
        if subprocess.run(['mountpoint', '-q', place]).returncode:
            subprocess.run(['mount', *kind, place], check=True)


def write(path, text):
    with open(path, 'w') as file:
        file.write(text)


def network_of(pid):
    try:
        return os.readlink(f'/proc/{pid}/ns/net')
    except OSError:
        return None


def processes_here(name=None):
    """Processes of this namespace, apart from this one and those it waits for."""
    here, found = network_of('self'), []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if network_of(pid) != here or int(pid) in (os.getpid(), os.getppid()):
            continue
        try:
            with open(f'/proc/{pid}/comm') as file:
                comm = file.read().strip()
        except OSError:
            continue
        if name in (None, comm):
            found.append(int(pid))
    return found


class Leveret:
    name = 'leveret'

    def __init__(self, work):
        self.binary = program('leveret-broker', 'LEVERET_BROKER_BIN', 'leveret-broker')
        self.work, self.data, self.log = work, os.path.join(work, 'leveret'), os.path.join(work, 'leveret.log')
        self.process = None

    def version(self):
        return subprocess.run([self.binary, '--version'], capture_output=True, text=True, check=True).stdout.strip()

    def start(self):
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen([self.binary, '--data-dir', self.data], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.wait_until_ready()
        return self.process.pid

    def wait_until_ready(self):
        for _ in range(30_000):
            with open(self.log) as log:
                if any(line.strip() == 'ready' for line in log):
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.002)
        with open(self.log) as log:
            raise RuntimeError(f'leveret-broker did not start: {log.read()[-2000:]}')

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(timeout=120)
            self.process = None

    def forget(self):
        shutil.rmtree(self.data, ignore_errors=True)

    def files(self):
        return self.data


class RabbitMQ:
    name = 'rabbitmq'

    def __init__(self, work):
        install_rabbitmq()
        mount_rabbitmq()
        self.home = f'/var/lib/rabbitmq-bench-{os.getpid()}'
        self.log = os.path.join(work, 'rabbitmq.log')
        self.pid = None

    def version(self):
        query = ['chroot', RABBIT, 'dpkg-query', '-W', '-f', '${Version}', 'rabbitmq-server']
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return f'RabbitMQ {found} (classic queues, default configuration, management plugin)'

    def start(self):
        outside = RABBIT + self.home
        os.makedirs(outside, exist_ok=True)
        # The loads use transient queues, as older clients do; 4.3 wants to be told that this is meant.
        write(f'{outside}/rabbitmq.conf', 'deprecated_features.permit.transient_nonexcl_queues = true\n')
        write(f'{outside}/enabled_plugins', '[rabbitmq_management].')
        write(f'{outside}/env.conf', 'NODENAME=rabbit@localhost\nNODE_IP_ADDRESS=127.0.0.1\nERL_EPMD_ADDRESS=127.0.0.1\n')
        subprocess.run(['chroot', RABBIT, 'chown', '-R', 'rabbitmq:rabbitmq', self.home], check=True)
        home = self.home
        command = (f'ulimit -n $(ulimit -Hn); export HOME=/var/lib/rabbitmq RABBITMQ_CONF_ENV_FILE={home}/env.conf '
                   f'RABBITMQ_MNESIA_BASE={home}/data RABBITMQ_LOG_BASE={home}/log RABBITMQ_PID_FILE={home}/pid '
                   f'RABBITMQ_CONFIG_FILE={home}/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE={home}/enabled_plugins; '
                   'exec /usr/lib/rabbitmq/bin/rabbitmq-server')
        with open(self.log, 'w') as log:
            subprocess.Popen(['chroot', RABBIT, 'su', '-s', '/bin/sh', 'rabbitmq', '-c', command], stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, start_new_session=True)
        for _ in range(9000):
            with open(self.log) as log:
                if 'Starting broker... completed' in log.read():
                    break
            time.sleep(0.1)
        found = processes_here('beam.smp')
        if not found:
            with open(self.log) as log:
                raise RuntimeError(f'RabbitMQ did not start: {log.read()[-2000:]}')
        self.pid = found[0]
        return self.pid

    def stop(self, how=signal.SIGTERM):
        if not self.pid:
            return
        kill(self.pid, how)
        for _ in range(600):
            if not os.path.exists(f'/proc/{self.pid}'):
                break
            time.sleep(0.1)
        self.pid = None
        for name in ('beam.smp', 'epmd', 'erl_child_setup', 'inet_gethost'):  # what did not end with it
            for pid in processes_here(name):
                kill(pid, signal.SIGKILL)
        time.sleep(0.5)

    def forget(self):
        shutil.rmtree(RABBIT + self.home, ignore_errors=True)

    def files(self):
        return RABBIT + self.home


def kill(pid, how):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


KINDS = {'leveret': Leveret, 'rabbitmq': RabbitMQ}
