// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// operator runs the shell blocks of docs/release.md, with this machine's platform, in a
// directory with the archives of both releases.
type operator struct {
	dir    string
	env    []string
	blocks []string
}

func newOperator(t *testing.T, v *vault, r releases) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir()}
	links := map[string]string{ // the vault may have another name
		"bin/vault":      suite.vaultBin,
		"SHA256SUMS":     filepath.Join(r.next.dist, "SHA256SUMS"),
		"SHA256SUMS.sig": filepath.Join(r.next.dist, "SHA256SUMS.sig"),
	}
	for _, one := range []release{r.first, r.next} {
		links[one.stem()+".tar.gz"] = filepath.Join(one.dist, one.stem()+".tar.gz")
	}
	if err := os.Mkdir(filepath.Join(o.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range links {
		if err := os.Symlink(to, filepath.Join(o.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	o.env = append(vaulttest.Environment(v.dir), "PATH="+filepath.Join(o.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"VAULT_ADDR="+v.node.Addr, "VAULT_CACERT="+v.caPath(), "VAULT_TOKEN="+v.token, "PLUGIN_DIRECTORY="+suite.pluginDir)
	o.addKeyring(t, r.signer)
	page := strings.ReplaceAll(string(readAll(filepath.Join(repoRoot(), "docs", "release.md"))), "linux_amd64", runtime.GOOS+"_"+runtime.GOARCH)
	blocks, err := readBlocks(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if b.kind == "sh" {
			o.blocks = append(o.blocks, b.text)
		}
	}
	return o
}

// addKeyring makes an empty keyring, and the public key to import.
func (o *operator) addKeyring(t *testing.T, s *signer) {
	t.Helper()
	home := filepath.Join(o.dir, "gpg")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	o.env = append(o.env, "GNUPGHOME="+home)
	if s != nil {
		s.publicKey(t, o.dir)
	}
}

// verify runs the block that checks the files, if gpg is installed.
func (o *operator) verify(t *testing.T, s *signer) {
	t.Helper()
	if s == nil {
		t.Log("the signature is not verified: gpg is not installed")
		o.blocks = o.blocks[1:]
		return
	}
	o.next(t)
}

// next runs the next block.
func (o *operator) next(t *testing.T) {
	t.Helper()
	if len(o.blocks) == 0 {
		t.Fatal("docs/release.md has no more blocks")
	}
	if _, err := command(o.dir, o.env, "sh", "-euc", o.blocks[0]); err != nil {
		t.Fatal(err)
	}
	o.blocks = o.blocks[1:]
}

// checkServes fails the test unless this release serves the mount.
func (r release) checkServes(t *testing.T, m *mount) {
	t.Helper()
	info := m.read(t, m.at("info")).Data
	if info["version"] != r.version || info["commit"] != r.commit {
		t.Errorf("info is %v, want %s %s", info, r.version, r.commit)
	}
	running := m.read(t, path("sys/mounts", m.path)).Data
	if running["running_plugin_version"] != r.version || running["running_sha256"] != r.binarySum(t) {
		t.Errorf("Vault runs %v", running)
	}
}

// TestReleaseUpgrade installs a release and upgrades it with the files of two releases and
// docs/release.md alone.
func TestReleaseUpgrade(t *testing.T) {
	r := needReleases(t)
	v := ownVault(t, inmem)
	v.run(t, "plugin", "deregister", "-version="+suite.pluginVersion, "secret", pluginName)

	op := newOperator(t, v, r)
	op.verify(t, r.signer)
	op.next(t) // Install
	m := &mount{vault: v, ecgrid: newECGrid(t), path: "ecgrid"}
	m.configure(t, fields{"ttl": "5m"})
	r.first.checkServes(t, m)
	renewed, revoked, forgotten := m.readKey(t, simulator.UserID5001), m.readKey(t, simulator.UserID5001), m.readKey(t, simulator.UserID5001)

	op.next(t) // Upgrade
	m.awaitLogout(t, "the upgrade")
	r.next.checkServes(t, m)
	op.next(t) // Remove the old version
	if versions := v.run(t, "plugin", "list", "-detailed", "secret"); strings.Contains(versions, firstVersion) || !strings.Contains(versions, nextVersion) {
		t.Errorf("the catalog holds\n%s", versions)
	}

	if a := m.renew(t, http.StatusOK, renewed, fields{"increment": 240}); a.LeaseDuration < 200 {
		t.Errorf("renewed for %d s", a.LeaseDuration)
	}
	m.revoke(t, revoked)
	m.renew(t, http.StatusBadRequest, revoked, nil)
	if !restAccepts(t, m.ecgrid, renewed.Data["api_key"].(string)) {
		t.Error("the key from before the upgrade does not work")
	}
	m.readKey(t, simulator.UserID5001)
	m.ok(t, http.MethodPut, path("sys/leases/revoke-prefix", m.path), nil)
	eventually(t, 10*time.Second, "the leases are gone", func() bool {
		a, err := m.do(http.MethodPut, "sys/leases/lookup", fields{"lease_id": forgotten.LeaseID})
		return err == nil && a.Status == http.StatusBadRequest
	})
}
