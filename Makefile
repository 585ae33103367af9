# What main.version and main.commit say. "-dirty": tracked files differ from the commit.
VERSION ?= v0.1.0
COMMIT ?= $(shell scripts/commit.sh)

GO_BUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)"

.DEFAULT_GOAL := help
.PHONY: help build test demo dev bench lint release fmt clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## bin/vault-plugin-ecgrid and bin/ecgrid-simulator: static, trimmed, version and commit inside (VERSION=vX.Y.Z)
	$(GO_BUILD) -o bin/vault-plugin-ecgrid ./cmd/vault-plugin-ecgrid
	$(GO_BUILD) -o bin/ecgrid-simulator ./cmd/ecgrid-simulator

test: build ## every test, with all its set-up: unit (race detector), gRPC, fuzz seeds, and a real Vault (built once, minutes)
	@scripts/test.sh

demo: build ## from nothing to a leased key and one REST call made with it, on a real Vault; then tidies up
	@scripts/demo.sh

dev: build ## the same, left running, with what to type; Ctrl-C ends it
	@scripts/dev.sh

bench: ## Go benchmarks: time and allocations of a read
	go test -run '^$$' -bench . -benchmem ./...

lint: ## gofmt, go vet, staticcheck (pinned in tools/go.mod); shellcheck where it is installed
	@scripts/lint.sh

release: ## release archives: not there yet
	@echo "make release: there is no release yet; 'make build VERSION=vX.Y.Z' makes the binaries" >&2
	@exit 1

fmt: ## gofmt every Go file
	gofmt -w .

clean: ## remove bin/ and dist/; the Vault in your cache stays (scripts/vault.sh says where)
	rm -rf bin dist
