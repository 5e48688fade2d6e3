#!/usr/bin/env python3
"""`make bench-moves`: what a move's copy and its guards cost, on this machine.

Copy: a third shard is added to two. The time from a wave's state `copying` to the end of its last chunk is compared with `COPY … TO STDOUT (FORMAT binary)` piped by psql into
`COPY … FROM STDIN` of the same rows, between the same two servers, into a table with the same primary key; in turns.
What is left of that state, the index on the bucket and ANALYZE, which no pipe makes, is told beside it.
Guard: pgbench updates single rows of a table under a move, at the source itself; in turns with the guard's trigger disabled.

Environment: BENCH_ROWS (1000000), BENCH_ROUNDS (3), BENCH_SECONDS (4) per turn of the guard, SHARDYARD (the program to use instead of building it).
Exit: 0 both within what is promised, 1 not, 2 the bench could not be set up.
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
from servers import BenchError, start_cluster, target_of

ROOT = Path(__file__).resolve().parent.parent
SHARDS = 2
TABLE = "moved"
COLUMNS = "user_id bigint PRIMARY KEY, balance bigint NOT NULL, note text NOT NULL"
GUARD = '"~~shardyard_guard"'
KEYS = 512
CLIENTS = 4
COPY_LEAST, GUARD_MOST = 0.8, 0.25
# The catalog notes when each wave entered each state.
WATCH = """create table public.wave_times (wave int, state text, at double precision);
create function public.note_wave() returns trigger language plpgsql as $$
begin
    insert into public.wave_times values (new.id, new.state, extract(epoch from clock_timestamp()));
    return null;
end $$;
create trigger note_wave after update of state on shardyard.wave for each row execute function public.note_wave()"""
WATCH_CHUNKS = """create function public.note_chunks() returns trigger language plpgsql as $$
begin
    if new.detail -> 'copying' ->> 'chunks_left' = '0' then
        insert into public.wave_times values (new.wave_id, 'copied', extract(epoch from clock_timestamp()));
    end if;
    return null;
