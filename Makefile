# SPDX-License-Identifier: MPL-2.0

# The values of main.version and main.commit. "-dirty": tracked files differ from the commit.
VERSION ?= v0.1.0
COMMIT ?= $(shell scripts/commit.sh)

# The user's Go settings must not affect the build.
GO = root=. && . scripts/env.sh && go
GO_BUILD = export CGO_ENABLED=0 && $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)"

.DEFAULT_GOAL := help
.PHONY: help build test test-long test-docs test-consumers demo dev bench lint release fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build bin/vault-plugin-ecgrid and bin/ecgrid-simulator: static, with version and commit (VERSION=vX.Y.Z)
	$(GO_BUILD) -o bin/vault-plugin-ecgrid ./cmd/vault-plugin-ecgrid
	$(GO_BUILD) -o bin/ecgrid-simulator ./cmd/ecgrid-simulator

test: build ## run all tests: unit (race detector), gRPC, fuzz seeds, and acceptance on a real Vault (built once, which takes minutes), and consumers by their own code
	@scripts/test.sh

test-long: build ## run what takes hours: random actions, soak, fuzz targets, cluster and chaos tests over each transport (ECGRID_RANDOMLY, ECGRID_SOAK, FUZZTIME, ECGRID_CHAOS: how long each; not part of make test)
	@scripts/test-long.sh

test-docs: build ## run the commands of README.md and docs/ on a real Vault and compare their output (part of make test)
	@scripts/test-docs.sh

test-consumers: build ## run Vault Agent, operators, Terraform and clients against a real Vault, and print the table of docs/consumers.md (part of make test)
	@scripts/consumers.sh

demo: build ## show a leased key, a REST call with it and a rotation on a real Vault, then remove everything
	@scripts/demo.sh

dev: build ## run a Vault with the plugin and a simulator, and print commands to try; Ctrl-C stops them
	@scripts/dev.sh

bench: build ## measure the plugin beside plugins that do nothing, on a real Vault: writes docs/performance.md (about 25 minutes; BENCH="-quick": a few)
	@VAULT_BIN=$$(scripts/vault.sh) && export VAULT_BIN && $(GO) -C bench run . $(BENCH)

lint: ## run gofmt, go vet, staticcheck (pinned in tools/go.mod), and shellcheck if it is installed
	@scripts/lint.sh

release: ## build dist/ with archives, licenses, sums, SBOMs and OCI images for all platforms (VERSION=vX.Y.Z; PLATFORMS="linux/amd64 …"; FIPS=1; SIGN_KEY=…)
	@scripts/release.sh

fmt: ## format all Go files
	gofmt -w .

clean: ## remove bin/ and dist/, but not the programs in your cache (see scripts/build_once.sh)
	rm -rf bin dist
