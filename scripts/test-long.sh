#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs the tests that take long by nature: random actions, all acceptance tests over REST, the
# consumers, FIPS mode, alert rules, fuzz targets, soak, and cluster and chaos tests over each
# transport. A failure does not stop the others. It ends with a table of what ran.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"

VAULT_BIN=$(scripts/vault.sh)
PLUGIN_BIN=$PWD/bin/vault-plugin-ecgrid
: "${ECGRID_RANDOMLY:=10m}" "${ECGRID_SOAK:=30m}" "${FUZZTIME:=10m}" "${ECGRID_CHAOS:=10m}"
export VAULT_BIN PLUGIN_BIN FUZZTIME

ran=
failed=

# step TITLE COMMAND... runs one of them.
step() {
	printf '\n== %s\n' "$1"
	began=$(date +%s)
	result=passed
	title=$1
	shift
	"$@" || result=FAILED
	[ "$result" = passed ] || failed=yes
	ran="$ran$result  $title  ($(($(date +%s) - began)) s)
"
}

prometheus() {
	PROMTOOL_BIN=$(scripts/prometheus.sh promtool --build) && PROMETHEUS_BIN=$(scripts/prometheus.sh prometheus --build) || return
	PROMTOOL_BIN=$PROMTOOL_BIN PROMETHEUS_BIN=$PROMETHEUS_BIN go test -count=1 -run 'TestAlertRules|TestPrometheus' ./acceptance
}

step "random actions for $ECGRID_RANDOMLY" \
	env ECGRID_RANDOMLY="$ECGRID_RANDOMLY" go test -count=1 -timeout 0 -v -run 'TestRandomly$' ./backend
step "all acceptance tests over REST" \
	env ECGRID_TRANSPORT=rest go test -count=1 -timeout 15m ./acceptance
step "alert rules and a scrape by a real Prometheus" prometheus
step "FIPS 140 mode" scripts/fips.sh
step "consumers, with their scheduled rotations" scripts/consumers.sh
step "soak for $ECGRID_SOAK, and 100 mounts" \
	env ECGRID_SOAK="$ECGRID_SOAK" go test -count=1 -timeout 0 -v ./acceptance/soak
step "fuzz targets, $FUZZTIME each" scripts/fuzz.sh
for transport in soap rest; do
	step "a cluster of three nodes, and restored snapshots, over $transport" \
		env ECGRID_TRANSPORT=$transport go test -count=1 -v -timeout 60m ./acceptance/cluster
	step "chaos over $transport for $ECGRID_CHAOS" \
		env ECGRID_TRANSPORT=$transport ECGRID_CHAOS="$ECGRID_CHAOS" go test -count=1 -timeout 0 -v -run Chaos ./acceptance/chaos
done

printf '\n== What ran\n%s' "$ran"
[ -z "$failed" ]
