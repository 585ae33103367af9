#!/bin/sh
# Puts vault-plugin-ecgrid @VERSION@ for @PLATFORM@ into the catalog of the Vault
# that VAULT_ADDR and VAULT_TOKEN name. Before that, copy the binary beside this
# file into the plugin_directory of every node.
#
#   ./register.sh                 it is called @BINARY@ there
#   ./register.sh -command=NAME   it is called NAME there: an upgrade, since the
#                                 old binary has to stay until no mount uses it
#
# VAULT_BIN: the command to use instead of vault, such as OpenBao's bao.
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
case $command in */*) fail "-command is the name of a file in plugin_directory, without a path" ;; esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sum=$(sed -n "s/^\([0-9a-f]\{64\}\)  $binary\$/\1/p" "$here/SHA256SUMS")
[ -n "$sum" ] || fail "SHA256SUMS does not name $binary"

# All of them print the sum first.
if command -v sha256sum >/dev/null 2>&1; then
	actual=$(sha256sum <"$here/$binary")
elif command -v shasum >/dev/null 2>&1; then
	actual=$(shasum -a 256 <"$here/$binary")
else
	actual=$(openssl dgst -sha256 -r <"$here/$binary")
fi
[ "${actual%% *}" = "$sum" ] || fail "$binary is not the one of $version: its SHA-256 is not the one in SHA256SUMS"

set -- plugin register -sha256="$sum" -version="$version"
[ "$command" = "$name" ] || set -- "$@" -command="$command"
exec "${VAULT_BIN:-vault}" "$@" secret "$name"
