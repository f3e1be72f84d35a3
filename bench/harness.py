"""The bench's servers, gateways and generators: started, waited for, and stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import nats_server

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
SECRET = "bench-secret"


class Failed(Exception):
    """A measurement is void; the text says why."""


def progress(text):
    print(f"... {text}", file=sys.stderr, flush=True)


def clean(env=None):
    """The environment without settings of the caller's own gateway."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, **(env or {})}


class Processes:
    """What was started here, so that all of it is stopped."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def start(self, name, command, env=None):
        log = self.folder / f"{name}-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([str(part) for part in command], env=clean(env), stdout=out, stderr=out)
        process.log = log
        self.running.append(process)
        return process

    def stop(self, process, how=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.running:
            self.running.remove(process)

    def stop_all(self):
        for process in reversed(self.running[:]):
            self.stop(process)


def memory(process):
    """Resident memory now and at most, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = dict(line.split(":", 1) for line in status.splitlines())
    return {name: round(int(kilobytes[key].split()[0]) / 1000, 1) for name, key in (("mb", "VmRSS"), ("most_mb", "VmHWM"))}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, process, patience, ready):
    """Seconds until it is ready."""
    begun = time.monotonic()
    while not ready():
        if process.poll() is not None:
            raise Failed(f"{what} ended: {process.log.read_text(errors='replace')[-1500:]}")
        if time.monotonic() - begun > patience:
            raise Failed(f"{what} is not ready after {patience} s: {process.log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.01)
    return time.monotonic() - begun


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def is_ready(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class Nats:
    """A server with a store of its own, as the gateway starts one. `always` is the shipped configuration, `default` the same without its sync."""

    def __init__(self, bench, sync):
        self.bench, self.sync = bench, sync
        self.folder = Path(tempfile.mkdtemp(prefix=f"nats-{sync}-", dir=bench.folder))
        conf = (ROOT / "nats" / "nats.conf").read_text()
        if "sync_interval: always" not in conf:
            raise Failed("nats/nats.conf does not set sync_interval: always")
        if sync == "default":
            conf = conf.replace("sync_interval: always", "")
        (self.folder / "nats.conf").write_text(conf)
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.launch()
        bench.gw("topology", "apply", env={"NATS_URL": self.url})

    def launch(self):
        command = [self.bench.nats_server, "-c", self.folder / "nats.conf", "-a", "127.0.0.1", "-p", self.port]
        self.process = self.bench.processes.start(f"nats-{self.sync}", command + ["-sd", self.folder / "store"], {"GOGC": "200"})
        return until("nats-server", self.process, 120, lambda: listens(self.port))

    def restart(self, how):
        """Seconds until JetStream answers with the stream, and memory then."""
        self.bench.processes.stop(self.process, how)
        begun = time.monotonic()
        self.launch()
        state = self.bench.measure("stream", "--nats", self.url)
        return {"seconds": round(time.monotonic() - begun, 2), "messages": state["messages"], **memory(self.process)}

    def drop(self):
        self.bench.processes.stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Gateway:
    """gw serve with some roles."""

    def __init__(self, bench, nats, roles, publish="auto", env=None):
        self.bench = bench
        self.to, self.api = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.folder = tempfile.mkdtemp(prefix="gw-", dir=bench.folder)
        env = {**(env or {}), "NATS_URL": nats.url, "GW_PUBLIC_ADDR": self.to, "GW_API_ADDR": self.api, "GW_DATA_DIR": self.folder}
        env.update(GW_GITHUB_WEBHOOK_SECRET=SECRET, GW_API_KEYS="bench-key", GW_PUBLISH=publish)
        env.update(GW_LOG_FORMAT="json", RUST_LOG="warn,nats::publish::measure=info")
        roles = [part for role in roles for part in ("--role", role)]
        self.process = bench.processes.start("gw", [bench.binary("gw"), "serve", *roles], env)

    def ready(self, patience=180):
        return until("gw serve", self.process, patience, lambda: is_ready(f"http://{self.api}/readyz"))

    def mode(self):
        """What auto chose, as the log says."""
        for line in self.process.log.read_text(errors="replace").splitlines():
            if "publish.measured" in line:
                said = json.loads(line)
                return {name: said[name] for name in ("mode", "batch_us", "staging_us", "pipeline_us")}
        return None

    def stop(self):
        self.bench.processes.stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres:
    """A throw-away cluster of the local binaries."""

    def __init__(self, bench, binaries):
        self.folder = Path(tempfile.mkdtemp(prefix="gw-bench-pg-"))
        data, port = self.folder / "data", free_port()
        # It refuses to run as root, so it gets a user that every system has.
        self.user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.getuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "nobody")
        self.run(binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8")
        command = [*self.user, binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", self.folder]
        self.bench, self.process = bench, bench.processes.start("postgres", command)
        until("PostgreSQL", self.process, 60, lambda: listens(port))
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"

    @staticmethod
    def binaries():
        """The newest that there are: on PATH, or where Debian puts them."""
        folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parent.name, reverse=True)
        return next((folder for folder in folders if (folder / "initdb").is_file() and (folder / "postgres").is_file()), None)

    def run(self, *command):
        done = subprocess.run([*self.user, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder)
        if done.returncode != 0:
            raise Failed(f"{command[0].name}: {done.stdout.decode(errors='replace')[-1500:]}")

    def drop(self):
        # An immediate end would leave its children to end by themselves.
        self.bench.processes.stop(self.process, signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)


class NullEdge:
    """The same edge without a broker."""

    def __init__(self, bench):
        port = free_port()
        self.to = f"127.0.0.1:{port}"
        command = [bench.binary("gw-bench"), "edge", "--listen", self.to, "--secret", SECRET]
        self.process = bench.processes.start("null-edge", command)
        until("gw-bench edge", self.process, 20, lambda: listens(port))


class Bench:
    """One run: its sizes, folder, processes and results."""

    def __init__(self, sizes, folder):
        self.sizes, self.folder = sizes, folder
        self.processes = Processes(folder)
        self.results, self.targets, self.failures = {}, [], []
        self.nats_server, _ = nats_server.find() or (None, None)
        if self.nats_server is None:
            raise Failed("there is no nats-server: make tools")

    @staticmethod
    def binary(name):
        return TARGET / "release" / name

    def gw(self, *args, env):
        done = subprocess.run([str(self.binary("gw")), *args], env=clean(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Failed(f"gw {' '.join(args)}: {done.stdout.decode(errors='replace')}")

    def measure(self, *args):
        """Runs gw-bench and gives what it printed."""
        args = [str(arg) for arg in args]
        process = subprocess.Popen([str(self.binary("gw-bench")), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.running.append(process)
        out, said = process.communicate()
        self.processes.running.remove(process)
        if process.returncode != 0:
            raise Failed(f"gw-bench {' '.join(args)}: {said.decode(errors='replace')}")
        return json.loads(out)

    def fail(self, failed):
        """Notes what failed; the rest is measured all the same."""
        progress(f"FAILED: {failed}")
        self.failures.append(str(failed))
        return {"failed": str(failed)}

    def target(self, what, value, bound, unit="", most=False):
        met = value <= bound if most else value >= bound
        self.targets.append({"what": what, "value": round(value, 3), "bound": bound, "most": most, "unit": unit, "met": met})
