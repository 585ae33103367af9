#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Registers vault-plugin-ecgrid @VERSION@ for @PLATFORM@ in the catalog of the Vault at
# VAULT_ADDR, with VAULT_TOKEN. First copy the binary beside this file into the
# plugin_directory of every node.
#
#   ./register.sh                 the copy is called @BINARY@
#   ./register.sh -command=NAME   the copy is called NAME: for an upgrade, since the old
#                                 binary has to stay until no mount uses it
#
# VAULT_BIN: a command to use instead of vault, such as OpenBao's bao.
set -eu

name=vault-plugin-ecgrid
version=@VERSION@
binary=@BINARY@

fail() {
	printf 'register.sh: %s\n' "$*" >&2
	exit 1
}

command=$binary
case $#:${1:-} in
0:) ;;
1:-command=?*) command=${1#-command=} ;;
*) fail "usage: ./register.sh [-command=NAME]" ;;
esac
case $command in */*) fail "-command must be the name of a file in plugin_directory, without a path" ;; esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sum=$(sed -n "s/^\([0-9a-f]\{64\}\)  $binary\$/\1/p" "$here/SHA256SUMS")
[ -n "$sum" ] || fail "SHA256SUMS has no entry for $binary"

# Each prints the sum first.
if command -v sha256sum >/dev/null 2>&1; then
	actual=$(sha256sum <"$here/$binary")
elif command -v shasum >/dev/null 2>&1; then
	actual=$(shasum -a 256 <"$here/$binary")
else
	actual=$(openssl dgst -sha256 -r <"$here/$binary")
fi
[ "${actual%% *}" = "$sum" ] || fail "$binary is not the one of $version: its SHA-256 differs from SHA256SUMS"

set -- plugin register -sha256="$sum" -version="$version"
[ "$command" = "$name" ] || set -- "$@" -command="$command"
exec "${VAULT_BIN:-vault}" "$@" secret "$name"
