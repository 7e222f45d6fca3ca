# What there is to do with a clone. `make test` is exactly what continuous integration runs.
.PHONY: build test lint fmt crds demo bench bench-quick bench-curves zeromq-figures guard guard-accept crash orders soak soak-attacks soak-cluster soak-disk flood suites image \
  reproducible e2e gitops grow figures dist cluster cluster-down

BUILT = $(abspath $(or $(CARGO_TARGET_DIR),target))
RELEASE = $(BUILT)/release

build:            # the programs, optimised
	cargo build --release --workspace --bins

test:             # everything, on a real node too where the machine can run one; installs what it needs
	bash .ci/run

lint:             # format and lints alone
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

crds:             # write crds/ from the Rust types
	cargo run --quiet -p leveret-operator -- crd --output crds
	cp crds/*.yaml charts/leveret/crds/

demo:             # a tour: broker, topology, messages, a repair; the programs are built for it with little optimisation
	@echo "make demo: builds the broker and the operator (the first time about four minutes on two cores; crates are downloaded),"
	@echo "then shows them at work for half a minute on ports 5672 and 15672 of this machine, and ends by itself."
	cargo build --profile demo -p leveret-broker -p leveret-operator --bin leveret-broker --bin leveret
	BIN=$(BUILT)/demo bash examples/demo.sh

bench:            # all loads, beside RabbitMQ, into docs/performance.md; needs root. BENCH_SECS, SCENARIOS: tests/load/bench.py
	python3 tests/load/bench.py

bench-quick:      # two minutes, to the terminal; RabbitMQ only where `make bench` has installed it
	python3 tests/load/bench.py --quick

bench-curves:     # what depth, queues, bindings, connections and unacknowledged messages cost, into docs/performance.md
	python3 tests/load/bench.py --curves

zeromq-figures:   # ZeroMQ's sockets through the broker, beside libzmq directly, to the terminal; needs libzmq3-dev and a C compiler
	python3 tests/load/zeromq.py

guard:            # instructions of the hot path, against those that were accepted
	python3 tests/load/guard.py

guard-accept:     # accept the present ones; commit broker/benches/guard.json and say why
	python3 tests/load/guard.py --accept

crash:            # two hundred rounds of kill -9 under load, and two hundred power cuts (needs root)
	cargo build --workspace --bins
	LEVERET_CRASH_ROUNDS=200 cargo test -p system-tests --test durability -- --nocapture kill_during_publish power_cut

soak-disk:        # half an hour: disk use follows what is live, with a slow queue between a hundred fast ones
	cargo build --release -p leveret-broker
	LEVERET_BROKER_BIN=$(RELEASE)/leveret-broker LEVERET_SOAK_SECS=1800 LEVERET_SOAK_SEGMENT=64MiB \
	  cargo test -p system-tests --test durability disk_use -- --nocapture

flood:            # ten gigabytes of persistent and of transient messages through a container of 256 MiB (needs root)
	cargo build --release -p leveret-broker
	LEVERET_BROKER_BIN=$(RELEASE)/leveret-broker LEVERET_FLOOD_MIB=10240 \
	  cargo test -p system-tests --test durability little_memory -- --nocapture

orders:           # namespace, Broker, definitions, operator and Secret deleted in all 480 ways, on a control plane; takes half an hour
	cargo build --workspace --bins
	REQUIRE_CLUSTER=1 LEVERET_ORDERS=all cargo test -p system-tests --test operator -- --nocapture orders

soak:             # crashes for hours, the wire under ten thousand mutated sessions, queues against their model
	cargo build --workspace --bins
	LEVERET_MODEL_CASES=20000 cargo test -p leveret-broker --lib model
	LEVERET_CRASH_ROUNDS=2000 cargo test -p system-tests --test durability -- --nocapture
	LEVERET_MUTATIONS=10000 cargo test -p system-tests --test conformance mutat -- --nocapture

soak-attacks:     # an hour: eight attackers beside a normal load, whose confirms' p99 stays under 50 ms, in 256 MiB (needs root)
	cargo build --release -p leveret-broker
	LEVERET_BROKER_BIN=$(RELEASE)/leveret-broker LEVERET_SOAK_SECS=$(or $(SECS),3600) LEVERET_SOAK_P99_MS=50 \
	  cargo test -p system-tests --test bounds -- --nocapture soak

soak-cluster:     # an hour: 500 objects edited and deleted at random while brokers, passwords and the operator come and go; on a control plane
	cargo build --release -p leveret-broker -p leveret-operator --bins
	REQUIRE_CLUSTER=1 LEVERET_BROKER_BIN=$(RELEASE)/leveret-broker LEVERET_OPERATOR_BIN=$(RELEASE)/leveret-operator \
	  LEVERET_SOAK_SECS=$(or $(SECS),3600) LEVERET_SOAK_OBJECTS=500 cargo test -p system-tests --test operator -- --nocapture soak

suites:           # the test suites of AMQP clients themselves; needs network, and takes twenty minutes. SUITES, PIKA_DIR: tests/suites/run.sh
	cargo build --release -p leveret-broker
	LEVERET_BROKER_BIN=$(RELEASE)/leveret-broker tests/suites/run.sh $(SUITES)

image:            # one image for all programs, as an OCI archive in dist/; no Docker needed
	.ci/release/image.sh

reproducible:     # the image twice, from clones in two folders: it must have the same digest
	.ci/release/reproducible.sh

figures: build    # a thousand queues, ten thousand objects, a gigabyte of Secrets, busy queues, troubles; on a control plane, takes minutes
	folder="$${CARGO_TARGET_DIR:-target}/release"; folder=$$(realpath "$$folder"); \
	LEVERET_FIGURES=1 LEVERET_OPERATOR_BIN=$$folder/leveret-operator LEVERET_BROKER_BIN=$$folder/leveret-broker \
	cargo test -p system-tests --test figures -- --nocapture --test-threads=1

gitops:           # commits become topology, by Argo CD's sync engine and by Flux's controller, which are built first
	tests/cluster/gitops.sh build
	tests/cluster/flux.sh build
	cargo build --workspace --bins
	REQUIRE_CLUSTER=1 REQUIRE_GITOPS=1 REQUIRE_FLUX=1 cargo test --workspace --test gitops

e2e:              # install to uninstall on a real node with real pods; needs root
	tests/e2e/run.sh
	$(MAKE) gitops

grow:             # a broker's volume grows under it, by a CSI driver on a real node; needs root
	tests/cluster/csi.sh
	cargo build --workspace --bins
	LEVERET_GROWS=1 LEVERET_PROGRAMS="$${CARGO_TARGET_DIR:-target}/debug" tests/e2e/run.sh

dist:             # what a release consists of, into dist/: chart, install.yaml, CRDs, programs, image, SBOM
	.ci/release/dist.sh

cluster:          # a control plane to try things on; prints its kubeconfig
	tests/cluster/up.sh cp

cluster-down:
	tests/cluster/down.sh cp
