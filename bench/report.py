"""The bench's results as tables."""

import json


def table(title, head, rows):
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print("  " + "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))))


def show(bench, connections):
    results = bench.results
    if "edge" in results:
        show_edge(results["edge"], connections)
    if "e2e" in results:
        rows = [[name, *latency(found["latency"]), found["latency"]["max_ms"], *latency(found["answer_latency"]), cores(found)] for name, found in results["e2e"].items()]
        table("End to end at 1,000/s (ms): event received, then answer; bare clients store the same two messages", ["sync, of", "p50", "p99", "p99.9", "max", "p50", "p99", "p99.9", "cores"], rows)
    if "router" in results:
        rows = [
            [name, found["deliveries"], round(found["seconds"], 1), found["deliveries_per_second"], found["events_per_second"], found["gw"]["most_mb"], cores(found), found["mode"]["mode"]]
            if "failed" not in found
            else [name, "", "", "FAILED", "", found["gw"]["most_mb"], "", found["mode"]["mode"]]
            for name, found in results["router"].items()
        ]
        table("Router catching up", ["sync, of", "deliveries", "s", "deliveries/s", "events/s", "gw MB at most", "cores", "mode"], rows)
    if "delivery" in results:
        show_delivery(results["delivery"])
    if "memory" in results:
        show_memory(results["memory"])
    rows = [[target["what"], target["value"], f"{'<=' if target['most'] else '>='} {target['bound']} {target['unit']}", "met" if target["met"] else "MISSED"] for target in bench.targets]
    table("Targets", ["what", "measured", "wanted", ""], rows)


def show_edge(found, connections):
    rows = []
    for at in connections:
        for name, by in found["medians"].items():
            cost = " ".join(f"{process} {used:.0f}" for process, used in by[at]["cpu_us"].items())
            rows.append([f"{name}, {at}", round(by[at]["per_second"]), round(by[at]["best_per_second"]), *latency(by[at]), cost])
        rows.append([f"allowed by a default and b, {at}", found["ratios"][at]["allowed_default"], "", "", "", "", ""])
    head = ["case, connections", "per s", "best", "p50", "p99", "p99.9", "processor us each"]
    table("Edge (a: bare client, b: null sink; latencies in ms; best of the rounds)", head, rows)
    rows = [[name, *(f"{found['ratios'][at][name]:.2f}" for at in connections)] for name in found["ratios"][1] if name != "allowed_default"]
    table("Ratios", ["connections", *connections], rows)
    print(f"  auto chose {json.dumps(found['auto'])}")


def show_delivery(found):
    found = {name: part for name, part in found.items() if "failed" not in part or not isinstance(part["failed"], str)}
    rows = [[name, by["received"], round(by["seconds"], 1), by["per_second"], by["gw"]["most_mb"], cores(by)] for name, by in found.get("rate", {}).items()]
    table("Pushes of a backlog", ["sync, to", "pushes", "s", "a second", "gw MB at most", "cores"], rows)
    rows = [[f"1,000/s, {sync}", *latency(by["latency"]), by["latency"]["max_ms"], cores(by)] for sync, by in found.get("latency", {}).items()]
    rows += [[f"100 endpoints, {down} down, default", *latency(by["latency"]), by["latency"]["max_ms"], cores(by)] for down, by in found.get("down", {}).items()]
    table("From the post to the receiver (ms)", ["", "p50", "p99", "p99.9", "max", "cores"], rows)
    rows = [[f"{failing} failing", by["received"], by["failed"], by["per_second"], by["idle"]["mb"], by["gw"]["most_mb"], by["nats"]["mb"], cores(by)] for failing, by in found.get("many", {}).items()]
    table("Many endpoints", ["", "pushes", "refused", "a second", "gw MB idle", "gw MB at most", "nats MB", "cores"], rows)
    rows = [[f"replay to a subject, {sync}", by["events"], round(by["seconds"], 1), by["per_second"], by["gw"]["most_mb"]] for sync, by in found.get("replay", {}).items()]
    rows += [[f"ledger on {name}", by["rows"], round(by["seconds"], 1), by["per_second"], by["gw"]["most_mb"]] for name, by in found.get("ledger", {}).items()]
    rows += [[f"  copied by bare clients, {sync}", by["events"], "", by["bare_per_second"], ""] for sync, by in found.get("replay", {}).items() if by["bare_per_second"]]
    table("Replay and ledger", ["", "events, rows", "s", "a second", "gw MB at most"], rows)


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
