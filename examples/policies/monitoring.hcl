# SPDX-License-Identifier: MPL-2.0

# Prometheus reads the metrics of the mount. They contain no key, no user and no role.

path "ecgrid/metrics" {
  capabilities = ["read"]
}
