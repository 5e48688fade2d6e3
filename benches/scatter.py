#!/usr/bin/env python3
"""`make bench-scatter`: statements over four shards against one server of the same machine.

COPY: rows by `COPY … FROM STDIN` through the proxy and straight into one shard's server, in turns; a bad row in the middle of them; the proxy's memory.
Reads: count, sum by group, ORDER BY … LIMIT through the proxy; the same asked of every shard directly, one after another (the slowest counts)
and of all at the same time up to the last answer, which is what the processors of this machine allow; all in turns. The memory of a proxy that passes ten times the rows on.

Environment: BENCH_ROWS (1000000), BENCH_ROUNDS (5), SHARDYARD (the program to use instead of building it).
Exit: 0 all within what is promised (reads against the slowest shard, or where processors are fewer than shards, against all at once), 1 not,
2 the bench could not be set up.
"""

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import build, sql
from servers import BenchError, listeners, start_cluster, target_of

ROOT = Path(__file__).resolve().parent.parent
SHARDS = 4
TABLE = "scattered"
COLUMNS = "user_id bigint PRIMARY KEY, kind int NOT NULL, amount bigint NOT NULL, note text NOT NULL"
READS = {
    "count": f"select count(*) from {TABLE}",
    "sum by group": f"select kind, sum(amount) from {TABLE} group by kind",
    "order limit": f"select user_id, amount from {TABLE} order by amount desc, user_id limit 10",
}
# Reads are short: so many to a round, each on a quiet machine.
READ_ROUNDS, QUIET_S = 4, 0.05
COPY_LEAST, READ_MOST, COPY_KIB_MOST, PASS_KIB_MOST = 0.6, 1.3, 64 * 1024, 32 * 1024


def psql(target, *words, **options):
    return subprocess.Popen(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *words, *target.arguments()], env=target.environment(), text=True, **options)


