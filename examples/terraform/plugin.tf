# SPDX-License-Identifier: MPL-2.0

# Copy the binary to the plugin_directory of every Vault node first.
resource "vault_plugin" "ecgrid" {
  type    = "secret"
  name    = "vault-plugin-ecgrid"
  command = var.plugin_command
  version = var.plugin_version
  sha256  = var.plugin_sha256

  # An upgrade registers the new version before it removes the old one.
  lifecycle {
    create_before_destroy = true
  }
}

resource "vault_mount" "ecgrid" {
  path           = "ecgrid"
  type           = vault_plugin.ecgrid.name
  plugin_version = vault_plugin.ecgrid.version
  description    = "ECGrid API keys"

  # Destroying the mount deletes its login and its leases.
  lifecycle {
    prevent_destroy = true
  }
}
