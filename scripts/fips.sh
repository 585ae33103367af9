#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Builds the plugin in FIPS 140 mode, as make release FIPS=1 does, into bin/fips. Then it runs
# the core of the acceptance tests with it: with fips140=on, which the build has by default,
# and with fips140=only, which fails at the first use of an algorithm that is not approved.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"

VAULT_BIN=$(scripts/vault.sh)
ECGRID_FIPS=1
export VAULT_BIN ECGRID_FIPS
core='^Test(FIPS|MainJob|Config|RefusedConfig|Untrusted|Faults|Lease|Renew|Revoke|RotateOnRevoke|RotationInTheCLI|UnconfirmedRotateRoot|LogoutOn)'
fips_module=$(sed -n 's/^fips_module=\([^ ]*\).*/\1/p' scripts/release.sh)
title() { printf '\n== %s\n' "$*"; }

title "build: GOFIPS140=$fips_module"
mkdir -p bin/fips
(export CGO_ENABLED=0 GOFIPS140="$fips_module" &&
	go build -trimpath -ldflags "-s -w -X main.version=v0.1.0 -X main.commit=$(scripts/commit.sh)" -o bin/fips/vault-plugin-ecgrid ./cmd/vault-plugin-ecgrid)
go version -m bin/fips/vault-plugin-ecgrid | grep -E 'GOFIPS140|DefaultGODEBUG'

title "fips140=on: go test ./acceptance -run '$core'"
PLUGIN_BIN=$PWD/bin/fips/vault-plugin-ecgrid go test -count=1 -timeout 10m ./acceptance -run "$core"

title "the same with fips140=only"
# Vault would hand its own GODEBUG to the plugin, and is not built for this mode itself.
printf '#!/bin/sh\nGODEBUG=fips140=only exec "%s" "$@"\n' "$PWD/bin/fips/vault-plugin-ecgrid" >bin/fips/only
chmod 755 bin/fips/only
PLUGIN_BIN=$PWD/bin/fips/only go test -count=1 -timeout 10m ./acceptance -run "$core"
