#!/bin/sh
# SPDX-License-Identifier: MPL-2.0

# Runs a Vault with the plugin mounted, and an ECGrid simulator, until Ctrl-C.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

prepare
trap 'say "Stopping"; exit 0' INT

say "ECGrid simulator"
start_simulator
say "Vault ($(vault version))"
# With raft, vault operator raft snapshot works.
mkdir raft
storage="storage \"raft\" {
  path    = \"$work/raft\"
  node_id = \"dev\"
}
cluster_addr = \"http://127.0.0.1:$(./demokit port)\""
start_vault
say "Plugin, config and a policy for one key"
install_plugin
write_config "$transport"
write_policy

cat <<END

== Running. In another terminal:

export PATH='$work/bin':"\$PATH"
export VAULT_ADDR='$VAULT_ADDR' VAULT_TOKEN='$VAULT_TOKEN'

# for docs/operations.md
export ECGRID_SIMULATOR='$(ready rest | sed 's|/v2$|/simulator|')' ECGRID_CA='$work/ca.pem' ECGRID_LOGIN='$(ready login)' PLUGIN_DIRECTORY='$root/bin'
export ECGRID_PASSWORD="\$('$work/demokit' field '$work/ready.json' password)"

vault read ecgrid/keys/5001
vault read ecgrid/status
vault list -detailed ecgrid/keys
vault path-help ecgrid
VAULT_TOKEN=\$(vault token create -policy=team-5001 -field=token) vault read ecgrid/keys/5001

# after a change to the code
make build
vault plugin register -sha256=\$(scripts/sha256.sh bin/vault-plugin-ecgrid) -version=$(plugin_version) secret vault-plugin-ecgrid
vault plugin reload -plugin=vault-plugin-ecgrid

Vault's log:      $work/vault.log
Simulator's log:  $work/simulator.log

Ctrl-C stops everything.
END

wait "$vault_pid" || true
tail -n 15 vault.log >&2
fail "vault has ended (see its log above)"
