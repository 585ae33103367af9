#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Builds dist/ from the current commit: make release VERSION=vX.Y.Z. docs/release.md
# describes the files. The same commit and Go version give the same bytes.
#
#   VERSION            vX.Y.Z
#   PLATFORMS          some of the platforms below instead of all
#   FIPS=1             also build the plugin for Linux in FIPS 140 mode
#   SIGN_KEY           sign the sums with this key of gpg; see sign.sh
#   FORCE=1            release a work tree with changes; its commit then ends in -dirty
#   SOURCE_DATE_EPOCH  the time of all files, instead of the commit's
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"
cd "$root"

fips_module=v1.0.0 # of Go's lib/fips140, which lists it as certified
all='darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64 linux/amd64 linux/arm64 windows/amd64 windows/arm64'
programs='vault-plugin-ecgrid ecgrid-simulator'

say() { printf 'release: %s\n' "$*"; }
die() {
	printf 'release: %s\n' "$*" >&2
	exit 1
}

version=${VERSION:-}
number='(0|[1-9][0-9]*)'
case $version in
'') die "set the version: make release VERSION=vX.Y.Z" ;;
*[!v0-9.]*) valid= ;; # also a line break, which grep would not see
*) valid=$(printf '%s\n' "$version" | grep -Ex "v$number\.$number\.$number" || true) ;;
esac
[ -n "$valid" ] || die "'$version' is not a version: use vX.Y.Z, as in v1.2.3"

platforms=${PLATFORMS:-$all}
for platform in $platforms; do
	case " $all " in *" $platform "*) ;; *) die "unknown platform '$platform': PLATFORMS takes some of $all" ;; esac
done

case ${FIPS:-} in '' | 0 | 1) ;; *) die "FIPS is '$FIPS': use FIPS=1 or leave it out" ;; esac
if [ -n "${SIGN_KEY:-}" ]; then # before minutes of building
	scripts/sign.sh -check "$SIGN_KEY" || die "SIGN_KEY is not usable (see above)"
fi

commit=$(git rev-parse -q --verify --short=12 HEAD 2>/dev/null) || die "this is not a git work tree with a commit"
changes=$(git status --porcelain --untracked-files=all)
if [ -n "$changes" ]; then
	printf '%s\n' "$changes" >&2
	[ "${FORCE:-}" = 1 ] || die "the work tree differs from its commit $commit (above): commit the changes, or set FORCE=1"
	commit=$commit-dirty
	say "FORCE=1: releasing a work tree that differs from its commit, as $commit; nobody can build it again"
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# Other settings of the user that would change the binaries.
GOEXPERIMENT='' GOFIPS140=off GOAMD64=v1 GOARM64=v8.0 CGO_ENABLED=0
export GOEXPERIMENT GOFIPS140 GOAMD64 GOARM64 CGO_ENABLED SOURCE_DATE_EPOCH
unset GOOS GOARCH

# A failure leaves no dist/.
rm -rf dist
trap '[ "$?" -eq 0 ] || rm -rf dist' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# build OS ARCH NAME DIRECTORY
build() {
	exe=
	[ "$1" != windows ] || exe=.exe
	GOOS=$1 GOARCH=$2 go build -trimpath -ldflags "-s -w -X main.version=$version -X main.commit=$commit" \
		-o "dist/bin/$4/$3$exe" "./cmd/$3"
}

for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/}
	say "$platform"
	for name in $programs; do
		build "$os" "$arch" "$name" "${os}_$arch"
	done
	if [ "${FIPS:-}" = 1 ] && [ "$os" = linux ]; then
		say "$platform in FIPS 140 mode"
		(GOFIPS140=$fips_module && build "$os" "$arch" vault-plugin-ecgrid "${os}_${arch}_fips140")
	fi
done

# tools/release checks the modules of the programs. This checks those of tools/release itself.
(cd tools/release && go mod verify >/dev/null) ||
	die "a module of tools/release in the module cache is not what go.sum says (above): run go clean -modcache, then make release again"

say "archives with licenses, SBOMs, OCI images, sums"
git -c core.quotePath=off ls-files --cached --others --exclude-standard -- README.md CHANGELOG.md CONTRIBUTING.md LICENSE SECURITY.md docs examples |
	go -C tools/release run . -root "$PWD" -version "$version" -commit "$commit"
rm -rf dist/bin
find dist -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
if [ -n "${SIGN_KEY:-}" ]; then
	trap - EXIT # a wrong passphrase must not throw the builds away
	scripts/sign.sh "$SIGN_KEY" || die "$version is in dist/, not signed: run scripts/sign.sh $SIGN_KEY"
else
	say "not signed: set SIGN_KEY, or run scripts/sign.sh KEY"
fi
say "$version ($commit) is in dist/"
