// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
)

// AuditFile is the audit log in the directory of a server.
const AuditFile = "audit.log"

// openBaos has the result of IsOpenBao by binary.
var openBaos sync.Map

// IsOpenBao reports whether a binary is OpenBao's bao.
func IsOpenBao(bin string) bool {
	if known, ok := openBaos.Load(bin); ok {
		return known.(bool)
	}
	out, err := exec.Command(bin, "version").Output()
	is := err == nil && bytes.HasPrefix(out, []byte("OpenBao "))
	openBaos.Store(bin, is)
	return is
}

// declareAudit adds a file audit device to the configuration of an OpenBao, which refuses to
// make one through its API. It may be called again.
func declareAudit(bin, config, log string) error {
	raw, err := os.ReadFile(config)
	if err != nil || bytes.Contains(raw, []byte("\naudit ")) || !IsOpenBao(bin) {
		return err
	}
	device := fmt.Sprintf("audit \"file\" \"file\" {\n  options {\n    file_path = %q\n  }\n}\n", log)
	return os.WriteFile(config, append(raw, device...), 0o600)
}

// EnableAudit makes sure that there is an audit device "file". In OpenBao it comes from the
// configuration.
func (c Client) EnableAudit(log string) error {
	r, err := c.Do(http.MethodGet, "sys/audit", nil)
	if err != nil {
		return err
	}
	if _, there := r.Data["file/"]; there {
		return nil
	}
	r, err = c.Do(http.MethodPut, "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": log}})
	if err == nil && !r.OK() {
		err = fmt.Errorf("sys/audit answered %d: %s", r.Status, r.Body)
	}
	return err
}
