#!/bin/sh
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
trap 'rm -rf "$tmp"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
ECGRID_CONSUMERS_REPORT=$tmp/rows
export VAULT_BIN PLUGIN_BIN ECGRID_CONSUMERS_REPORT
: >"$ECGRID_CONSUMERS_REPORT"

# The tests mostly wait, so all modules run at once. Their output comes in one piece each.
run() {
	name=$1
	shift
	"$@" >"$tmp/$name.log" 2>&1 || : >"$tmp/$name.failed"
}
module() {
	# shellcheck disable=SC2086
	go -C "$1" test -count=1 -timeout 15m -parallel 4 -ldflags='-s -w' $short ./...
}
go run ./acceptance/consumers/esocopy || exit 1
if [ -n "$build" ]; then
	for mod in acceptance/consumers/*/go.mod; do
		go -C "$(dirname "$mod")" vet ./... || exit 1 # compiles all packages, and links nothing
	done
	exit
fi
modules=
for mod in acceptance/consumers/*/go.mod; do
	dir=$(dirname "$mod")
	name=$(basename "$dir")
	modules="$modules $name"
	run "$name" module "$dir" &
done
# shellcheck disable=SC2086 # an empty flag is no word
run agent-and-clients go test -count=1 -timeout 15m -parallel 4 $short ./acceptance/consumers/... &
wait

failed=
for name in agent-and-clients $modules; do
	cat "$tmp/$name.log"
	[ ! -e "$tmp/$name.failed" ] || failed="$failed $name"
done
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
# Each consumer has a row in the page, whichever of its paths could be run here.
while IFS='|' read -r _ consumer _; do
	grep -qF "|${consumer%%,*}" "$page" || failed="$failed (no row in $page for$consumer)"
done <"$ECGRID_CONSUMERS_REPORT"
[ -z "$failed" ] || {
	echo "consumers that failed:$failed" >&2
	exit 1
}
