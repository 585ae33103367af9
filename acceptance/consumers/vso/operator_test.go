// SPDX-License-Identifier: MPL-2.0

package vso

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const module = "github.com/hashicorp/vault-secrets-operator"

// program is the operator, built from its module.
type program struct {
	file, version, crds string
}

// build builds the operator once, into the user's cache. Go builds it again only if
// something has changed.
var build = sync.OnceValues(func() (p program, err error) {
	var m struct{ Version, Dir string }
	out, err := inOperator("mod", "download", "-json", module)
	if err != nil {
		return p, fmt.Errorf("%s cannot be downloaded: check the network and GOPROXY, or run \"scripts/consumers.sh -build\" while there is a network: %w", module, err)
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return p, err
	}
	cache, err := consumertest.CacheDir()
	if err != nil {
		return p, err
	}
	p = program{version: m.Version, crds: filepath.Join(m.Dir, "chart", "crds")}
	p.file = filepath.Join(cache, "vault-secrets-operator-"+m.Version, "vault-secrets-operator")
	_, err = inOperator("build", "-ldflags", "-s -w", "-o", p.file, module)
	return p, err
})

// inOperator runs go in the module that pins the operator.
func inOperator(args ...string) ([]byte, error) {
	cmd := exec.Command("go", append([]string{"-C", "operator"}, args...)...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, exit.Stderr)
	}
	return out, err
}

// world is a Vault with the plugin, and a cluster with the operator.
type world struct {
	*consumertest.World
	*cluster
	program program
	dir     string
}

func start(t *testing.T, ttl time.Duration) *world {
	t.Helper()
	began := time.Now()
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Logf("the operator was built in %.0f s", took.Seconds())
	}
	custom, err := customResources(p.crds)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: consumertest.Start(t, ttl), cluster: newCluster(custom), program: p, dir: t.TempDir()}
	return w
}

// run runs the operator until the end of the test.
func (w *world) run(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(w.cluster)
	config := filepath.Join(w.dir, "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: test, users: [{name: test}],
		clusters: [{name: test, cluster: {server: "%s"}}], contexts: [{name: test, context: {cluster: test, user: test}}]}`, server.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// As its chart runs it, without the ports.
	cmd := exec.Command(w.program.file, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	cmd.Env = append(vaulttest.Environment(w.dir), "KUBECONFIG="+config, "OPERATOR_POD_UID=00000000-0000-4000-8000-00000000a0d1")
	logFile := filepath.Join(w.dir, "operator.log")
	process, err := vaulttest.Start(cmd, logFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ran := process.Running()
		process.Kill()
		server.CloseClientConnections()
		server.Close()
		w.checkLog(t, logFile, ran)
	})
}

// checkLog reports an operator that ended, or that wrote a secret into its log.
func (w *world) checkLog(t *testing.T, file string, ran bool) {
	consumertest.CheckLog(t, file, w.Grid.Secrets()...)
	if raw, err := os.ReadFile(file); err != nil || !ran {
		t.Errorf("the operator has ended: %s", raw[max(0, len(raw)-2000):])
	}
	if t.Failed() {
		t.Logf("events: %q", w.events(""))
	}
}

// events are those that the operator reported in a namespace, or in all, as "reason: message".
func (w *world) events(namespace string) []string {
	var all []string
	changes, _ := w.since(0)
	for _, c := range changes {
		if c.key.plural == "events" && (namespace == "" || c.key.namespace == namespace) {
			all = append(all, fmt.Sprint(c.object["reason"], ": ", c.object["message"]))
		}
	}
	return all
}

// apply creates the objects of the example in a namespace. Edit may change each one first.
func (w *world) apply(t *testing.T, namespace string, edit func(kind string, o object)) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(consumertest.Root(), "examples", "kubernetes", "vault-secrets-operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(raw, []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			t.Fatal(err)
		}
		if o.meta("namespace") != exampleNamespace {
			t.Fatalf("%s is in the namespace %q", o["kind"], o.meta("namespace"))
		}
		edit(o["kind"].(string), o)
		w.add(t, namespace, o)
	}
}

func (w *world) add(t *testing.T, namespace string, o object) {
	t.Helper()
	for _, r := range w.resources {
		if r.kind != o["kind"] || r.apiVersion() != o["apiVersion"] {
			continue
		}
		if _, err := w.create(r, namespace, o); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("the operator has no CRD of %s %s", o["apiVersion"], o["kind"])
}
