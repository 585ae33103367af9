#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Signs the sums of a release: scripts/sign.sh KEY. It writes dist/SHA256SUMS.sig, a detached
# OpenPGP signature in binary form.
#
# KEY is a fingerprint, key ID or address of a secret key that gpg has: in its keyring, on a
# smart card, or imported from a secret of the CI system. gpg or its agent asks for the
# passphrase. GNUPGHOME is another keyring than the user's.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"

die() {
	printf 'sign.sh: %s\n' "$*" >&2
	exit 1
}

[ "$#" -eq 1 ] || die "usage: scripts/sign.sh KEY"
case $1 in '' | -*) die "KEY is a fingerprint, key ID or address, not an option" ;; esac
[ -f dist/SHA256SUMS ] || die "there is no dist/SHA256SUMS: run make release first"
command -v gpg >/dev/null 2>&1 || die "put gpg (GnuPG 2) on PATH"

rm -f dist/SHA256SUMS.sig
trap '[ "$?" -eq 0 ] || rm -f dist/SHA256SUMS.sig' EXIT
gpg --batch --quiet --local-user "$1" --output dist/SHA256SUMS.sig --detach-sign dist/SHA256SUMS ||
	die "gpg did not sign with the key $1 (see above)"
chmod 644 dist/SHA256SUMS.sig
gpg --batch --quiet --verify dist/SHA256SUMS.sig dist/SHA256SUMS
