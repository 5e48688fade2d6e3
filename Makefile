# What a person types. Each target installs what is missing first (scripts/setup).
.PHONY: help demo dev test soak regression fuzz bench bench-moves bench-scatter lint unit drivers

help:
	@echo "make demo   a cluster of four shards, filled and loaded; a fifth comes and goes; taken down again"
	@echo "make dev    the same set-up, staying up until Ctrl-C"
	@echo "make test   format, lints, every test, the drivers' suites"
	@echo "make soak   moves under 500 faults, saturation, the bank under 200 kills, 20,000 generated statements: prints its seeds"
	@echo "make regression   PostgreSQL's own regression scripts, fetched by apt, on a plain server and on four shards"
	@echo "make fuzz   every decoder, the tokenizer and the planner against random input, ten minutes each"
	@echo "make bench  direct PostgreSQL, PgBouncer and Shardyard side by side"
	@echo "make bench-moves   a move's copy against COPY through a pipe, and what its guards cost writers"
	@echo "make bench-scatter   COPY and reads over four shards against one server and against the shards themselves"
	@echo "make lint   format and lints only"

demo:
	@scripts/setup server
	@scripts/demo

dev:
	@scripts/setup server
	@scripts/demo --stay

test:
	@scripts/setup server drivers
	@scripts/test

soak:
	@scripts/setup server
	SHARDYARD_SOAK=1 cargo test --test model -- --nocapture
	SHARDYARD_SOAK=1 cargo test --test cluster -- --nocapture resharding
	SHARDYARD_SOAK=1 cargo test --test control -- --nocapture moves::shards_come_and_go
	SHARDYARD_SOAK=1 cargo test --test cluster -- saturation
	SHARDYARD_SOAK=1 cargo test --test cluster -- bank
	SHARDYARD_SOAK=1 cargo test --test cluster -- differential::seeds

regression:
	@scripts/setup server
	@scripts/regression

fuzz:
	@scripts/fuzz

bench:
	@scripts/setup server bench
	@scripts/bench

bench-moves:
	@scripts/setup server
	@python3 -B benches/moves.py

bench-scatter:
	@scripts/setup server
	@python3 -B benches/scatter.py

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
