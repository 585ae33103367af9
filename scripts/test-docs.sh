#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs every ```sh block of README.md and docs/*.md on a real Vault with the plugin and an
# ECGrid simulator (see acceptance/docs_test.go). It is part of make test.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"
VAULT_BIN=$(scripts/vault.sh)
PLUGIN_BIN=$PWD/bin/vault-plugin-ecgrid
export VAULT_BIN PLUGIN_BIN
go test -count=1 -timeout 5m -run '^TestDocs$' -v ./acceptance
