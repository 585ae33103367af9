#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Prints the path of a terraform or tofu that can run examples/terraform. Messages go to
# stderr.
#
#   scripts/tofu.sh             one on PATH, else the cached build, else builds one
#   scripts/tofu.sh --no-build  the same, but fails (status 3) instead of building
#
# It builds the OpenTofu release that tools/tofu/go.mod pins, once, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-ecgrid. That takes minutes.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

# 1.11 of both has ephemeral resources and write-only arguments.
min_minor=11

me=tofu.sh
packages=1500
# shellcheck source=scripts/build_once.sh
. "$root/scripts/build_once.sh"

CHECKPOINT_DISABLE=1 # terraform version must not ask for news
TF_CLI_CONFIG_FILE=/dev/null
export CHECKPOINT_DISABLE TF_CLI_CONFIG_FILE

# version_of FILE: prints 1.12.6 for "OpenTofu v1.12.6" or "Terraform v1.12.6", and nothing
# for other programs.
version_of() {
	"$1" version </dev/null 2>/dev/null | sed -n -e '1s/^OpenTofu v\([0-9][0-9A-Za-z.+-]*\).*/\1/p' -e '1s/^Terraform v\([0-9][0-9A-Za-z.+-]*\).*/\1/p'
}

# fit FILE: fails if the examples need a newer version.
fit() {
	v=$(version_of "$1")
	minor=${v#*.}
	minor=${minor%%.*}
	case $v in
	1.*) [ "$minor" -ge "$min_minor" ] ;;
	*) [ -n "$v" ] && [ "${v%%.*}" -gt 1 ] ;;
	esac
}

# Without version.dev=no, the program calls itself a development version.
compile() {
	cd "$root/tools/tofu"
	CGO_ENABLED=0 exec go build -v -trimpath -ldflags '-s -w -X github.com/opentofu/opentofu/version.dev=no' \
		-o "$tmp" github.com/opentofu/opentofu/cmd/tofu
}

mode=${1:-}
case $mode in '' | --no-build) ;; *) die "unknown option $mode" ;; esac

for name in terraform tofu; do
	on_path=$(command -v "$name" 2>/dev/null) || continue
	! fit "$on_path" || found "$(absolute "$on_path")" # PATH may have relative directories
	say "not using $on_path, which is not a $name 1.$min_minor or newer"
done

version=$(sed -n 's|^require github.com/opentofu/opentofu v\([0-9][^[:space:]]*\).*|\1|p' "$root/tools/tofu/go.mod")
[ -n "$version" ] || die "tools/tofu/go.mod has no version of github.com/opentofu/opentofu"
what="OpenTofu $version"
advice="Put a terraform or tofu 1.$min_minor or newer on PATH."
cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/vault-plugin-ecgrid/tofu-$version
bin=$cache/tofu
cached_or_built "$mode"
