#!/bin/sh
# Runs the tests that take long by nature: the random test, all acceptance tests over REST,
# the consumers, and the chaos test over each transport. It stops at the first failure.
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

for transport in soap rest; do
	title "chaos over $transport for $ECGRID_CHAOS"
	ECGRID_TRANSPORT=$transport go test -count=1 -timeout 0 -v -run Chaos ./acceptance/chaos
done
