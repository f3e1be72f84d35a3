"""Pushes to endpoints: how many, how late, and what failing ones cost the others."""

import json
import os
import statistics
import subprocess
import time
import urllib.error
import urllib.request

from harness import SECRET, Failed, Gateway, Nats, Postgres, memory, progress

KEY = "bench-key"
# The organisation of the first links, as `gw-bench routes` names it.
ORGS = "org_{:026}"
LINKS_PER_ORG = 20
# Bytes of the body of a small webhook.
SMALL = 300


def measure(bench):
    results = bench.results["delivery"] = {}
    for name, part in (("rate", rates), ("latency", latency), ("down", one_down), ("many", many), ("replay", replay), ("ledger", ledger)):
        try:
            results[name] = part(bench)
        except Failed as failed:
            results[name] = bench.fail(failed)


def ask(gateway, method, path, body=None):
    """Asks the API of a gateway."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    request = urllib.request.Request(f"http://{gateway.api}{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failed(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None


def endpoint(gateway, org, port, path="/", **more):
    body = {"orgId": ORGS.format(org), "url": f"http://127.0.0.1:{port}{path}", "events": ["*"], **more}
    return ask(gateway, "POST", "/endpoints", body)["id"]


def gateway_of(bench, server, roles):
    gateway = Gateway(bench, server, roles, env={"GW_ENDPOINT_ALLOW": "http://127.0.0.1/32"})
    gateway.ready()
    return gateway


def watched(gateway, server):
    return ["--watch", f"gw={gateway.process.pid}", "--watch", f"nats={server.process.pid}"]


class Taking:
    """A gw-bench command that prints its ports first and its result last."""

    def __init__(self, bench, *args):
        command = [str(bench.binary("gw-bench")), *[str(arg) for arg in args]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.bench, self.process = bench, subprocess.Popen(command, **pipes)
        bench.processes.running.append(self.process)
        said = self.process.stdout.readline()
        if not said:
            raise Failed(f"gw-bench {args[0]}: {self.process.stderr.read()}")
        self.ports = json.loads(said)["ports"]

    def result(self):
        out, said = self.process.communicate("\n")
        self.bench.processes.running.remove(self.process)
        if self.process.returncode != 0:
            raise Failed(f"gw-bench: {said}")
        return json.loads(out)


def rates(bench):
    """A backlog of events, pushed as fast as it goes: to one receiver, and to a hundred."""
    results = {}
    for sync in ("always", "default"):
        for receivers in (1, 100):
            events = bench.sizes["pushes"] // receivers
            progress(f"delivery, {sync}: {events} events to {receivers} receivers")
            server = Nats(bench, sync)
            bench.measure("events", "--nats", server.url, "--count", events)
            gateway = gateway_of(bench, server, ["deliver"])
            taking = Taking(bench, "receive", "--count", receivers, "--expect", events * receivers, *watched(gateway, server))
            for port in taking.ports:
                endpoint(gateway, 0, port, start=1, concurrency=100 if receivers == 1 else 8)
            result = taking.result()
            results[f"{sync}, {receivers} receivers"] = {**result, "gw": memory(gateway.process)}
            gateway.stop()
            server.drop()
            if result["received"] != result["expected"]:
                bench.fail(Failed(f"{result['received']} of {result['expected']} pushes came ({sync}, {receivers} receivers)"))
    for receivers in (1, 100):
        for sync in ("always", "default"):
            bench.target(f"pushes a second to {receivers} receivers, {sync}", results[f"{sync}, {receivers} receivers"]["per_second"], 5000)
    return results


def latency(bench):
    """From the post to the receiver at 1,000/s: every webhook leads to one push."""
    results = {}
    for sync in ("always", "default"):
        progress(f"delivery: post to receiver at 1,000/s, {sync}")
        server = Nats(bench, sync)
        accounts = 64
        bench.measure("routes", "--nats", server.url, "--count", accounts)
        gateway = gateway_of(bench, server, ["ingest", "router", "deliver"])
        results[sync] = posted(bench, server, gateway, accounts, 1000, 1, lambda port: [
            endpoint(gateway, org, port, concurrency=32) for org in range(-(-accounts // LINKS_PER_ORG))
        ])
        gateway.stop()
        server.drop()
    # With `always` webhook and event wait for the disk, however fast that is.
    bench.target("post to receiver at 1,000/s, p99, default", results["default"]["latency"]["p99_ms"], 50, "ms", most=True)
    return results


def one_down(bench):
    """A hundred endpoints of one organisation, first all well, then one of them down; in rounds, for a few posts decide a p99."""
    rounds = [one_down_round(bench, number) for number in range(bench.sizes["rounds"])]
    p99 = lambda results, down: results[down]["latency"]["p99_ms"]
    moved = statistics.median(p99(results, 1) / max(p99(results, 0), 0.001) for results in rounds)
    bench.target("one endpoint of 100 down: p99 of the others, times as before", moved, 1.1, most=True)
    # What is shown is the round in the middle.
    return sorted(rounds, key=lambda results: p99(results, 1))[len(rounds) // 2]


def one_down_round(bench, number):
    results = {}
    # In turn the one and the other first: the machine is not the same from one minute to the next.
    for down in ((0, 1), (1, 0))[number % 2]:
        progress(f"delivery: 100 endpoints, {down} down, round {number + 1}")
        # With `always` the disk's own times decide the p99, and move it more than any endpoint does.
        server = Nats(bench, "default")
        bench.measure("routes", "--nats", server.url, "--count", LINKS_PER_ORG)
        gateway = gateway_of(bench, server, ["ingest", "router", "deliver"])

        def endpoints(port):
            for number in range(100 - down):
                endpoint(gateway, 0, port, f"/{number}")
            for _ in range(down):
                endpoint(gateway, 0, 9, "/nobody")  # The port of discard: nobody listens there.

        results[down] = posted(bench, server, gateway, LINKS_PER_ORG, 10, 100 - down, endpoints)
        gateway.stop()
        server.drop()
    return results


def posted(bench, server, gateway, accounts, rate, fan_out, endpoints):
    args = ["--nats", server.url, "--to", gateway.to, "--secret", SECRET, "--accounts", accounts, "--receivers", 1]
    args += ["--rate", rate, "--fan-out", fan_out, "--seconds", bench.sizes["e2e"], *watched(gateway, server)]
    taking = Taking(bench, "e2e", *args)
    endpoints(taking.ports[0])
    result = taking.result()
    if result["received"] != result["expected"]:
        bench.fail(Failed(f"{result['received']} of {result['expected']} pushes came at {rate}/s"))
    return result


def many(bench):
    """Two thousand endpoints in one process, none failing, then a tenth of them."""
    results = {}
    count, each = bench.sizes["endpoints"], 10
    for failing in (0, count // 10):
        progress(f"delivery: {count} endpoints, {failing} of them failing")
        server = Nats(bench, "always")
        gateway = gateway_of(bench, server, ["deliver"])
        well = count - failing
        taking = Taking(bench, "receive", "--count", 1, "--expect", well * each, *watched(gateway, server))
        for number in range(count):
            # Not more than an organisation may have.
            endpoint(gateway, number // 50, taking.ports[0], f"/{'fail' if number < failing else 'well'}/{number}")
        idle = memory(gateway.process)
        bench.measure("events", "--nats", server.url, "--count", each * -(-count // 50), "--orgs", -(-count // 50))
        result = taking.result()
        results[failing] = {**result, "idle": idle, "gw": memory(gateway.process), "nats": memory(server.process)}
        gateway.stop()
        server.drop()
        if result["received"] != result["expected"]:
            bench.fail(Failed(f"{result['received']} of {result['expected']} pushes came to {count} endpoints, {failing} failing"))
    return results


def ledger(bench):
    """A stream of deliveries and one of events, written to rows: SQLite beside the gateway, and PostgreSQL."""
    results = {"SQLite": rows_written(bench, "SQLite", {})}
    named, binaries = os.environ.get("GW_TEST_DATABASE_URL"), Postgres.binaries()
    if named:
        results["PostgreSQL"] = rows_written(bench, "PostgreSQL", {"DATABASE_URL": named})
    elif binaries:
        database = Postgres(bench, binaries)
        results["PostgreSQL"] = rows_written(bench, "PostgreSQL", {"DATABASE_URL": database.url})
        database.drop()
    else:
        progress("skipped: the ledger on PostgreSQL (there is no initdb, and GW_TEST_DATABASE_URL names no database)")
    return results


def rows_written(bench, name, env):
    count = bench.sizes["rows"]
    progress(f"ledger, {name}: {count} deliveries and as many events")
    server = Nats(bench, "default")
    bench.measure("fill", "--nats", server.url, "--count", count, "--bytes", SMALL)
    bench.measure("events", "--nats", server.url, "--count", count)
    begun = time.monotonic()
    gateway = Gateway(bench, server, ["ledger"], env=env)
    gateway.ready()
    if env:
        ask(gateway, "POST", "/ledger/rebuild")
    while any(stream["lag"] for stream in ask(gateway, "GET", "/ledger")["streams"]):
        if time.monotonic() - begun > bench.sizes["patience"]:
            raise Failed(f"the ledger on {name} has not caught up after {bench.sizes['patience']} s")
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    result = {"rows": 2 * count, "seconds": seconds, "per_second": round(2 * count / seconds), "gw": memory(gateway.process)}
    gateway.stop()
    server.drop()
    return result


def replay(bench):
    """Stored events again, to a subject of the replay's own; beside it, a copy of each made by bare clients."""
    results = {}
    for sync, size in (("default", "small"), ("default", "push"), ("always", "push")):
        count = bench.sizes["replayed"]
        progress(f"replay, {sync}, {size}: {count} events to a subject")
        server = Nats(bench, sync)
        bench.measure("events", "--nats", server.url, "--count", count, *(["--bytes", SMALL] if size == "small" else []))
        bare = None
        if sync == "default":
            bare = bench.measure("copy", "--nats", server.url, "--count", count)["per_second"]
            bench.measure("purge", "--nats", server.url, "--stream", "GW_REPLAY")
        gateway = gateway_of(bench, server, ["deliver"])
        seconds, made = replayed(bench, gateway)
        results[f"{sync}, {size}"] = {"events": count, "seconds": seconds, "per_second": round(count / seconds), "bare_per_second": bare, "gw": memory(gateway.process), "said": made}
        gateway.stop()
        server.drop()
    bench.target(f"replayed to a subject, webhooks of {SMALL} bytes, events a second", results["default, small"]["per_second"], 20_000)
    # What larger ones cost is the broker's: as fast as bare clients.
    push = results["default, push"]
    bench.target("replayed to a subject, pushes of 7 KiB, of what bare clients reach", push["per_second"] / push["bare_per_second"], 0.9)
    return results


def replayed(bench, gateway):
    """Seconds that a replay of all events took, and what is said of it."""
    made = ask(gateway, "POST", "/replays", {"mode": "redeliver", "to": "subject", "ratePerSecond": "max"})
    begun = time.monotonic()
    while made.get("status") not in ("done", "cancelled", "failed"):
        if time.monotonic() - begun > bench.sizes["patience"]:
            raise Failed(f"the replay is {made.get('status')} after {bench.sizes['patience']} s")
        time.sleep(0.2)
        made = ask(gateway, "GET", f"/replays/{made['id']}")
    if made["status"] != "done":
        raise Failed(f"the replay is {made['status']}")
    return time.monotonic() - begun, made
