# SPDX-License-Identifier: MPL-2.0

# A team reads a role. Operators set the ECGrid user and the lease time in
# ecgrid/roles/gateway, and can change both without changing this policy.

path "ecgrid/creds/gateway" {
  capabilities = ["read"]
}

# The same key without a lease, for consumers that poll. Keep the one that the team uses.
path "ecgrid/static-creds/gateway" {
  capabilities = ["read"]
}
