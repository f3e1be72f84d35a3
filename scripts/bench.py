#!/usr/bin/env python3
"""Measures the gateway, and compares with what its parts allow.

    scripts/bench.py                 everything, about 20 minutes
    scripts/bench.py --quick         the same with short runs and small numbers, about 3 minutes
    scripts/bench.py --only edge     edge, e2e, router or memory; repeat it for several

Builds gw and gw-bench for release, starts servers and gateways of its own on free ports, and stops them. Prints tables
and writes bench/results/<time>.json. All timings are to be read as ratios within one run: cases take turns, and what
is shown is the median of the rounds. Needs Python 3.8 and nothing else.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import socket
import statistics
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
CONNECTIONS = (1, 64, 256)
PARTS = ("edge", "e2e", "router", "memory")
QUICK = {"rounds": 1, "seconds": 3, "warmup": 1, "e2e": 5, "backlog": 20_000, "retained": 100_000, "routes": 100_000}
FULL = {"rounds": 3, "seconds": 6, "warmup": 1.5, "e2e": 20, "backlog": 200_000, "retained": 1_000_000, "routes": 1_000_000}
# A backlog's deliveries are of so many accounts: the router keeps order within each.
ACCOUNTS = 1_000
NOTES = [
    "a: bare async-nats JetStream publishes, same payload, headers and subjects, as many in flight as there are connections",
    "b: gw's own listener, request layers and ingest service, with a sink that confirms at once",
    "allowed: 1/(1/a + 1/b); load generator, edge and server share the processors in every case",
    "edge: gw serve --role ingest, RUST_LOG=warn, GW_PUBLISH=auto unless the case says otherwise",
    "retained deliveries have bodies of 300 bytes; everything else is a GitHub push of 7 KiB",
]


class Failed(Exception):
    """The run is void; the text says why."""


# Processes


class Processes:
    """What was started here, so that all of it is stopped."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def start(self, name, command, env=None):
        # Settings of the caller's own gateway must not leak in.
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        log = self.folder / f"{name}-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([str(part) for part in command], env={**clean, **(env or {})}, stdout=out, stderr=out)
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
    """A server with a store of its own. `always` is the shipped configuration, `default` the same without its sync."""

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
        self.process = self.bench.processes.start(f"nats-{self.sync}", command + ["-sd", self.folder / "store"])
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

    def __init__(self, bench, nats, roles, publish="auto"):
        self.bench = bench
        self.to, self.api = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.folder = tempfile.mkdtemp(prefix="gw-", dir=bench.folder)
        env = {"NATS_URL": nats.url, "GW_PUBLIC_ADDR": self.to, "GW_API_ADDR": self.api, "GW_DATA_DIR": self.folder}
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
                return {name: said[name] for name in ("mode", "batch_us", "pipeline_us")}
        return None

    def stop(self):
        self.bench.processes.stop(self.process)
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
        self.results, self.targets = {}, []
        self.nats_server, _ = nats_server.find() or (None, None)
        if self.nats_server is None:
            raise Failed("there is no nats-server: make tools")

    @staticmethod
    def binary(name):
        return TARGET / "release" / name

    def gw(self, *args, env):
        done = subprocess.run([str(self.binary("gw")), *args], env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
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

    def target(self, what, value, bound, unit="", most=False):
        met = value <= bound if most else value >= bound
        self.targets.append({"what": what, "value": round(value, 3), "bound": bound, "most": most, "unit": unit, "met": met})


# The edge: rates and latencies beside their ceilings


def edge(bench, modes):
    seen = {}
    for turn in range(bench.sizes["rounds"]):
        servers = {sync: Nats(bench, sync) for sync in ("default", "always")}
        null = NullEdge(bench)
        gateways = edges(bench, servers, modes)
        for gateway in gateways.values():
            gateway.ready()
        auto = {sync: gateways[f"edge {sync}"].mode() for sync in servers}
        cases = edge_cases(bench, servers, null, gateways)
        names = list(cases)
        # Each round begins elsewhere, so that no case always runs on a machine that just did something else.
        first = turn * len(names) // bench.sizes["rounds"]
        for connections in CONNECTIONS:
            for name in names[first:] + names[:first]:
                progress(f"edge, round {turn + 1}: {name}, {connections}")
                result = cases[name](connections)
                if result.get("refused"):
                    raise Failed(f"{name} refused {result['refused']}: {result['first_refusal']}")
                seen.setdefault(name, {}).setdefault(connections, []).append(result)
        for part in [*gateways.values(), *servers.values()]:
            part.stop() if isinstance(part, Gateway) else part.drop()
        bench.processes.stop(null.process)
    medians = {name: {at: median(results) for at, results in by.items()} for name, by in seen.items()}
    bench.results["edge"] = {"auto": auto, "medians": medians, "rounds": seen, "ratios": edge_ratios(bench, medians)}


def edges(bench, servers, modes):
    gateways = {f"edge {sync}": Gateway(bench, server, ["ingest"]) for sync, server in servers.items()}
    gateways["edge always, single"] = Gateway(bench, servers["always"], ["ingest"], "pipeline")
    if modes:
        gateways["edge always, batch"] = Gateway(bench, servers["always"], ["ingest"], "batch")
        gateways["edge default, batch"] = Gateway(bench, servers["default"], ["ingest"], "batch")
        gateways["edge default, single"] = Gateway(bench, servers["default"], ["ingest"], "pipeline")
    return gateways


def edge_cases(bench, servers, null, gateways):
    def timing():
        return ["--seconds", bench.sizes["seconds"], "--warmup", bench.sizes["warmup"]]

    def raw(sync, *more):
        server = servers[sync]

        def run(inflight):
            watch = ["--watch", f"nats={server.process.pid}"]
            result = bench.measure("raw", "--nats", server.url, "--inflight", inflight, *more, *timing(), *watch)
            # What was not written to the disk yet must not be written while the next case runs.
            bench.measure("purge", "--nats", server.url)
            return result

        return run

    def load(target, sync=None):
        def run(connections):
            watch = ["--watch", f"edge={target.process.pid}"]
            watch += ["--watch", f"nats={servers[sync].process.pid}"] if sync else []
            to = ["--to", target.to, "--secret", SECRET, "--connections", connections]
            result = bench.measure("load", *to, *timing(), *watch)
            if sync:
                bench.measure("purge", "--nats", servers[sync].url)
            return result

        return run

    cases = {"a default": raw("default"), "a always": raw("always"), "a always, batches": raw("always", "--batch"), "b": load(null)}
    for name, gateway in gateways.items():
        cases[name] = load(gateway, "always" if "always" in name else "default")
    return cases


def median(results):
    """The median of the rounds, of each number by itself."""
    middle = {"per_second": statistics.median(result["per_second"] for result in results)}
    for name in ("p50_ms", "p99_ms", "p999_ms"):
        middle[name] = statistics.median(result["latency"][name] for result in results)
    for name in results[0]["cores"]:
        middle.setdefault("cores", {})[name] = round(statistics.median(result["cores"][name] for result in results), 2)
    return middle


def edge_ratios(bench, medians):
    ratios = {}
    for at in CONNECTIONS:
        rate = {name: by[at]["per_second"] for name, by in medians.items()}
        allowed = 1 / (1 / rate["a default"] + 1 / rate["b"])
        ratios[at] = {
            "allowed_default": round(allowed),
            "default_of_allowed": rate["edge default"] / allowed,
            "always_of_single": rate["edge always"] / rate["edge always, single"],
        }
        bench.target(f"default sync, {at} connections: of what the parts allow", ratios[at]["default_of_allowed"], 0.9)
    bench.target("always, 256 connections: times one publish a request", ratios[256]["always_of_single"], 2.5)
    # Two measurements of the same are seldom equal.
    bench.target("always, 1 connection: times one publish a request", ratios[1]["always_of_single"], 0.97)
    return ratios


# End to end, router, memory


def end_to_end(bench):
    results = {}
    for sync in ("always", "default"):
        progress(f"end to end, {sync}")
        server = Nats(bench, sync)
        gateway = Gateway(bench, server, ["ingest", "router"])
        bench.measure("link", "--nats", server.url)
        gateway.ready()
        watch = ["--watch", f"gw={gateway.process.pid}", "--watch", f"nats={server.process.pid}"]
        to = ["--nats", server.url, "--to", gateway.to, "--secret", SECRET]
        results[sync] = bench.measure("e2e", *to, "--rate", 1000, "--seconds", bench.sizes["e2e"], *watch)
        gateway.stop()
        server.drop()
        if results[sync]["received"] != results[sync]["posted"]:
            raise Failed(f"end to end, {sync}: {results[sync]}")
    bench.results["e2e"] = results
    bench.target("end to end at 1,000/s, always, p99", results["always"]["latency"]["p99_ms"], 20, "ms", most=True)


def catch_up(bench):
    results = {}
    for sync in ("always", "default"):
        for accounts in (ACCOUNTS, 1):
            progress(f"router, {sync}, {bench.sizes['backlog']} deliveries of {accounts} accounts")
            server = Nats(bench, sync)
            bench.measure("routes", "--nats", server.url, "--count", ACCOUNTS)
            bench.measure("fill", "--nats", server.url, "--count", bench.sizes["backlog"], "--accounts", accounts)
            gateway = Gateway(bench, server, ["router"])
            watch = ["--watch", f"gw={gateway.process.pid}", "--watch", f"nats={server.process.pid}"]
            result = bench.measure("drain", "--nats", server.url, *watch)
            results[f"{sync}, {accounts} accounts"] = {**result, "gw": memory(gateway.process), "mode": gateway.mode()}
            gateway.stop()
            server.drop()
    bench.results["router"] = results


def footprints(bench):
    bench.results["memory"] = {"idle": idle(bench), "routes": routes(bench), "retained": retained(bench)}
    bench.target("idle gw serve, resident memory", bench.results["memory"]["idle"]["gw"]["mb"], 60, "MB", most=True)


def idle(bench):
    progress("memory: idle")
    server = Nats(bench, "always")
    gateway = Gateway(bench, server, [])
    gateway.ready()
    time.sleep(10)
    result = {"gw": memory(gateway.process), "nats": memory(server.process)}
    gateway.stop()
    server.drop()
    return result


def routes(bench):
    server = Nats(bench, "always")
    result = {}
    for count in (0, bench.sizes["routes"]):
        progress(f"memory: {count} routes")
        filled = bench.measure("routes", "--nats", server.url, "--count", count) if count else None
        before = memory(server.process)
        gateway = Gateway(bench, server, ["router"])
        seconds = round(gateway.ready(), 2)
        after = memory(gateway.process)
        result[count] = {"ready_seconds": seconds, "gw": after, "nats_before": before, "nats": memory(server.process), "fill": filled}
        gateway.stop()
    server.drop()
    return result


def retained(bench):
    progress(f"memory: {bench.sizes['retained']} retained deliveries")
    server = Nats(bench, "always")
    result = {"count": bench.sizes["retained"], "empty": memory(server.process)}
    result["fill"] = bench.measure("fill", "--nats", server.url, "--count", bench.sizes["retained"], "--bytes", 300)
    result["full"] = memory(server.process)
    result["stream"] = bench.measure("stream", "--nats", server.url)
    store = sum(file.stat().st_size for file in (server.folder / "store").rglob("*") if file.is_file())
    result["store_mb"] = round(store / 1e6)
    result["stopped_and_started"] = server.restart(signal.SIGTERM)
    result["killed_and_started"] = server.restart(signal.SIGKILL)
    server.drop()
    return result


# The report


def progress(text):
    print(f"... {text}", file=sys.stderr, flush=True)


def table(title, head, rows):
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print("  " + "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))))


def show(bench):
    results = bench.results
    if "edge" in results:
        show_edge(results["edge"])
    if "e2e" in results:
        rows = [[sync, *latency(found["latency"]), found["latency"]["max_ms"], *latency(found["answer_latency"]), cores(found)] for sync, found in results["e2e"].items()]
        table("End to end at 1,000/s (ms): event received, then answer", ["sync", "p50", "p99", "p99.9", "max", "p50", "p99", "p99.9", "cores"], rows)
    if "router" in results:
        rows = [[name, found["deliveries"], round(found["seconds"], 1), found["deliveries_per_second"], found["events_per_second"], found["gw"]["most_mb"], cores(found)] for name, found in results["router"].items()]
        table("Router catching up", ["sync, of", "deliveries", "s", "deliveries/s", "events/s", "gw MB at most", "cores"], rows)
    if "memory" in results:
        show_memory(results["memory"])
    rows = [[target["what"], target["value"], f"{'<=' if target['most'] else '>='} {target['bound']} {target['unit']}", "met" if target["met"] else "MISSED"] for target in bench.targets]
    table("Targets", ["what", "measured", "wanted", ""], rows)


def show_edge(found):
    rows = []
    for at in CONNECTIONS:
        rows += [[f"{name}, {at}", round(by[at]["per_second"]), *latency(by[at]), cores(by[at])] for name, by in found["medians"].items()]
        rows.append([f"allowed by a default and b, {at}", found["ratios"][at]["allowed_default"], "", "", "", ""])
    table("Edge (a: bare client, b: null sink; latencies in ms)", ["case, connections", "per s", "p50", "p99", "p99.9", "cores"], rows)
    print(f"  auto chose {json.dumps(found['auto'])}")


def show_memory(found):
    idle, kept = found["idle"], found["retained"]
    rows = [["idle gw serve", idle["gw"]["mb"], idle["nats"]["mb"], ""]]
    rows += [[f"{count} routes", by["gw"]["mb"], by["nats"]["mb"], f"ready in {by['ready_seconds']} s"] for count, by in found["routes"].items()]
    rows.append([f"{kept['count']} retained deliveries", "", kept["full"]["mb"], f"{kept['store_mb']} MB on disk"])
    for name in ("stopped_and_started", "killed_and_started"):
        rows.append([f"  {name.replace('_', ' ')}", "", kept[name]["mb"], f"answers in {kept[name]['seconds']} s"])
    table("Memory (MB resident)", ["", "gw", "nats-server", ""], rows)


def latency(found):
    return [found[name] for name in ("p50_ms", "p99_ms", "p999_ms")]


def cores(found):
    return " ".join(f"{name} {used:.2f}" for name, used in found["cores"].items())


def machine():
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return {
        "processors": os.cpu_count(),
        "model": model[0] if model else "unknown",
        "kernel": platform.release(),
        "load_before": os.getloadavg(),
        "commit": commit.stdout.decode().strip(),
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short runs and small numbers")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part only; repeat it for several")
    parser.add_argument("--modes", action="store_true", help="also the edge with either way of publishing forced")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    return parser.parse_args()


def main():
    args = arguments()
    # A stop by signal must stop what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not args.no_build and subprocess.call(["cargo", "build", "--release", "-p", "gw", "-p", "bench"], cwd=ROOT) != 0:
        return 1
    about = {"utc": datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ"), "quick": args.quick, "machine": machine(), "notes": NOTES}
    if about["machine"]["load_before"][0] > 1:
        progress(f"others use this machine: load {about['machine']['load_before'][0]:.1f}")
    # Not in /tmp: that may be memory, where a sync costs nothing.
    TARGET.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=TARGET))
    bench = None
    try:
        bench = Bench(QUICK if args.quick else FULL, folder)
        wanted = args.only or PARTS
        steps = {"edge": lambda: edge(bench, args.modes), "e2e": lambda: end_to_end(bench), "router": lambda: catch_up(bench), "memory": lambda: footprints(bench)}
        for part in PARTS:
            if part in wanted:
                steps[part]()
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    finally:
        if bench:
            bench.processes.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    show(bench)
    written = ROOT / "bench" / "results" / f"{about['utc']}.json"
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps({**about, "targets": bench.targets, **bench.results}, indent=1) + "\n")
    print(f"\n{written.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
