# What main.version and main.commit say. "-dirty": tracked files differ from the commit.
VERSION ?= v0.1.0
COMMIT ?= $(shell scripts/commit.sh)

# The user's own settings for Go must not break ours.
GO = root=. && . scripts/env.sh && go
GO_BUILD = export CGO_ENABLED=0 && $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)"

.DEFAULT_GOAL := help
.PHONY: help build test test-long test-docs demo dev bench lint release fmt clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## bin/vault-plugin-ecgrid and bin/ecgrid-simulator: static, trimmed, version and commit inside (VERSION=vX.Y.Z)
	$(GO_BUILD) -o bin/vault-plugin-ecgrid ./cmd/vault-plugin-ecgrid
	$(GO_BUILD) -o bin/ecgrid-simulator ./cmd/ecgrid-simulator

test: build ## every test, with all its set-up: unit (race detector), gRPC, fuzz seeds, and a real Vault (built once, minutes)
	@scripts/test.sh

test-long: build ## 10 minutes of random worlds, then 10 of a bad ECGrid under load, and kills, on a real Vault (ECGRID_RANDOMLY=1h, ECGRID_CHAOS=1h for an hour each; not part of make test)
	ECGRID_RANDOMLY=$${ECGRID_RANDOMLY:-10m} && export ECGRID_RANDOMLY && $(GO) test -count=1 -timeout 0 -v -run 'TestRandomly$$' ./backend
	@VAULT_BIN=$$(scripts/vault.sh) && export VAULT_BIN && ECGRID_CHAOS=$${ECGRID_CHAOS:-10m} PLUGIN_BIN=$(CURDIR)/bin/vault-plugin-ecgrid && export ECGRID_CHAOS PLUGIN_BIN && $(GO) test -count=1 -timeout 0 -v ./acceptance/chaos

test-docs: build ## runs the commands of README.md and docs/ on a real Vault and compares what they print (part of make test)
	@scripts/test-docs.sh

demo: build ## from nothing to a leased key and one REST call made with it, on a real Vault; then tidies up
	@scripts/demo.sh

dev: build ## the same, left running, with what to type; Ctrl-C ends it
	@scripts/dev.sh

bench: ## Go benchmarks: time and allocations of a read
	$(GO) test -run '^$$' -bench . -benchmem ./...

lint: ## gofmt, go vet, staticcheck (pinned in tools/go.mod); shellcheck where it is installed
	@scripts/lint.sh

release: ## dist/ with archives, sums, SBOMs and an OCI image for all platforms (VERSION=vX.Y.Z; PLATFORMS="linux/amd64 …")
	@scripts/release.sh

fmt: ## gofmt every Go file
	gofmt -w .

clean: ## remove bin/ and dist/; the Vault in your cache stays (scripts/vault.sh says where)
	rm -rf bin dist
