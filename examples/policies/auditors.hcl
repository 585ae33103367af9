# SPDX-License-Identifier: MPL-2.0

# Auditors see the configuration and the state of rotations. They cannot read a key or change anything.

path "ecgrid/config" {
  capabilities = ["read"] # secrets are never returned
}

path "ecgrid/keys" {
  capabilities = ["list"]
}

path "ecgrid/roles" {
  capabilities = ["list"]
}

path "ecgrid/roles/+" {
  capabilities = ["read"]
}

path "ecgrid/status" {
  capabilities = ["read"]
}

path "ecgrid/info" {
  capabilities = ["read"]
}

path "ecgrid/metrics" {
  capabilities = ["read"]
}
