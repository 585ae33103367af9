# The binary has to be in the plugin_directory of every Vault server before this runs.
resource "vault_plugin" "ecgrid" {
  type    = "secret"
  name    = "vault-plugin-ecgrid"
  command = var.plugin_command
  version = var.plugin_version
  sha256  = var.plugin_sha256

  # An upgrade registers the new version before it lets go of the old one.
  lifecycle {
    create_before_destroy = true
  }
}

resource "vault_mount" "ecgrid" {
  path           = "ecgrid"
  type           = vault_plugin.ecgrid.name
  plugin_version = vault_plugin.ecgrid.version
  description    = "ECGrid API keys"

  # A destroyed mount takes login and leases with it. Keep it unless you mean it.
  lifecycle {
    prevent_destroy = true
  }
}
