#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs gofmt, go vet, staticcheck and, if it is installed, shellcheck. A failure does not
# stop the others.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root" || exit 1
failed=0

check() {
	printf '== %s\n' "$*"
	"$@" || failed=1
}

# shellcheck disable=SC2317 # called by check
formatted() {
	unformatted=$(gofmt -l .) || return 1
	[ -z "$unformatted" ] && return 0
	printf 'not gofmt-ed (make fmt):\n%s\n' "$unformatted"
	return 1
}

check formatted
check go vet ./...
check go tool -modfile=tools/go.mod staticcheck ./...
check go run ./scripts/esocopy # the module eso needs it
for module in bench acceptance/consumers/eso acceptance/consumers/terraform acceptance/consumers/vso examples/clients/go tools/release tools/examples tools/rest tools/compose; do
	check go -C "$module" vet ./...
done
check scripts/vuln.sh
if command -v shellcheck >/dev/null 2>&1; then
	check shellcheck -x scripts/*.sh .ci/run
else
	echo "== shellcheck is not installed: the scripts are not checked"
fi
exit "$failed"
