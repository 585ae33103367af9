#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs all tests. Vault is built while the unit tests run, since that takes minutes the
# first time. Then the acceptance tests run on it.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root" || exit 1

tmp=$(mktemp -d "$TMPDIR/ecgrid-test.XXXXXX") || exit 1
vault_pid=
beside_pid=
# shellcheck disable=SC2317 # called by the trap
tidy_up() {
	[ -z "$vault_pid" ] || kill "$vault_pid" 2>/dev/null
	[ -z "$beside_pid" ] || kill "$beside_pid" 2>/dev/null
	rm -rf "$tmp"
}
trap tidy_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

failed=
title() { printf '\n== %s\n' "$*"; }

race_flag() {
	if go test -race -run '^$' errors >"$tmp/race" 2>&1; then
		echo -race
	else
		echo "the race detector is not available (it needs cgo and a C compiler): tests run without it" >&2
	fi
}

# beside NAME COMMAND... runs a command in the background until collect NAME.
beside() {
	name=$1
	shift
	"$@" >"$tmp/$name.log" 2>&1 &
	beside_pid=$!
}

# collect NAME waits for the command and prints its output.
collect() {
	wait "$beside_pid" || failed="$failed $1"
	beside_pid=
	cat "$tmp/$1.log"
}

others() {
	scripts/consumers.sh -short
	consumers=$?
	go test -count=1 -short -timeout 5m ./acceptance/cluster && return "$consumers"
}

title "vault: find it, or build it in the background"
nice scripts/vault.sh >"$tmp/vault" &
vault_pid=$!
race=$(race_flag)

title "unit, gRPC and fuzz seeds: go test $race"
# A failing go list must fail the run.
# shellcheck disable=SC2046,SC2086 # one word per package; an empty flag is no word
go list ./... >"$tmp/packages" &&
	go test $race -timeout 10m $(grep -v -e '/acceptance$' -e '/acceptance/chaos$' -e '/acceptance/consumers/' -e '/acceptance/cluster$' -e '/acceptance/soak$' "$tmp/packages") || failed="$failed unit"

title "the paths over REST: ECGRID_TRANSPORT=rest go test $race ."
# shellcheck disable=SC2086
ECGRID_TRANSPORT=rest go test $race -timeout 5m . || failed="$failed REST"

title "examples: check against schemas"
go -C tools/examples test -count=1 ./... || failed="$failed examples"

title "the simulator's REST API: a generated client of another hand"
go -C tools/rest test -count=1 ./... || failed="$failed OpenAPI"

title "vault"
if wait "$vault_pid"; then
	vault_pid=
	VAULT_BIN=$(cat "$tmp/vault")
	PLUGIN_BIN=$PWD/bin/vault-plugin-ecgrid
	export VAULT_BIN PLUGIN_BIN
	echo "$VAULT_BIN: $("$VAULT_BIN" version)"

	title "terraform or tofu: find it, or build it"
	scripts/tofu.sh || echo "there is none: examples/terraform is not run"

	title "consumers: compile them"
	scripts/consumers.sh -build || failed="$failed consumers-build"

	title "release: licenses and docs/dependencies.md"
	go -C tools/release test -count=1 ./... || failed="$failed release"

	# Two runs at once, since the tests mostly wait.
	beside others others
	title "acceptance tests on that vault: go test $race ./acceptance"
	# shellcheck disable=SC2086
	go test $race -count=1 -timeout 10m ./acceptance || failed="$failed acceptance"
	title "consumers by their own code, and the short core of the cluster tests"
	collect others

	# Left out are tests that use both transports or none, and the slowest. All of them run
	# over REST in make test-long. The race detector has seen the code of these tests above.
	other='^Test(Move|EveryReading|Release|Docs|Terraform|Kubernetes|Events|AlertRules|Prometheus|DisableRotatesNothing)'
	beside acceptance-REST env ECGRID_TRANSPORT=rest go test -count=1 -timeout 10m -p 1 -parallel 4 -skip "$other" ./acceptance ./acceptance/chaos
	title "chaos: go test $race ./acceptance/chaos"
	# shellcheck disable=SC2086
	go test $race -count=1 -timeout 10m ./acceptance/chaos || failed="$failed chaos"
	title "acceptance and chaos over REST, without $other"
	collect acceptance-REST

	title "a short benchmark on that vault: go test in bench"
	go -C bench test -count=1 ./... || failed="$failed bench"
else
	vault_pid=
	echo "there is no vault for the acceptance tests" >&2
	failed="$failed vault"
fi

[ -z "$failed" ] || {
	title "FAILED:$failed"
	exit 1
}
title "all tests passed"
