#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs the tests that take long by nature: random actions, all acceptance tests over REST, the
# consumers, FIPS mode, alert rules, fuzz targets, soak, and cluster and chaos tests over each
# transport. It stops at the first failure.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"

VAULT_BIN=$(scripts/vault.sh)
PLUGIN_BIN=$PWD/bin/vault-plugin-ecgrid
ECGRID_CHAOS=${ECGRID_CHAOS:-10m}
export VAULT_BIN PLUGIN_BIN ECGRID_CHAOS
title() { printf '\n== %s\n' "$*"; }

title "random actions for ${ECGRID_RANDOMLY:=10m}"
ECGRID_RANDOMLY=$ECGRID_RANDOMLY go test -count=1 -timeout 0 -v -run 'TestRandomly$' ./backend

title "all acceptance tests over REST"
ECGRID_TRANSPORT=rest go test -count=1 -timeout 15m ./acceptance

title "alert rules and a scrape by a real Prometheus"
PROMTOOL_BIN=$(scripts/prometheus.sh promtool --build)
PROMETHEUS_BIN=$(scripts/prometheus.sh prometheus --build)
export PROMTOOL_BIN PROMETHEUS_BIN
go test -count=1 -run 'TestAlertRules|TestPrometheus' ./acceptance

title "FIPS 140 mode"
scripts/fips.sh

title "consumers, with their scheduled rotations"
scripts/consumers.sh

title "soak for ${ECGRID_SOAK:=30m}, and 100 mounts"
ECGRID_SOAK=$ECGRID_SOAK go test -count=1 -timeout 0 -v ./acceptance/soak

title "fuzz targets, ${FUZZTIME:=10m} each"
FUZZTIME=$FUZZTIME scripts/fuzz.sh

for transport in soap rest; do
	title "a cluster of three nodes, and restored snapshots, over $transport"
	ECGRID_TRANSPORT=$transport go test -count=1 -v -timeout 60m ./acceptance/cluster

	title "chaos over $transport for $ECGRID_CHAOS"
	ECGRID_TRANSPORT=$transport go test -count=1 -timeout 0 -v -run Chaos ./acceptance/chaos
done
