// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An OpenBao gets its audit device from the configuration, once. A Vault gets it later.
func TestDeclareAudit(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"Vault v1.21.0 (of a test)":  0,
		"OpenBao v2.5.5 (of a test)": 1,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			bin, config := filepath.Join(t.TempDir(), "program"), filepath.Join(t.TempDir(), "vault.hcl")
			before := "storage \"inmem\" {}\nlog_level = \"trace\"\n"
			for file, text := range map[string]string{bin: "#!/bin/sh\necho '" + version + "'\n", config: before} {
				if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := declareAudit(bin, config, "/the/audit.log"); err != nil {
					t.Fatal(err)
				}
			}
			raw, err := os.ReadFile(config)
			after, kept := strings.CutPrefix(string(raw), before)
			if err != nil || !kept || strings.Count(after, `file_path = "/the/audit.log"`) != want || (after == "") != (want == 0) {
				t.Errorf("%v, the configuration is\n%s", err, raw)
			}
		})
	}
}
