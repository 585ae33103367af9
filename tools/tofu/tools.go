// SPDX-License-Identifier: MPL-2.0

//go:build tools

// Package tools pins the OpenTofu that the test of examples/terraform runs if there is no
// Terraform. It is a module of its own, since OpenTofu has many dependencies.
package tools

import _ "github.com/opentofu/opentofu/cmd/tofu"
