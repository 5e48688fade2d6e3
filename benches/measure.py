"""Runs one cell with pgbench and reads what the proxy process spent."""

import os
import re
import subprocess
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """User and system time of the processes, all threads. The kernel's tick rounds it to 10 ms in all."""
    total = 0
    for pid in pids:
        columns = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(columns[11]) + int(columns[12])
    return total / TICK


def rss_kib(pids):
    total = 0
    for pid in pids:
        match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
        total += int(match[1]) if match else 0
    return total


def percentile(values, share):
    if not values:
        return None
    return values[min(len(values) - 1, int(len(values) * share))]


def latencies_ms(folder, prefix):
    """Every sampled transaction's latency, sorted; the logs are removed."""
    values = []
    for log in folder.glob(f"{prefix}.*"):
        with open(log) as lines:
            values += [int(line.split(None, 3)[2]) / 1000 for line in lines]
        log.unlink()
    values.sort()
    return values


def run_cell(system, script, protocol, clients, seconds, folder):
    """One measurement: {tps, p50_ms, p99_ms, cpu_us_per_statement, rss_kib} or {error}."""
    prefix = "latency"
    for stale in folder.glob(f"{prefix}.*"):
        stale.unlink()
    command = ["pgbench", "-n", "-M", protocol, "-f", str(script), "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds)]
    # One transaction in four is logged: enough for a p99, a quarter of the cost.
    command += ["--log", f"--log-prefix={folder / prefix}", "--sampling-rate=0.25", *system.pgbench_arguments(protocol)]
    before = cpu_seconds(system.pids)
    try:
        ran = subprocess.run(command, env=system.environment(), capture_output=True, text=True, timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        return {"error": f"pgbench hung for {seconds + 60} s"}
    try:
        spent = cpu_seconds(system.pids) - before
        memory = rss_kib(system.pids)
    except OSError as error:
        return {"error": f"the proxy process is gone: {error}"}
    said = ran.stdout + ran.stderr
    done = re.search(r"number of transactions actually processed: (\d+)", said)
    tps = re.search(r"^tps = ([\d.]+)", said, re.M)
    failed = re.search(r"number of failed transactions: (\d+)", said)
    if ran.returncode or not done or not tps or int(done[1]) == 0 or (failed and int(failed[1])) or "aborted" in said:
        return {"error": f"pgbench exit {ran.returncode}: {first_error(said)}"}
    sampled = latencies_ms(folder, prefix)
    return {
        "tps": float(tps[1]),
        "p50_ms": percentile(sampled, 0.50),
        "p99_ms": percentile(sampled, 0.99),
        "cpu_us_per_statement": spent * 1e6 / int(done[1]) if system.pids else None,
        "rss_kib": memory if system.pids else None,
    }


def first_error(said):
    lines = [line for line in said.splitlines() if "error" in line.lower() or "fatal" in line.lower() or "aborted" in line]
    return lines[0] if lines else said.strip()[-300:]
