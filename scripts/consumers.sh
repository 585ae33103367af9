#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs every program that docs/consumers.md names, by its own code, against a real Vault with
# the plugin and an ECGrid simulator. It prints the table of that page: what ran, in which
# version, and how soon it had a replaced key. It is part of make test.
#
#   scripts/consumers.sh          all tests
#   scripts/consumers.sh -short   without those that wait minutes for scheduled rotations
#   scripts/consumers.sh -build   only compiles what the tests need, which takes minutes the first time
#   scripts/consumers.sh -write   all tests, and puts the table into docs/consumers.md
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root" || exit 1
short=
write=
build=
case ${1:-} in
'') ;;
-build) build=yes ;;
-short) short=-short ;;
-write) write=yes ;;
*)
	echo "consumers.sh: unknown option $1" >&2
	exit 2
	;;
esac
VAULT_BIN=$(scripts/vault.sh) || exit 1
PLUGIN_BIN=$PWD/bin/vault-plugin-ecgrid
tmp=$(mktemp -d "$TMPDIR/ecgrid-consumers.XXXXXX") || exit 1
pids=
# shellcheck disable=SC2317 # called by the trap
tidy_up() {
	for pid in $pids; do kill "$pid" 2>/dev/null; done
	rm -rf "$tmp"
}
trap tidy_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
ECGRID_CONSUMERS_REPORT=$tmp/rows
export VAULT_BIN PLUGIN_BIN ECGRID_CONSUMERS_REPORT
: >"$ECGRID_CONSUMERS_REPORT"

go run ./scripts/esocopy || echo "consumers.sh: External Secrets cannot be run" >&2
if [ -n "$build" ]; then
	for mod in acceptance/consumers/*/go.mod; do
		go -C "$(dirname "$mod")" vet ./... || exit 1 # compiles all packages, and links nothing
	done
	exit
fi

# The tests mostly wait, so all modules run at once. Their output comes in one piece each.
begin() {
	name=$1
	dir=$2
	shift 2
	# shellcheck disable=SC2086 # an empty flag is no word
	go -C "$dir" test -count=1 -timeout 15m -parallel 4 -ldflags='-s -w' $short "$@" >"$tmp/$name.log" 2>&1 &
	pids="$pids $!"
	begun="$begun $name=$!"
}
begun=
begin agent-and-clients . ./acceptance/consumers/...
for mod in acceptance/consumers/*/go.mod; do
	dir=$(dirname "$mod")
	begin "$(basename "$dir")" "$dir" ./...
done

failed=
for one in $begun; do
	wait "${one#*=}" || failed="$failed ${one%=*}"
	cat "$tmp/${one%=*}.log"
done
pids=
{
	echo "| Consumer | Version run | How the key arrives | New key after a rotation | While ECGrid is down | While Vault is down | Notes |"
	echo "|---|---|---|---|---|---|---|"
	LC_ALL=C sort "$ECGRID_CONSUMERS_REPORT"
} >"$tmp/table"
echo
cat "$tmp/table"

page=docs/consumers.md
if [ -n "$write" ] && [ -z "$failed" ]; then
	awk -v table="$tmp/table" '
		/^<!-- table -->$/ { print; print ""; while ((getline line <table) > 0) print line; skip = 1; next }
		skip && !/^\|/ && !/^$/ { skip = 0; print "" }
		!skip' "$page" >"$tmp/page" && cat "$tmp/page" >"$page"
fi
# Each consumer has a row in the page. One that cannot be run has none for each path.
while IFS='|' read -r _ consumer version _; do
	case $version in ' not run'*) consumer=${consumer%%,*} ;; *) consumer="$consumer|" ;; esac
	grep -qF "|${consumer% }" "$page" || failed="$failed (no row in $page for$consumer)"
done <"$ECGRID_CONSUMERS_REPORT"
[ -z "$failed" ] || {
	echo "consumers that failed:$failed" >&2
	exit 1
}
