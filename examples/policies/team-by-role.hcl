# A team reads a role. Operators set the ECGrid user and the lease time in
# ecgrid/roles/gateway, and can change both without changing this policy.

path "ecgrid/creds/gateway" {
  capabilities = ["read"]
}
