"""Runs one cell with pgbench and reads what the proxy process spent."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What one cell puts on a system."""

    protocol: str
    clients: int
    seconds: int
    turn: int


def cpu_seconds(pids):
    """User and system time of the processes, all threads. The kernel's tick rounds each to 10 ms in all."""
    user = system = 0
    for pid in pids:
        columns = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user += int(columns[11])
        system += int(columns[12])
    return user / TICK, system / TICK


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


def run_cell(system, scripts, load, folder):
    """One measurement: {tps, p50_ms, p99_ms, cpu_us_per_statement, rss_kib} or {error}.

    One pgbench with its script per target, or per client where there are fewer; `load.turn` says which target is first.
    """
    for stale in folder.glob("latency*"):
        stale.unlink()
    before = cpu_seconds(system.pids)
    parts = min(load.clients, len(system.targets))
    runs = []
    for part in range(parts):
        number = (load.turn + part) % len(system.targets)
        target = system.targets[number]
        clients = load.clients // parts + (part < load.clients % parts)
        command = ["pgbench", "-n", "-M", load.protocol, "-f", str(scripts[number]), "-c", str(clients), "-j", "1", "-T", str(load.seconds)]
        # One transaction in four is logged: enough for a p99, a quarter of the cost.
        command += ["--log", f"--log-prefix={folder / f'latency{part}'}", "--sampling-rate=0.25", *target.arguments(load.protocol)]
        runs.append(subprocess.Popen(command, env=target.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        told = [(run.communicate(timeout=load.seconds + 60)[0], run.returncode) for run in runs]
    except subprocess.TimeoutExpired:
        for run in runs:
            run.kill()
            run.wait()
        return {"error": f"pgbench hung for {load.seconds + 60} s"}
    try:
        user, kernel = (after - at_start for after, at_start in zip(cpu_seconds(system.pids), before))
        memory = rss_kib(system.pids)
    except OSError as error:
        return {"error": f"the proxy process is gone: {error}"}
    statements, rate = 0, 0.0
    for said, code in told:
        done = re.search(r"number of transactions actually processed: (\d+)", said)
        tps = re.search(r"^tps = ([\d.]+)", said, re.M)
        failed = re.search(r"number of failed transactions: (\d+)", said)
        if code or not done or not tps or int(done[1]) == 0 or (failed and int(failed[1])) or "aborted" in said:
            return {"error": f"pgbench exit {code}: {first_error(said)}"}
        statements += int(done[1])
        rate += float(tps[1])
    sampled = latencies_ms(folder, "latency*")
    return {
        "tps": rate,
        "p50_ms": percentile(sampled, 0.50),
        "p99_ms": percentile(sampled, 0.99),
        "cpu_us_per_statement": (user + kernel) * 1e6 / statements if system.pids else None,
        "user_us_per_statement": user * 1e6 / statements if system.pids else None,
        "rss_kib": memory if system.pids else None,
    }


def first_error(said):
    lines = [line for line in said.splitlines() if "error" in line.lower() or "fatal" in line.lower() or "aborted" in line]
    return lines[0] if lines else said.strip()[-300:]
