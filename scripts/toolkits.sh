#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Installs the SOAP toolkits of two tests in internal/simulator: zeep for the system's python3,
# by apt-get, and soap for node, by npm. Without a toolkit its test is skipped. .ci/run installs
# the same by itself.
#
# SOAP_NODE_PATH is where soap is put: a directory with the name node_modules. The tests read it
# too.
set -eu

case ${SOAP_NODE_PATH:-} in
/*/node_modules) ;;
*)
	echo "toolkits.sh: set SOAP_NODE_PATH to an absolute path that ends in /node_modules" >&2
	exit 2
	;;
esac

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-zeep
/usr/bin/python3 -c 'import zeep'

npm install --prefix "${SOAP_NODE_PATH%/node_modules}" --silent --no-audit --no-fund --ignore-scripts soap@1.13.0
NODE_PATH=$SOAP_NODE_PATH node -e "require('soap')"
