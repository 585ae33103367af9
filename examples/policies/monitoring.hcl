# Prometheus reads the metrics of the mount. They contain no key, no user and no role.

path "ecgrid/metrics" {
  capabilities = ["read"]
}
