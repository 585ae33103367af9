#!/bin/sh
# Copies External Secrets Operator from the module cache to bin/.external-secrets, to which
# go.mod points. The copy registers only the providers and generators of register/. With all
# of them, go would compile the libraries of every cloud. Nothing else is changed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../../.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

module=github.com/external-secrets/external-secrets
sum='h1:iNY+gIgSyL5higXTfnz+hdPCaiB/43UiHLqE7HBpj68='
copy=$root/bin/.external-secrets

version=$(sed -n "s|^\(require\)\{0,1\}[[:space:]]*$module \(v[^[:space:]]*\).*|\2|p" "$here/go.mod")
stamp="$version $(cat "$here"/register/*.go | cksum)"
[ "$(cat "$copy/stamp" 2>/dev/null || true)" != "$stamp" ] || exit 0

tmp=$root/bin/.external-secrets.$$
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"
json=$(cd "$TMPDIR" && go mod download -json "$module@$version") # outside of any module
field() { printf '%s\n' "$json" | sed -n "s|^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}\$|\1|p"; }
if [ "$(field Sum)" != "$sum" ]; then
	printf 'prepare.sh: %s %s has another checksum than this script: change both together\n' "$module" "$version" >&2
	exit 1
fi
dir=$(field Dir)
cp -R "$dir/go.mod" "$dir/apis" "$dir/pkg" "$dir/config" "$tmp/"
chmod -R u+w "$tmp"
find "$tmp" -name '*_test.go' -exec rm {} +
cp "$here/register/providers.go" "$tmp/pkg/provider/register/register.go"
cp "$here/register/generators.go" "$tmp/pkg/generator/register/register.go"
printf '%s\n' "$stamp" >"$tmp/stamp"
rm -rf "$copy"
mv "$tmp" "$copy"
