package acceptance

import (
	"net/http"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestKubernetesReads makes the calls that the operators make for the manifests
// of examples/kubernetes, with the policy that its README gives their login. What
// needs no Vault is checked in tools/examples.
func TestKubernetesReads(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.examplePolicy(t, "team-5001")
	login := m.tokenOf(t, "team-5001")

	vso := exampleFile(t, "kubernetes/vault-secrets-operator.yaml")
	eso := exampleFile(t, "kubernetes/external-secrets.yaml")
	injector := exampleFile(t, "kubernetes/agent-injector.yaml")
	for name, read := range map[string]string{
		"Vault Secrets Operator": path(oneMatch(t, vso, `\n  mount: (\S+)\n  path: `), oneMatch(t, vso, `\n  path: (\S+)`)),
		"External Secrets":       oneMatch(t, eso, `\n  path: /(\S+)`),
		"Agent Injector":         oneMatch(t, injector, `agent-inject-secret-ecgrid-key: (\S+)`),
	} {
		a := login.read(t, read)
		if a.Data["api_key"] != m.key(simulator.UserID5001) {
			t.Errorf("%s: %s is not the user's key", name, read)
		}
		if !a.Renewable || a.LeaseID == "" {
			t.Errorf("%s: the lease cannot be renewed", name)
		}
		// What the Vault Secrets Operator does with it: renewed, and refused once
		// the key was replaced.
		renew := fields{"lease_id": a.LeaseID, "increment": a.LeaseDuration}
		login.ok(t, http.MethodPut, "sys/leases/renew", renew)
		m.ok(t, http.MethodPost, m.at("rotate-key/5001"), nil)
		login.refused(t, http.StatusBadRequest, http.MethodPut, "sys/leases/renew", renew)
		if again := login.read(t, read); again.Data["api_key"] != m.key(simulator.UserID5001) {
			t.Errorf("%s: %s is not the key of after the rotation", name, read)
		}
	}
}

// TestInjectorTemplate renders the template of the annotation as the Injector's
// Agent does: with a real one.
func TestInjectorTemplate(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL})
	template := oneMatch(t, exampleFile(t, "kubernetes/agent-injector.yaml"), `agent-inject-template-ecgrid-key: \|-\n\s+(.+)\n`)
	a := newAgent(t, m, "file.hcl")
	file := filepath.Join(a.dir, "ecgrid-key")
	a.replace("/run/edi-gateway/ecgrid.key", file)
	a.config = regexp.MustCompile(`(?m)^  contents = .*$`).ReplaceAllLiteralString(a.config, "  contents = <<EOT\n"+template+"\nEOT")
	a.command("systemctl", `echo >>`)
	a.start()
	for range 2 {
		eventually(t, 20*time.Second, "the key is rendered", func() bool {
			return string(readAll(file)) == m.key(simulator.UserID5001)+"\n" // the heredoc's
		})
		m.ok(t, http.MethodPost, m.at("rotate-key/5001"), nil)
	}
	a.upAndQuiet()
}

// oneMatch is the group of a pattern that has to be found once.
func oneMatch(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%q is in the example %d times", pattern, len(found))
	}
	return found[0][1]
}
