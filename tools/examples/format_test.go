// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// TestFormat compares with the output of "terraform fmt", "vault policy fmt" and "nomad fmt".
func TestFormat(t *testing.T) {
	for _, pattern := range []string{"terraform/*.tf", "terraform/read-key/*.tf", "policies/*.hcl", "agent/*.hcl", "nomad/*.hcl"} {
		files, err := filepath.Glob("../../examples/" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatal("no files:", pattern, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(hclwrite.Format(raw), raw) {
				t.Errorf("%s should be:\n%s", file, hclwrite.Format(raw))
			}
		}
	}
}
