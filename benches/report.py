"""Medians, the table with its ratios, and the JSON of the command-line contract."""

import json
import os
import platform
import re
import statistics
from datetime import datetime, timezone
from pathlib import Path

METRICS = ("tps", "p50_ms", "p99_ms", "cpu_us_per_statement", "user_us_per_statement", "rss_kib")
CPU_RATIO_MAX = 1.1


def machine():
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        cpuinfo = ""
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
    }


def medians(rounds):
    """rounds: {(protocol, clients, system, workload): [cell, …]} to one cell each; a cell that failed once has failed."""
    out = {}
    for key, cells in rounds.items():
        errors = [cell["error"] for cell in cells if "error" in cell]
        if errors:
            out[key] = {"error": errors[0]}
            continue
        out[key] = {metric: middle([cell[metric] for cell in cells]) for metric in METRICS}
        out[key]["tps_min"] = round(min(cell["tps"] for cell in cells), 1)
        out[key]["tps_max"] = round(max(cell["tps"] for cell in cells), 1)
    return out


def middle(values):
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def ratio(cell, other, metric):
    if not cell or not other or not cell.get(metric) or not other.get(metric):
        return "-"
    return f"{cell[metric] / other[metric]:.2f}"


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def print_traffic(cells):
    line = "{:<9} {:>7} {:<17} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}   {:>9} {:>10}   {:>9}"
    print(line.format("protocol", "clients", "system", "tps", "p50 ms", "p99 ms", "cpu us", "of it user", "rss MiB", "tps/pgb", "tps/direct", "cpu/pgb"))
    last = None
    for (protocol, clients, system, workload), cell in cells.items():
        if last not in (None, protocol):
            print()
        last = protocol
        name = system if workload == "point-select" else f"{system}, spread"
        if "error" in cell:
            print(f"{protocol:<9} {clients:>7} {name:<17} FAILED: {cell['error']}")
            continue
        pgbouncer, direct = (cells.get((protocol, clients, other, "point-select")) for other in ("pgbouncer", "direct"))
        rss = None if cell["rss_kib"] is None else cell["rss_kib"] / 1024
        print(line.format(
            protocol, clients, name, number(cell["tps"], 0), number(cell["p50_ms"], 3), number(cell["p99_ms"], 3),
            number(cell["cpu_us_per_statement"], 1), number(cell["user_us_per_statement"], 1), number(rss, 1),
            ratio(cell, pgbouncer, "tps"), ratio(cell, direct, "tps"), ratio(cell, pgbouncer, "cpu_us_per_statement"),
        ))


def print_idle(idle):
    if not idle:
        return
    print(f"\n{'idle clients':<12} {'system':<10} {'rss MiB':>9} {'KiB per client':>15}")
    for (clients, system), cell in sorted(idle.items()):
        if "error" in cell:
            print(f"{clients:<12} {system:<10} FAILED: {cell['error']}")
        else:
            print(f"{clients:<12} {system:<10} {cell['rss_kib'] / 1024:>9.1f} {cell['rss_kib_per_client']:>15.2f}")


def print_targets(cells, clients=16):
    """The bounds of issue and design: CPU at most 1.1 times PgBouncer's, TPS at least PgBouncer's."""
    told = False
    for protocol in dict.fromkeys(protocol for protocol, *_ in cells):
        ours, theirs = (cells.get((protocol, clients, system, "point-select")) for system in ("shardyard", "pgbouncer"))
        if not ours or not theirs or "error" in ours or "error" in theirs or not ours["cpu_us_per_statement"]:
            continue
        if not told:
            print(f"\nbounds at {clients} clients: cpu at most {CPU_RATIO_MAX} x PgBouncer, tps at least PgBouncer's")
            told = True
        cpu = ours["cpu_us_per_statement"] / theirs["cpu_us_per_statement"]
        tps = ours["tps"] / theirs["tps"]
        print(f"  {protocol:<9} cpu x{cpu:.2f} {'met' if cpu <= CPU_RATIO_MAX else 'MISSED'}   tps x{tps:.2f} {'met' if tps >= 1 else 'MISSED'}")


def write_json(path, cells, idle, settings):
    results = []
    for (protocol, clients, system, workload), cell in cells.items():
        results.append({"system": system, "workload": workload, "protocol": protocol, "clients": clients, **cell})
    for (clients, system), cell in idle.items():
        results.append({"system": system, "workload": "idle", "protocol": "simple", "clients": clients, "tps": None, "p50_ms": None, "p99_ms": None, "cpu_us_per_statement": None, **cell})
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "settings": settings, "results": results}
    path.write_text(json.dumps(document, indent=1) + "\n")
