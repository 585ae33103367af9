#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Prints the commit: 12 digits, with "-dirty" if tracked files differ from it, or
# "unknown" outside a git work tree.
cd -- "$(dirname -- "$0")/.." || exit 1
if ! commit=$(git rev-parse -q --verify --short=12 HEAD 2>/dev/null); then
	echo unknown
elif git diff --quiet HEAD -- 2>/dev/null; then
	echo "$commit"
else
	echo "$commit-dirty"
fi
