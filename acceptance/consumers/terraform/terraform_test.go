// SPDX-License-Identifier: MPL-2.0

// Package terraform runs examples/terraform with a real Terraform or OpenTofu on a real
// Vault with the plugin.
package terraform

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// TestProvider runs the examples with the Vault provider's own binary.
func TestProvider(t *testing.T) {
	t.Parallel()
	const consumer = "Terraform with the Vault provider"
	provider, found := released()
	if !found {
		consumertest.NotRun(t, consumer,
			"no Vault provider 5.11 or newer on this machine; ECGRID_TERRAFORM_PROVIDER can name its binary")
	}
	runAll(t, consumer, provider, "Vault provider "+provider.version)
}

// TestStandIn runs the examples with a stand-in that serves the provider's published schema.
func TestStandIn(t *testing.T) {
	t.Parallel()
	if _, found := released(); found {
		t.Skip("the Vault provider is run itself")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, "Terraform or OpenTofu, `static-creds`", source{self, standInVersion}, "a stand-in for the Vault provider")
}

// runAll reports a row of the consumer for each program.
func runAll(t *testing.T, consumer string, provider source, with string) {
	all := programs()
	if len(all) == 0 {
		consumertest.NotRun(t, consumer, "no terraform or tofu on PATH, and none built by scripts/tofu.sh")
	}
	world := consumertest.Start(t, time.Hour)
	binary := registered(t, world)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			(&example{World: world, workspace: newWorkspace(t, p, provider), plugin: binary}).run(t)
			consumertest.Row{
				Consumer: consumer, Version: p.version + " with " + with,
				Arrives:    "an ephemeral resource hands it to a write-only argument",
				Noticed:    "by the next apply that raises `key_version`",
				ECGridDown: "a plan that reads a key fails; the others work", VaultDown: "each plan fails",
			}.Report(t)
		})
	}
}

// plugin is what Vault's catalog has of the plugin.
type plugin struct{ version, sum string }

func registered(t *testing.T, world *consumertest.World) plugin {
	t.Helper()
	r, err := world.Do(http.MethodGet, "sys/plugins/catalog", nil)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := r.Data["detailed"].([]any)
	for _, one := range all {
		if entry, _ := one.(map[string]any); entry["name"] == vaulttest.PluginName {
			return plugin{fmt.Sprint(entry["version"]), fmt.Sprint(entry["sha256"])}
		}
	}
	t.Fatal("the plugin is not in the catalog")
	return plugin{}
}

// example is examples/terraform on a Vault.
type example struct {
	*consumertest.World
	*workspace
	plugin plugin
}

func (e *example) run(t *testing.T) {
	e.prepare(t)
	e.ok(t, "fmt", "-check", "-recursive")
	e.ok(t, "init", "-input=false")
	e.ok(t, "validate")
	e.rejectUnknownArgument(t)
	e.firstApply(t)
	e.rotateRoot(t)
	e.sendAgain(t)
	e.manualChange(t)
	e.readKey(t)
	e.countLeases(t)
	e.outages(t)
	e.destroy(t)
}

// prepare empties Vault, and sets the variables that README.md names.
func (e *example) prepare(t *testing.T) {
	t.Helper()
	e.delete(t, "sys/mounts/ecgrid")
	admin, _ := e.Grid.User(simulator.AdminUserID)
	e.env = append(e.env,
		"VAULT_ADDR="+e.Addr, "VAULT_TOKEN="+e.Token, "VAULT_CACERT="+e.CAFile(),
		"TF_VAR_plugin_sha256="+e.plugin.sum, "TF_VAR_plugin_version="+e.plugin.version,
		"TF_VAR_ecgrid_url="+e.Grid.SOAP, "TF_VAR_ecgrid_ca_cert="+string(e.Grid.CACert), "TF_VAR_ecgrid_username="+admin.LoginName,
	)
	e.delete(t, "sys/plugins/catalog/secret/"+vaulttest.PluginName+"?version="+e.plugin.version)
	e.usePassword(admin.Password)
	e.hidden = append(e.hidden, e.Key())
}

// usePassword sets the password that Terraform gets.
func (e *example) usePassword(password string) {
	e.env = append(e.env, "TF_VAR_ecgrid_password="+password)
	e.hidden = append(e.hidden, password)
}

