// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// TestReleaseSimulator runs the simulator of a release with the arguments of its image, on
// a free port.
func TestReleaseSimulator(t *testing.T) {
	r := needReleases(t).first
	config := programNamed(simulatorName).config
	dir := t.TempDir()
	address, _, err := vaulttest.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{}, config.Entrypoint[1:]...), config.Cmd...)
	cmd := exec.Command(filepath.Join(r.unpackProgram(t, simulatorName), simulatorName), append(args, "--listen="+address)...)
	cmd.Dir, cmd.Env = dir, vaulttest.Environment(dir)
	log := filepath.Join(dir, "log")
	p, err := vaulttest.Start(cmd, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	eventually(t, 20*time.Second, "the simulator answers", func() bool {
		resp, err := http.Get("http://" + address + "/v2/auth/version")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	p.Stop()
	if code := p.ExitCode(); code != 0 {
		t.Errorf("SIGTERM ends it with %d", code)
	}
	if said := string(readAll(log)); !strings.Contains(said, "sim-admin") || !strings.Contains(said, "http://"+address) {
		t.Errorf("it prints %s", said)
	}
}
