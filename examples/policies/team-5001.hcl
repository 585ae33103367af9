# SPDX-License-Identifier: MPL-2.0

# One team reads the key of one ECGrid user. To renew leases, the team needs only Vault's
# "default" policy.

path "ecgrid/keys/5001" {
  capabilities = ["read"]
}
