# SPDX-License-Identifier: MPL-2.0

# Writes the login, but only if send_login is true. Nothing of it is stored: neither the
# state nor a saved plan has the password, so rotate-root causes no difference.
ephemeral "vault_generic_endpoint" "login" {
  count = var.send_login ? 1 : 0

  mount_id = vault_mount.ecgrid.id # waits for the mount
  path     = "${vault_mount.ecgrid.path}/config"
  data_json = jsonencode({
    transport = var.ecgrid_transport
    url       = var.ecgrid_url
    ca_cert   = var.ecgrid_ca_cert
    username  = var.ecgrid_username
    password  = var.ecgrid_password
  })
}
