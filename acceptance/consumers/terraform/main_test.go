// SPDX-License-Identifier: MPL-2.0

package terraform

import (
	"fmt"
	"os"
	"testing"

	"vault-plugin-ecgrid/acceptance/consumers/terraform/standin"
)

// TestMain is also the stand-in, if Terraform has started this program as a provider.
func TestMain(m *testing.M) {
	if !standin.Wanted() {
		os.Exit(m.Run())
	}
	if err := standin.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
