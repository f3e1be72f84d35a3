#!/usr/bin/env python3
"""Measures the gateway, and compares with what its parts allow.

    scripts/bench.py                 everything, about 20 minutes
    scripts/bench.py --quick         the same with short runs and small numbers, about 3 minutes
    scripts/bench.py --only edge     edge, e2e, router, delivery or memory; repeat it for several

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
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "bench"))

import delivery  # noqa: E402
from harness import ROOT, SECRET, TARGET, Bench, Failed, Gateway, Nats, NullEdge, memory, progress  # noqa: E402
from report import show  # noqa: E402

CONNECTIONS = (1, 64, 256)
PARTS = ("edge", "e2e", "router", "delivery", "memory")
QUICK = {"rounds": 3, "seconds": 1.5, "warmup": 0.5, "e2e": 5, "patience": 60, "backlog": 20_000, "pushes": 20_000, "rows": 50_000, "replayed": 50_000, "endpoints": 500, "retained": 100_000, "routes": 100_000}
FULL = {"rounds": 5, "seconds": 4, "warmup": 1, "e2e": 20, "patience": 300, "backlog": 200_000, "pushes": 100_000, "rows": 500_000, "replayed": 400_000, "endpoints": 2_000, "retained": 1_000_000, "routes": 1_000_000}
# A backlog's deliveries are of so many accounts: the router keeps order within each.
ACCOUNTS = 1_000
NOTES = [
    "a: bare async-nats JetStream publishes, same payload, headers and subjects, as many in flight as there are connections",
    "b: gw's own listener, request layers and ingest service, with a sink that confirms at once",
    "allowed: 1/(1/a + 1/b); load generator, edge and server share the processors in every case",
    "edge: gw serve --role ingest, RUST_LOG=warn, GW_PUBLISH=auto unless the case says otherwise",
    "retained deliveries, the ledger's, and the webhooks of small events have bodies of 300 bytes; everything else is a GitHub push of 7 KiB",
    "nats-server runs with GOGC=200, as the gateway starts it",
    "the server keeps a file for each consumer and replaces it ten times a second at work; ext4 makes a new file the slower the more of them it lately deleted, so that pushes to many receivers vary from run to run",
    "a replay to a subject is of as many events as GW_REPLAY holds: full, it gives up its oldest, which costs more",
    "bodies repeat, so that they take far less room on the disk than real ones",
]


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
    middle["best_per_second"] = max(result["per_second"] for result in results)
    cost = {name: statistics.median(1e6 * result["cores"][name] / result["per_second"] for result in results) for name in results[0]["cores"]}
    middle["cpu_us"] = {**{name: round(used, 1) for name, used in cost.items()}, "all": round(sum(cost.values()), 1)}
    return middle


def edge_ratios(bench, medians):
    ratios = {}
    for at in CONNECTIONS:
        rate = {name: by[at]["per_second"] for name, by in medians.items()}
        allowed = 1 / (1 / rate["a default"] + 1 / rate["b"])
        best = {name: by[at]["best_per_second"] for name, by in medians.items()}
        cpu = {name: by[at]["cpu_us"]["all"] for name, by in medians.items()}
        ratios[at] = {
            "allowed_default": round(allowed),
            "default_of_allowed": rate["edge default"] / allowed,
            # What others do on the machine only ever slows down, and hardly changes the processor time of one webhook.
            "default_of_allowed_best": best["edge default"] * (1 / best["a default"] + 1 / best["b"]),
            "default_of_allowed_cpu": (cpu["a default"] + cpu["b"]) / cpu["edge default"],
            "always_of_single": rate["edge always"] / rate["edge always, single"],
            "always_of_single_best": best["edge always"] / best["edge always, single"],
        }
        bench.target(f"default sync, {at} connections: of what the parts allow", ratios[at]["default_of_allowed"], 0.9)
    bench.target("always, 256 connections: times one publish a request", ratios[256]["always_of_single"], 2.5)
    # Two measurements of the same are seldom equal.
    bench.target("always, 1 connection: times one publish a request", ratios[1]["always_of_single"], 0.97)
    return ratios


# End to end, router, memory


def end_to_end(bench):
    """Through the gateway, and right behind it by bare clients that store the same two messages: what the parts allow."""
    results = bench.results["e2e"] = {}
    for sync in ("default", "always"):
        results[f"{sync}, 64 accounts"] = through_gateway(bench, sync, 64)
        results[f"{sync}, bare clients"] = by_bare_clients(bench, sync)
    results["always, 1 account"] = through_gateway(bench, "always", 1)
    for name, found in results.items():
        if found["received"] != found["posted"]:
            bench.fail(Failed(f"end to end, {name}: {found['received']} of {found['posted']} events came before none came for 10 s"))
    for sync in ("default", "always"):
        bench.target(f"end to end at 1,000/s, {sync}, p99", results[f"{sync}, 64 accounts"]["latency"]["p99_ms"], 20, "ms", most=True)


def through_gateway(bench, sync, accounts):
    progress(f"end to end, {sync}, accounts: {accounts}")
    server = Nats(bench, sync)
    bench.measure("routes", "--nats", server.url, "--count", accounts)
    gateway = Gateway(bench, server, ["ingest", "router"])
    gateway.ready()
    watch = ["--watch", f"gw={gateway.process.pid}", "--watch", f"nats={server.process.pid}"]
    to = ["--nats", server.url, "--to", gateway.to, "--secret", SECRET, "--accounts", accounts]
    result = bench.measure("e2e", *to, "--rate", 1000, "--seconds", bench.sizes["e2e"], *watch)
    gateway.stop()
    server.drop()
    return result


def by_bare_clients(bench, sync):
    progress(f"end to end, {sync}, bare clients")
    server = Nats(bench, sync)
    watch = ["--watch", f"nats={server.process.pid}"]
    result = bench.measure("relay", "--nats", server.url, "--rate", 1000, "--seconds", bench.sizes["e2e"], *watch)
    server.drop()
    return result


def catch_up(bench):
    results = bench.results["router"] = {}
    for sync in ("always", "default"):
        for accounts in (ACCOUNTS, 1):
            progress(f"router, {sync}, {bench.sizes['backlog']} deliveries of {accounts} accounts")
            server = Nats(bench, sync)
            bench.measure("routes", "--nats", server.url, "--count", ACCOUNTS)
            bench.measure("fill", "--nats", server.url, "--count", bench.sizes["backlog"], "--accounts", accounts)
            gateway = Gateway(bench, server, ["router"])
            watch = ["--watch", f"gw={gateway.process.pid}", "--watch", f"nats={server.process.pid}"]
            try:
                result = bench.measure("drain", "--nats", server.url, "--patience", bench.sizes["patience"], *watch)
            except Failed as failed:
                result = bench.fail(failed)
            results[f"{sync}, {accounts} accounts"] = {**result, "gw": memory(gateway.process), "mode": gateway.mode()}
            gateway.stop()
            server.drop()


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


# The run


def filesystem(folder):
    """The type of the file system that a folder is on."""
    folder = folder.resolve()
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    # Of several at one place the last is seen.
    above = [(len(mount[1]), at, mount[2]) for at, mount in enumerate(mounts) if Path(mount[1]) in (folder, *folder.parents)]
    return max(above)[2] if above else "unknown"


def machine():
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return {
        "processors": os.cpu_count(),
        "model": model[0] if model else "unknown",
        "kernel": platform.release(),
        "filesystem": filesystem(TARGET),
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
        steps = {"edge": lambda: edge(bench, args.modes), "e2e": lambda: end_to_end(bench), "router": lambda: catch_up(bench), "delivery": lambda: delivery.measure(bench), "memory": lambda: footprints(bench)}
        for part in PARTS:
            if part not in wanted:
                continue
            try:
                steps[part]()
            except Failed as failed:
                bench.fail(failed)
            finally:
                bench.processes.stop_all()
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    finally:
        if bench:
            bench.processes.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    show(bench, CONNECTIONS)
    written = ROOT / "bench" / "results" / f"{about['utc']}.json"
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps({**about, "targets": bench.targets, "failures": bench.failures, **bench.results}, indent=1) + "\n")
    for failed in bench.failures:
        print(f"\nFAILED: {failed}")
    print(f"\n{written.relative_to(ROOT)}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
