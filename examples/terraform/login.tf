# The login is sent only when this resource is created and when login_version is raised.
# It is not in Terraform's state, so rotate-root causes no drift.
resource "vault_generic_endpoint" "login" {
  path = "${vault_mount.ecgrid.path}/config"

  data_json_wo = jsonencode({
    transport = var.ecgrid_transport
    url       = var.ecgrid_url
    ca_cert   = var.ecgrid_ca_cert
    username  = var.ecgrid_username
    password  = var.ecgrid_password
  })
  data_json_wo_version = var.login_version
}