end $$;
create trigger note_chunks after insert or update on shardyard.wave_progress for each row execute function public.note_chunks()"""


class Bench:
    def __init__(self, program, folder, stack):
        self.program, self.directory = program, folder / "cluster"
        self.rows = int(os.environ.get("BENCH_ROWS", "1000000"))
        self.rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
        self.seconds = int(os.environ.get("BENCH_SECONDS", "4"))
        stores, dsn = start_cluster(folder, program, SHARDS, stack)
        self.stores, self.proxy = [target_of(store) for store in stores], target_of(dsn)
        status = json.loads(self.run("dev", "status", "--json"))
        self.catalog, self.config = target_of(status["catalog"]), status["config"]
        printed = self.run("dev", "server", "extra").strip().splitlines()
        self.extra_dsn = printed[-1].strip()

    def run(self, *words):
        where = ["--dir", str(self.directory)] if words[0] == "dev" else ["--config", self.config]
        ran = subprocess.run([str(self.program), *words, *where], capture_output=True, text=True)
        if ran.returncode:
            raise BenchError(f"shardyard {' '.join(words)}: {ran.stderr.strip()}")
        return ran.stdout

    def fill(self):
        sql(self.proxy, f"create table {TABLE} ({COLUMNS})")
        for at, store in enumerate(self.stores):
            keys = f"generate_series(1::bigint, {self.rows}) n where shardyard.bucket(n) % {SHARDS} = {at}"
            sql(store, f"insert into {TABLE} select n, n % 1000, repeat('x', 20 + (n % 80)::int) from {keys}", f"vacuum analyze {TABLE}", "checkpoint")
        sql(self.catalog, *WATCH.split(";\n", 1)[:1], WATCH.split(";\n", 1)[1], WATCH_CHUNKS)

    def new_database(self, name):
        sql(target_of(self.extra_dsn), f"create database {name}")
        return re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", self.extra_dsn)

    def copies(self, number):
        """One move there and back: the rates of its waves and of the pipe, in rows a second."""
        name = f"extra_{number}"
        dsn = self.new_database(name)
        target = target_of(dsn)
        self.run("shard", "add", name, "--primary", dsn, "--wait", "--finalize")
        found = []
        for line in sql(self.catalog, f"""select w.id, w.source_id, c.at - a.at, d.at - c.at, p.at - d.at from shardyard.wave w
                join public.wave_times a on a.wave = w.id and a.state = 'arming' join public.wave_times c on c.wave = w.id and c.state = 'copying'
                join (select wave, min(at) as at from public.wave_times where state = 'copied' group by wave) d on d.wave = w.id
                join (select wave, min(at) as at from public.wave_times where state = 'catching up' group by wave) p on p.wave = w.id
                where w.move_id = (select max(id) from shardyard.move) order by 1""").splitlines():
            wave, source, armed, copied, indexed = line.split("|")
            buckets = sql(self.catalog, f"select string_agg(bucket::text, ',') from shardyard.wave_bucket where wave_id = {wave}")
            rows, piped = self.pipe(self.stores[int(source)], target, buckets)
            found.append({"wave": int(wave), "rows": rows, "armed_s": float(armed), "copied_s": float(copied), "indexed_s": float(indexed), "piped_s": piped})
        self.run("shard", "remove", name, "--wait", "--finalize")
        sql(target_of(self.extra_dsn), f"drop database {name} with (force)")
        return found

    def pipe(self, source, target, buckets):
        """The same rows once more, from a table of the source into an empty one of the target."""
        for server in (source, target):
            sql(server, "drop table if exists piped", f"create table piped ({COLUMNS})")
        rows = f"select * from {TABLE} where shardyard.bucket(user_id) = any ('{{{buckets}}}')"
        self.through(target, f"copy ({rows}) to stdout (format binary)", source, "copy piped from stdin (format binary)")
        sql(source, "vacuum analyze piped")
        for server in (source, target):
            sql(server, "checkpoint")
        began = time.monotonic()
        self.through(source, f"copy (select * from piped) to stdout (format binary)", target, "copy piped from stdin (format binary)")
        piped = time.monotonic() - began
        count = int(sql(target, "select count(*) from piped"))
        for server in (source, target):
            sql(server, "drop table piped")
        return count, piped

    @staticmethod
    def through(source, out, target, into):
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c"]
        reader = subprocess.Popen([*command, out, *source.arguments()], env=source.environment(), stdout=subprocess.PIPE)
        writer = subprocess.run([*command, into, *target.arguments()], env=target.environment(), stdin=reader.stdout)
        reader.stdout.close()
        if reader.wait() or writer.returncode:
            raise BenchError("a copy through a pipe failed")

    def guard(self):
        """Transactions a second with the guard and without, in turns."""
        dsn = self.new_database("guarded")
        self.run("shard", "add", "guarded", "--primary", dsn, "--rows-per-second", "100", "--finalize")
        deadline = time.monotonic() + 120
        while (found := sql(self.catalog, "select source_id from shardyard.wave where state = 'copying'")) == "":
            if time.monotonic() > deadline:
                raise BenchError("the move does not come to copy")
            time.sleep(0.1)
        source = self.stores[int(found)]
        keys = sql(source, f"select string_agg(user_id::text, ',') from (select user_id from {TABLE} order by md5(user_id::text) limit {KEYS}) k")
        script = self.directory.parent / "update.sql"
        script.write_text(f"\\set n random(1, {KEYS})\nupdate {TABLE} set balance = balance + 1 where user_id = ('{{{keys}}}'::bigint[])[:n];\n")
        rates = {"enable": [], "disable": []}
        for _ in range(self.rounds):
            for state, found in rates.items():
                sql(source, f"alter table {TABLE} {state} trigger {GUARD}", f"vacuum {TABLE}")
                found.append(self.pgbench(source, script))
        return statistics.median(rates["disable"]), statistics.median(rates["enable"])

    def pgbench(self, source, script):
        command = ["pgbench", "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1", "-T", str(self.seconds), "-f", str(script), *source.arguments()]
        ran = subprocess.run(command, env=source.environment(), capture_output=True, text=True)
        told = re.search(r"tps = ([0-9.]+) \(without", ran.stdout)
        if ran.returncode or not told:
            raise BenchError(f"pgbench: {ran.stderr.strip()}")
        return float(told[1])


def measure(bench):
    bench.fill()
    waves = []
    for number in range(bench.rounds):
        for wave in bench.copies(number):
            waves.append(wave)
            move, pipe = wave["rows"] / wave["copied_s"], wave["rows"] / wave["piped_s"]
            print(f"moves: {wave['rows']} rows: {move:,.0f} a second by the move, {pipe:,.0f} through the pipe: {move / pipe:.2f} "
                  f"(armed in {wave['armed_s']:.2f} s, copied in {wave['copied_s']:.2f} s, indexed and analyzed in {wave['indexed_s']:.2f} s, piped in {wave['piped_s']:.2f} s)", flush=True)
    ratio = statistics.median(wave["piped_s"] / wave["copied_s"] for wave in waves)
    whole = statistics.median(wave["piped_s"] / (wave["copied_s"] + wave["indexed_s"]) for wave in waves)
    unguarded, guarded = bench.guard()
    cost = 1 - guarded / unguarded
    print(f"moves: copy at {ratio:.2f} of the pipe (promised {COPY_LEAST}), {whole:.2f} with index and ANALYZE; "
          f"updates of a table under a move: {guarded:,.0f} a second, {unguarded:,.0f} without the guard: {cost:.0%} less (promised {GUARD_MOST:.0%})")
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    told = {"waves": waves, "copy_ratio": ratio, "copy_ratio_with_index": whole, "guarded_tps": guarded, "unguarded_tps": unguarded, "guard_cost": cost}
    (results / "moves.json").write_text(json.dumps(told, indent=2) + "\n")
    return ratio >= COPY_LEAST and cost <= GUARD_MOST


def main():
    folder = Path(tempfile.mkdtemp(prefix="shardyard-moves-"))
    folder.chmod(0o755)
    try:
        with contextlib.ExitStack() as stack:
            program = build({"shardyard"})["shardyard"]
            return 0 if measure(Bench(program, folder, stack)) else 1
    except BenchError as error:
        print(f"moves: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
