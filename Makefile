# Thin on purpose: scripts/setup.sh sets up, crates/xtask does the work. `make help` lists what there is.
XTASK := cargo run --release -p xtask --
PG ?= 15
# The folder of the real data sets, for tests and demo; tools run in several folders, so it is made absolute.
ifdef DAMSON_DATA
export DAMSON_DATA := $(abspath $(DAMSON_DATA))
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo reference test check fmt install package bench quality ptx psql stop clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1 |/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## install what is missing: Debian packages, Python environment
	@scripts/setup.sh

demo: setup ## build, start a private server, load real data, tell the story in SQL
	@$(XTASK) demo --pg $(PG)

test: setup ## every check and test on PG 15 and 18; ONLY=name runs one, PG=15 one version
	@$(XTASK) test $(if $(ONLY),--only $(ONLY)) $(if $(filter command line environment,$(origin PG)),--pg $(PG))

check: ## formatting, walls, clippy, rustdoc: what needs no server
	@$(XTASK) check

fmt: ## format the Rust code
	@cargo fmt --all

install: ## install into a server: PG_CONFIG=/path/to/pg_config [DESTDIR=dir]
	@test -n "$(PG_CONFIG)" || { echo "say which server: make install PG_CONFIG=/path/to/pg_config"; exit 1; }
	@scripts/setup.sh tools
	@$(XTASK) install --pg-config $(PG_CONFIG) $(if $(DESTDIR),--destdir $(DESTDIR))

package: ## a tarball that installs without Rust: PG_CONFIG=/path/to/pg_config
	@test -n "$(PG_CONFIG)" || { echo "say which server: make package PG_CONFIG=/path/to/pg_config"; exit 1; }
	@scripts/setup.sh tools
	@$(XTASK) package --pg-config $(PG_CONFIG)

reference: setup ## write docs/reference.md from the extension's own comments
	@$(XTASK) reference --pg $(PG)

bench: setup ## benchmarks against peers; BENCH=name runs one, such as the long cifar10 and fashion_mnist
	@$(XTASK) bench $(BENCH)

quality: setup ## write docs/quality.md: boosting's hold-out quality beside LightGBM's on real data
	@$(XTASK) bench quality

ptx: ## compile the GPU's kernels to crates/nn/src/cuda/kernels.ptx, after a change of kernels.cu
	@scripts/ptx.sh

psql: setup ## build, install, start the private server PG=15, open psql in it
	@$(XTASK) psql --pg $(PG)

stop: ## stop the private servers
	@$(XTASK) stop

clean: ## stop them, and remove what was built
	@$(XTASK) clean