// rejectUnknownArgument is the positive control of validate: data_json_wo, which an earlier
// version of this example used, exists in no release.
func (e *example) rejectUnknownArgument(t *testing.T) {
	t.Helper()
	e.replace(t, "config.tf", "  data_json  ", "  data_json_wo  ")
	if out := e.status(t, 1, "validate"); !strings.Contains(out, `"data_json_wo" is not expected here`) {
		t.Errorf("validate does not refuse data_json_wo:\n%s", out)
	}
	e.replace(t, "config.tf", "  data_json_wo  ", "  data_json  ")
}

// firstApply saves a plan and applies it. The login is sent once, by apply.
func (e *example) firstApply(t *testing.T) {
	t.Helper()
	logins := e.Grid.Count("Login")
	e.plan(t, changes, "-var=send_login=true", "-out=first.tfplan")
	if e.Grid.Count("Login") != logins {
		t.Error("plan has sent the login before there is a mount")
	}
	e.ok(t, "apply", "-input=false", "-var=send_login=true", "first.tfplan")
	if n := e.Grid.Count("Login") - logins; n != 1 {
		t.Errorf("%d Logins at ECGrid in the first apply, want 1", n)
	}
	if got := e.get(t, "ecgrid/static-creds/gateway").Data["api_key"]; got != e.Key() {
		t.Error("static-creds/gateway does not have the key")
	}
	e.plan(t, 0)
	e.checkHidden(t)
}

// rotateRoot shows that a rotation of the password causes no difference.
func (e *example) rotateRoot(t *testing.T) {
	t.Helper()
	before, _ := e.Grid.User(simulator.AdminUserID)
	e.Write(t, "ecgrid/rotate-root", nil)
	after, _ := e.Grid.User(simulator.AdminUserID)
	if after.Password == before.Password {
		t.Fatal("rotate-root has changed nothing")
	}
	e.hidden = append(e.hidden, after.Password)
	e.plan(t, 0)
	e.apply(t)
	e.checkHidden(t)
}

// sendAgain sends the superseded password, and then one that was set at ECGrid.
func (e *example) sendAgain(t *testing.T) {
	t.Helper()
	logins := e.Grid.Count("Login")
	for _, command := range []string{"plan", "apply"} {
		args := []string{command, "-input=false", "-var=send_login=true"}
		if out := e.status(t, 1, args...); !strings.Contains(strings.Join(strings.Fields(out), " "), "superseded by rotate-root") {
			t.Errorf("%s with a superseded password does not say so:\n%s", command, out)
		}
	}
	if n := e.Grid.Count("Login") - logins; n != 0 {
		t.Errorf("%d Logins at ECGrid with a superseded password, want none", n)
	}
	e.plan(t, 0)

	reset := "Set-anew-in-ECGr1d-" + e.name
	e.Grid.SetPassword(simulator.AdminUserID, reset)
	e.usePassword(reset)
	e.apply(t, "-var=send_login=true")
	applied := e.Grid.Count("Login")
	if n := applied - logins; n < 1 || n > 2 { // OpenTofu does not open it again if nothing changes
		t.Errorf("%d Logins at ECGrid, want one when apply plans and one when it applies", n)
	}
	e.plan(t, 0, "-var=send_login=true")
	if n := e.Grid.Count("Login") - applied; n != 1 {
		t.Errorf("%d Logins at ECGrid during a plan with send_login, want 1", n)
	}
	e.plan(t, 0)
	e.Grid.KillSessions(0)
	if !e.get(t, "ecgrid/static-creds/gateway").OK() {
		t.Error("the new password does not work")
	}
	e.checkHidden(t)
}

// manualChange is the positive control of plan.
func (e *example) manualChange(t *testing.T) {
	t.Helper()
	e.Write(t, "ecgrid/config", map[string]any{"ttl": 7200})
	e.plan(t, changes)
	e.apply(t)
	e.plan(t, 0)
	if ttl := fmt.Sprint(e.get(t, "ecgrid/config").Data["ttl"]); ttl != "3600" {
		t.Errorf("ttl is %s after apply, want 3600", ttl)
	}
}

// readKey applies read-key before and after a rotation of the key.
func (e *example) readKey(t *testing.T) {
	t.Helper()
	if r, err := e.Do(http.MethodPost, "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}); err != nil || !r.OK() {
		t.Fatal(err, r.Errors)
	}
	t.Cleanup(func() { e.delete(t, "sys/mounts/secret") })
	e.inReadKey(t, func() {
		e.ok(t, "init", "-input=false")
		e.ok(t, "validate")
		e.apply(t)
		e.wantCopy(t, e.Key())
		old := e.Key()
		e.Rotate(t)
		e.hidden = append(e.hidden, e.Key())
		e.plan(t, 0)
		e.apply(t)
		e.wantCopy(t, old) // a copy is as old as its key_version
		e.apply(t, "-var=key_version=2")
		e.wantCopy(t, e.Key())
		e.ok(t, "plan", "-input=false", "-var=key_version=3", "-out=key.tfplan")
		e.checkHidden(t)
	})
}