class Bench:
    def __init__(self, program, folder, stack):
        self.rows = int(os.environ.get("BENCH_ROWS", "1000000"))
        self.rounds = int(os.environ.get("BENCH_ROUNDS", "5"))
        stores, dsn = start_cluster(folder, program, SHARDS, stack)
        self.stores, self.proxy = [target_of(store) for store in stores], target_of(dsn)
        self.pids = listeners(self.proxy.port)
        self.lines = folder / "rows"
        with open(self.lines, "w") as out:
            out.writelines(f"{n}\t{n % 100}\t{n * 7919 % 1000003}\tnote of row {n}\n" for n in range(1, self.rows + 1))
        self.bad = folder / "bad"
        with open(self.lines) as rows, open(self.bad, "w") as out:
            for number, line in enumerate(rows, 1):
                out.write("none\n" if number == self.rows // 2 else line)
        sql(self.proxy, f"create table {TABLE} ({COLUMNS})")
        for at, store in enumerate(self.stores):
            own = f"generate_series(1::bigint, {self.rows}) n where shardyard.bucket(n) % {SHARDS} = {at}"
            sql(store, f"insert into {TABLE} select n, n % 100, n * 7919 % 1000003, 'note of row ' || n from {own}", f"vacuum analyze {TABLE}", "checkpoint")

    def peak_kib(self):
        """The most memory that the proxy has had since its peak was reset."""
        return sum(int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) for pid in self.pids)

    def reset_peak(self):
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def copy(self, target, table, lines):
        began = time.monotonic()
        with open(lines) as rows:
            ran = psql(target, "-c", f"copy {table} from stdin", stdin=rows, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            error = ran.communicate()[1]
        return time.monotonic() - began, error

    def copies(self):
        ratios = []
        sql(self.proxy, f"create table copied ({COLUMNS})")
        sql(self.stores[0], f"create table copied_directly ({COLUMNS})")
        self.reset_peak()
        for _ in range(min(self.rounds, 3)):
            sql(self.proxy, "truncate copied")
            sql(self.stores[0], "truncate copied_directly", "checkpoint")
            straight, error = self.copy(self.stores[0], "copied_directly", self.lines)
            through, other = self.copy(self.proxy, "copied", self.lines)
            if error or other:
                raise BenchError(f"COPY: {error or other}")
            ratios.append((straight / through, straight, through))
        peak = self.peak_kib()
        sql(self.stores[0], "drop table copied_directly")
        ratio, straight, through = sorted(ratios)[len(ratios) // 2]
        sql(self.proxy, f"create table bad_rows ({COLUMNS})")
        _, error = self.copy(self.proxy, "bad_rows", self.bad)
        named, left = f"line {self.rows // 2}" in error, sql(self.proxy, "select count(*) from bad_rows")
        print(f"scatter: COPY of {self.rows} rows: {straight:.2f} s into one server, {through:.2f} s over {SHARDS} shards: at {ratio:.2f} of its speed "
              f"(promised {COPY_LEAST}), proxy at most {peak} KiB; a bad row in the middle: line {'named' if named else 'not named'}, {left} rows left behind", flush=True)
        kept = ratio >= COPY_LEAST and peak <= COPY_KIB_MOST and named and left == "0"
        return {"ratio": ratio, "straight_s": straight, "through_s": through, "peak_kib": peak, "bad_row_named": named, "bad_row_left": int(left)}, kept

    def timed(self, askers, text):
        """The time from asking all of them at once to the last one's answer, in milliseconds."""
        # The servers' parallel workers are still ending when an answer has come.
        time.sleep(QUIET_S)
        began = time.monotonic()
        for asker in askers:
            asker.stdin.write(f"{text};\n\\echo answered\n")
            asker.stdin.flush()
        if any(asker.stdout.readline() != "answered\n" for asker in askers):
            raise BenchError(f"{text} failed")
        return (time.monotonic() - began) * 1000

    def reads(self):
        results, kept = {}, True
        enough = (os.cpu_count() or 1) >= SHARDS
        stores, proxy = ([psql(target, "-o", "/dev/null", stdin=subprocess.PIPE, stdout=subprocess.PIPE) for target in targets]
                         for targets in (self.stores, [self.proxy]))
        for name, text in READS.items():
            # In turns, since a machine's speed changes; what is first asked of a connection does not count.
            rounds = [([self.timed([store], text) for store in stores], self.timed(stores, text), self.timed(proxy, text))
                      for _ in range(READ_ROUNDS * self.rounds + 1)][1:]
            slowest = max(statistics.median(times) for times in zip(*(alone for alone, _, _ in rounds)))
            together, through = (statistics.median(times) for times in list(zip(*rounds))[1:])
            kept &= through / (slowest if enough else max(slowest, together)) <= READ_MOST
            results[name] = {"slowest_ms": slowest, "together_ms": together, "through_ms": through}
            print(f"scatter: {name}: {through:.1f} ms; slowest shard alone {slowest:.1f} ms ({through / slowest:.2f} times), "
                  f"all shards at once {together:.1f} ms ({through / together:.2f} times; promised {READ_MOST})", flush=True)
        for asker in stores + proxy:
            asker.communicate()
        return results, kept

    def passes(self):
        self.reset_peak()
        text = f"select user_id, n, note from {TABLE}, generate_series(1, 10) n"
        route = sql(self.proxy, f"explain (route) {text}")
        began = time.monotonic()
        # psql keeps the rows of a SELECT, and passes those of a COPY on.
        reader = psql(self.proxy, "-c", f"copy ({text}) to stdout", stdout=subprocess.PIPE)
        count = sum(1 for _ in reader.stdout)
        if reader.wait() or count != 10 * self.rows:
            raise BenchError(f"{count} rows of {10 * self.rows} came")
        took, peak = time.monotonic() - began, self.peak_kib()
        print(f"scatter: {count} rows passed on in {took:.1f} s, proxy at most {peak} KiB (promised {PASS_KIB_MOST})", flush=True)
        return {"rows": count, "seconds": took, "peak_kib": peak, "route": route.splitlines()[0]}, peak <= PASS_KIB_MOST


def measure(bench):
    told, kept = {"processors": os.cpu_count()}, True
    # Reads first: once a costly statement has had PostgreSQL load its JIT compiler, each parallel worker of that connection loads it too and starts
    # some milliseconds late.
    for name in ("reads", "passes", "copies"):
        told[name], within = getattr(bench, name)()
        kept &= within
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    (results / "scatter.json").write_text(json.dumps(told, indent=2) + "\n")
    return kept


def main():
    folder = Path(tempfile.mkdtemp(prefix="shardyard-scatter-"))
    folder.chmod(0o755)
    try:
        with contextlib.ExitStack() as stack:
            program = build({"shardyard"})["shardyard"]
            return 0 if measure(Bench(program, folder, stack)) else 1
    except BenchError as error:
        print(f"scatter: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
