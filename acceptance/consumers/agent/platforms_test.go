// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

const notAvailable = "it was not available in the test environment"

// TestPlatforms runs the parts that are available of platforms that are not: their logins,
// and their Agent or template.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, ttl)
	t.Run("Injector", func(t *testing.T) { testInjector(t, w) })
	t.Run("Nomad", func(t *testing.T) { testNomad(t, w) })
	t.Run("GitHub Actions", func(t *testing.T) { testGitHubActions(t, w) })
	t.Run("CSI driver", func(t *testing.T) {
		consumertest.NotRun(t, "Secrets Store CSI driver with Vault's provider", notAvailable+". `tools/examples` checks the example against the driver's CRD")
	})
}

// measureRotation returns how long a file lags behind a rotation.
func (f *fileAgent) measureRotation(within time.Duration) string {
	f.Helper()
	consumertest.Eventually(f, patience, "the key is in the file", func() bool { return f.read() == f.w.Key() })
	f.w.Rotate(f.T)
	took := consumertest.Eventually(f, within+consumertest.Slack, "the new key is in the file", func() bool { return f.read() == f.w.Key() })
	return consumertest.Rounded(took)
}

// testInjector runs the Agent configuration that the Vault Agent Injector makes of the
// annotations of examples/kubernetes/agent-injector.yaml, as its source describes it.
func testInjector(t *testing.T, w *consumertest.World) {
	manifest := example(t, "kubernetes/agent-injector.yaml")
	audience := oneMatch(t, example(t, "kubernetes/README.md"), `(?m)service_account_namespaces=edi \\\n  audience=(\S+) .*token_period`)
	right := claims{"sub": "system:serviceaccount:edi:edi-gateway", "aud": []string{oneMatch(t, manifest, `audience: (\S+)`)}}
	i := newIssuer(t)
	// This Vault has no Kubernetes auth method. The one for JWT has the same request, and the
	// same check of the audience.
	w.Write(t, "sys/auth/kubernetes", claims{"type": "jwt"})
	w.Write(t, "auth/kubernetes/config", claims{"jwt_validation_pubkeys": i.publicKey(t)})
	w.Write(t, "auth/kubernetes/role/edi-gateway", claims{
		"role_type": "jwt", "user_claim": "sub", "bound_subject": right["sub"], "bound_audiences": audience,
		"token_policies": consumertest.Policy, "token_period": "1h",
	})
	clusterToken := claims{"sub": right["sub"], "aud": []string{"https://kubernetes.default.svc.cluster.local"}}
	if _, ok := login(t, w, "kubernetes", i.token(t, clusterToken)); ok {
		t.Error("the pod's default token logs in")
	}

	p := newProgram(t, w, "agent/file.hcl")
	f := &fileAgent{program: p, file: filepath.Join(p.dir, "ecgrid-key"), written: map[time.Time]bool{}}
	f.reloads = f.command("pkill", `printf '%s\n' "$*"`)
	f.config = injectorConfig(t, f, manifest, f.write("token", i.token(t, right)))
	f.start("agent")
	noticed := f.measureRotation(ttl + time.Second)
	consumertest.Eventually(t, patience, "the command has run for both keys", func() bool { return len(f.reloads()) == 2 })
	if info, err := os.Stat(f.file); err != nil || info.Mode() != 0o400 {
		t.Errorf("the file's mode is %v (%v), want 0400", info.Mode(), err)
	}
	consumertest.Row{
		Consumer: "Vault Agent Injector", Version: "not run: " + notAvailable, Arrives: "a file in the pod's memory", Noticed: noticed,
		Note: "Vault Agent " + version(t, w) + " ran the configuration that the Injector's source describes for the example's annotations",
	}.Report(t)
}