func (e *example) inReadKey(t *testing.T, do func()) {
	t.Helper()
	outer := e.dir
	defer func() { e.dir = outer }()
	e.dir = filepath.Join(outer, "read-key")
	do()
}

func (e *example) wantCopy(t *testing.T, key string) {
	t.Helper()
	data, _ := e.get(t, "secret/data/ecgrid/gateway").Data["data"].(map[string]any)
	if data["api_key"] != key {
		t.Error("the write-only argument did not get the key")
	}
}

// countLeases shows why the example reads static-creds: with creds, even a plan without
// changes leaves a lease behind.
func (e *example) countLeases(t *testing.T) {
	t.Helper()
	if n := e.leases(t); n != 0 {
		t.Fatalf("static-creds has made %d leases", n)
	}
	e.inReadKey(t, func() {
		e.replace(t, "main.tf", "ecgrid/static-creds/", "ecgrid/creds/")
		e.ok(t, "plan", "-input=false", "-refresh=false", "-var=key_version=2")
		e.replace(t, "main.tf", "ecgrid/creds/", "ecgrid/static-creds/")
	})
	if n := e.leases(t); n != 1 {
		t.Errorf("a plan that reads creds leaves %d leases, want 1", n)
	}
}

// outages shows that only what reads a key needs ECGrid.
func (e *example) outages(t *testing.T) {
	t.Helper()
	up := e.ECGridDown()
	e.inReadKey(t, func() { e.status(t, 1, "plan", "-input=false") })
	e.plan(t, 0)
	up()
	up = e.VaultDown(t)
	e.status(t, 1, "plan", "-input=false")
	up()
	e.plan(t, 0)
	e.inReadKey(t, func() { e.plan(t, 0, "-var=key_version=2") })
	e.wantCopy(t, e.Key())
}

func (e *example) leases(t *testing.T) int {
	t.Helper()
	r, err := e.Do("LIST", "sys/leases/lookup/ecgrid/creds/gateway", nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := r.Data["keys"].([]any)
	return len(keys)
}

// destroy needs prevent_destroy to be taken back first.
func (e *example) destroy(t *testing.T) {
	t.Helper()
	if out := e.status(t, 1, "destroy", "-input=false", "-auto-approve"); !strings.Contains(out, "prevent_destroy") {
		t.Errorf("destroy fails for another reason than prevent_destroy:\n%s", out)
	}
	managed := []string{"ecgrid/config", "sys/policies/acl/ecgrid-operators"}
	for _, path := range managed {
		if !e.get(t, path).OK() {
			t.Errorf("before destroy, there is no %s", path)
		}
	}
	e.replace(t, "plugin.tf", "prevent_destroy = true", "prevent_destroy = false")
	e.ok(t, "destroy", "-input=false", "-auto-approve")
	for _, path := range managed {
		if e.get(t, path).OK() {
			t.Errorf("destroy has left %s", path)
		}
	}
	e.checkHidden(t)
}

func (e *example) get(t *testing.T, path string) vaulttest.Response {
	t.Helper()
	r, err := e.Do(http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (e *example) delete(t *testing.T, path string) {
	t.Helper()
	if r, err := e.Do(http.MethodDelete, path, nil); err != nil || !r.OK() {
		t.Fatal(path, err, r.Errors)
	}
}

// checkHidden searches all files that Terraform has written, such as states, their backups
// and saved plans.
func (e *example) checkHidden(t *testing.T) {
	t.Helper()
	states := 0
	err := filepath.WalkDir(e.dir, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Name() == ".terraform": // the provider
			return filepath.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		raw, err := os.ReadFile(path)
		states += strings.Count(entry.Name(), "tfstate")
		for _, secret := range e.hidden {
			if bytes.Contains(raw, []byte(secret)) || bytes.Contains(unzipped(raw), []byte(secret)) {
				t.Errorf("%s contains a secret of %d bytes", entry.Name(), len(secret))
			}
		}
		return err
	})
	if err != nil || states == 0 {
		t.Errorf("%d states found: %v", states, err)
	}
}

// unzipped returns what a saved plan contains.
func unzipped(raw []byte) (all []byte) {
	archive, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil
	}
	for _, entry := range archive.File {
		if file, err := entry.Open(); err == nil {
			content, _ := io.ReadAll(file)
			all = append(all, content...)
		}
	}
	return all
}
