// SPDX-License-Identifier: MPL-2.0

package architecture

import (
	"go/version"
	"os/exec"
	"strings"
	"testing"
)

// TestGoLine checks that whoever can build with Vault's SDK can build the plugin: go.mod asks
// for no newer Go than the SDK does.
func TestGoLine(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.GoVersion}}", module, "github.com/hashicorp/vault/sdk")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != 2 {
		t.Fatalf("go list -m prints %q", out)
	}
	if own, sdk := "go"+lines[0], "go"+lines[1]; !version.IsValid(own) || !version.IsValid(sdk) || version.Compare(own, sdk) > 0 {
		t.Errorf("go.mod needs %s, and Vault's SDK %s: use an older version of the module that needs it", own, sdk)
	}
}