// injectorConfig is what agent-inject/agent/config.go of vault-k8s makes of the annotations.
func injectorConfig(t *testing.T, f *fileAgent, manifest, tokenPath string) string {
	t.Helper()
	annotation := func(name string) string {
		return oneMatch(t, manifest, `(?m)^        vault\.hashicorp\.com/`+name+`: (?:\|-\n\s+)?"?(.*?)"?$`)
	}
	volume := annotation("agent-service-account-token-volume-name")
	oneMatch(t, manifest, `- name: (`+volume+`)\b`)
	raw, err := json.Marshal(map[string]any{
		"vault": map[string]any{"address": f.w.Addr},
		"auto_auth": map[string]any{
			"method": map[string]any{
				"type": "kubernetes", "mount_path": "auth/kubernetes",
				"config": map[string]any{"role": annotation("role"), "token_path": tokenPath},
			},
			"sink": []any{map[string]any{"type": "file", "config": map[string]any{"path": filepath.Join(f.dir, ".vault-token")}}},
		},
		"template": []any{map[string]any{
			"destination": f.file, "left_delimiter": "{{", "right_delimiter": "}}",
			"contents":             annotation("agent-inject-template-ecgrid-key"),
			"command":              annotation("agent-inject-command-ecgrid-key"),
			"perms":                annotation("agent-inject-perms-ecgrid-key"),
			"error_on_missing_key": annotation("error-on-missing-key-ecgrid-key") == "true",
		}},
		"template_config": map[string]any{"exit_on_retry_failure": annotation("template-config-exit-on-retry-failure") == "true"},
	})
	consumertest.Must(t, err)
	return string(raw)
}

// testNomad logs in with the claims of a Nomad task, and renders the template of the job
// with the same library as Nomad's.
func testNomad(t *testing.T, w *consumertest.World) {
	i := newIssuer(t)
	runREADME(t, w, "nomad/README.md", newDir(t),
		"jwks_url=https://nomad.example.com:4646/.well-known/jwks.json", "jwt_validation_pubkeys='"+i.publicKey(t)+"'", "ttl=5m", "ttl=3s")
	job := example(t, "nomad/edi-gateway.nomad.hcl")
	audience := oneMatch(t, job, `aud  = \["(.*)"\]`)
	checkLogins(t, w, i, "jwt-nomad",
		claims{"aud": audience, "sub": "global:default:edi-gateway", "nomad_namespace": "default", "nomad_job_id": "edi-gateway"},
		map[string]any{"aud": "nomadproject.io", "nomad_namespace": "other", "nomad_job_id": "other"})

	f := newKeyFile(t, w, staticPath)
	f.replace(oneMatch(t, f.config, `contents = (".*")`), oneMatch(t, job, `data  +=\s(".*")`))
	f.start("agent")
	noticed := f.measureRotation(ttl + time.Second)
	consumertest.Row{
		Consumer: "Nomad, `template`", Version: "not run: the project does not build it", Arrives: "a file in the task's memory", Noticed: noticed,
		Note: "Vault Agent " + version(t, w) + " rendered the job's template with the same library, consul-template",
	}.Report(t)
}

// testGitHubActions sends the requests of hashicorp/vault-action for the example's workflow.
func testGitHubActions(t *testing.T, w *consumertest.World) {
	i := newIssuer(t)
	runREADME(t, w, "ci/README.md", newDir(t),
		"oidc_discovery_url=https://token.actions.githubusercontent.com", "jwt_validation_pubkeys='"+i.publicKey(t)+"'", "ttl=5m", "ttl=3s")
	workflow := example(t, "ci/github-actions.yml")
	if read := oneMatch(t, workflow, `secrets: \|\n\s+(.*)\n`); read != staticPath+" api_key | ECGRID_API_KEY" {
		t.Errorf("the workflow reads %q", read)
	}
	mount := oneMatch(t, workflow, `\n +path: (\S+)`)
	right := claims{
		"iss": "https://token.actions.githubusercontent.com", "aud": oneMatch(t, workflow, `jwtGithubAudience: (\S+)`),
		"sub": "repo:example/edi:ref:refs/heads/main",
	}
	checkLogins(t, w, i, mount, right, map[string]any{
		"iss": "https://github.example.com", "aud": "https://github.com/example",
		"sub": "repo:example/edi:ref:refs/heads/other",
	})
	if _, ok := login(t, w, mount, newIssuer(t).token(t, right)); ok {
		t.Error("a token with another signature logs in")
	}
	consumertest.Row{
		Consumer: "GitHub Actions, `vault-action`", Version: "not run: " + notAvailable, Arrives: "an output of a step",
		Note: "The test sends its requests. Each run reads the current key",
	}.Report(t)
}
