# Thin on purpose: scripts/setup.sh sets up, crates/xtask does the work. `make help` lists what there is.
XTASK := cargo run --release --quiet -p xtask --
PG ?= 15

.DEFAULT_GOAL := help
.PHONY: help setup fmt install psql stop clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1 |/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## install what is missing: Debian packages, Python environment
	@scripts/setup.sh

fmt: ## format the Rust code
	@cargo fmt --all

install: ## install into a server: PG_CONFIG=/path/to/pg_config [DESTDIR=dir]
	@test -n "$(PG_CONFIG)" || { echo "say which server: make install PG_CONFIG=/path/to/pg_config"; exit 1; }
	@$(XTASK) install --pg-config $(PG_CONFIG) $(if $(DESTDIR),--destdir $(DESTDIR))

psql: setup ## build, install, start the private server PG=15, open psql in it
	@$(XTASK) psql --pg $(PG)

stop: ## stop the private servers
	@$(XTASK) stop

clean: ## stop them, and remove what was built
	@$(XTASK) clean
