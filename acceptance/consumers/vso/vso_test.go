// SPDX-License-Identifier: MPL-2.0

package vso

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/internal/simulator"
)

const exampleNamespace = "edi"

// example applies the example in a namespace, with the address of this test's Vault and a
// login by AppRole, since this Vault has no method for Kubernetes. The rest is as in the
// file, unless edit changes the spec of the VaultDynamicSecret.
func (w *world) example(t *testing.T, namespace string, edit func(spec object)) {
	t.Helper()
	roleID, secretID := w.AppRole(t)
	ca, err := os.ReadFile(w.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	w.secret(t, namespace, "vault-ca", "ca.crt", string(ca))
	w.secret(t, namespace, "approle", "id", secretID)
	w.apply(t, namespace, func(kind string, o object) {
		spec, _ := o["spec"].(map[string]any)
		switch kind {
		case "VaultConnection":
			spec["address"] = w.Addr
		case "VaultAuth":
			delete(spec, "kubernetes")
			spec["method"], spec["mount"] = "appRole", "approle"
			spec["appRole"] = object{"roleId": roleID, "secretRef": "approle"}
		case "VaultDynamicSecret":
			if edit != nil {
				edit(spec)
			}
		}
	})
}

func (w *world) secret(t *testing.T, namespace, name, field, value string) {
	t.Helper()
	w.add(t, namespace, object{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name},
		"data": map[string]any{field: base64.StdEncoding.EncodeToString([]byte(value))},
	})
}

// podKey is the key that the pods have: the one in the Secret when they were started last.
func (w *world) podKey(namespace string) func() string {
	return func() string {
		if all := w.startKeys(namespace); len(all) > 0 {
			return all[len(all)-1]
		}
		return ""
	}
}

// superfluous counts the restarts that brought no new key.
func (w *world) superfluous(namespace string) int {
	all := w.startKeys(namespace)
	return len(all) - len(slices.Compact(slices.Clone(all)))
}

// reads counts the answers of Vault that the operator has handled.
func (w *world) reads(namespace string) int {
	seen := map[string]bool{}
	changes, _ := w.since(0)
	for _, c := range changes {
		status, _ := c.object["status"].(map[string]any)
		lease, _ := status["secretLease"].(map[string]any)
		if id, _ := lease["requestID"].(string); id != "" && c.key.namespace == namespace {
			seen[id] = true
		}
	}
	return len(seen)
}

// count counts the events with a reason. The operator drops events of an object above 25.
func (w *world) count(namespace, reason string) (n int) {
	for _, e := range w.events(namespace) {
		if strings.HasPrefix(e, reason+":") {
			n++
		}
	}
	return n
}

func (w *world) noSuperfluous(t *testing.T, namespace, during string) {
	t.Helper()
	if n := w.superfluous(namespace); n != 0 {
		t.Errorf("%s: %d of %d restarts in %q brought no new key", during, n, len(w.startKeys(namespace)), namespace)
	}
}

// patience is how long a test waits for what is not measured.
const patience = 30 * time.Second

// TestCreds shows why the example does not read creds: the operator restarts the pods when
// it needs another lease, although the key is the same.
func TestCreds(t *testing.T) {
	t.Parallel()
	const ns, ttl, most = "leased", 6 * time.Second, 15 * time.Second
	w := start(t, ttl)
	w.Write(t, "ecgrid/roles/"+consumertest.Role, object{"max_ttl": int(most.Seconds())})
	w.example(t, ns, func(spec object) {
		spec["path"] = "creds/" + consumertest.Role
		delete(spec, "allowStaticCreds")
	})
	w.run(t)
	consumertest.Eventually(t, patience, "a restart although the key is the same", func() bool { return w.superfluous(ns) > 0 })
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Secrets Operator, `creds`", Version: w.program.version,
		Arrives: "Secret, pods restarted", Key: w.podKey(ns), Within: ttl,
		Note: "restarts the pods at every end of max_ttl, although the key is the same",
	})
	if w.count(ns, "SecretLeaseRenewalError") == 0 {
		t.Error("no renewal was refused")
	}
}

// TestStaticCreds runs the example as it is, and beside it what its comments warn of.
func TestStaticCreds(t *testing.T) {
	t.Parallel()
	const ns, edited, ttl = exampleNamespace, "edited", 2 * time.Second
	w := start(t, ttl)
	w.Write(t, "ecgrid/roles/"+consumertest.Role, object{"max_ttl": int(ttl.Seconds())})
	w.example(t, ns, nil)
	whole := []string{"excludes", "excludeRaw"} // also the namespaces
	for _, field := range whole {
		w.example(t, strings.ToLower(field), func(spec object) {
			delete(spec["destination"].(map[string]any)["transformation"].(map[string]any), field)
		})
	}
	w.example(t, edited, func(spec object) { spec["revoke"] = false })
	w.run(t)
	consumertest.Eventually(t, patience, "the operator has read five times", func() bool { return w.reads(ns) >= 5 })
	w.noSuperfluous(t, ns, "after several ends of ttl and max_ttl")
	for _, field := range whole {
		if w.superfluous(strings.ToLower(field)) == 0 {
			t.Errorf("%s is not needed: change the example", field)
		}
	}
	w.loseToken(t, ns, edited)
	w.noSuperfluous(t, ns, "after another login at Vault")
	if w.superfluous(edited) == 0 {
		t.Error("fields that are false do no harm: change the example")
	}
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Secrets Operator, `static-creds`", Version: w.program.version,
		Arrives: "Secret, pods restarted", Key: w.podKey(ns), Within: ttl + time.Second,
		Note: "restarts the pods only for a new key",
	})
	w.noSuperfluous(t, ns, "after outages")
}

// loseToken revokes the operator's tokens and waits until it has read with new ones.
func (w *world) loseToken(t *testing.T, namespaces ...string) {
	t.Helper()
	before := map[string]int{}
	for _, ns := range namespaces {
		before[ns] = w.count(ns, "SecretSyncError")
	}
	w.Write(t, "sys/leases/revoke-prefix/auth/approle/login", nil)
	for _, ns := range namespaces {
		consumertest.Eventually(t, patience, "a read is refused", func() bool { return w.count(ns, "SecretSyncError") > before[ns] })
		read := w.reads(ns)
		consumertest.Eventually(t, patience, "a read succeeds again", func() bool { return w.reads(ns) > read+1 })
	}
}

// TestScheduledRotations waits for the rotations of two roles, which takes two minutes.
func TestScheduledRotations(t *testing.T) {
	if testing.Short() {
		t.Skip("the rotations take two minutes")
	}
	t.Parallel()
	const scheduled, ttl = "scheduled", 2 * time.Second // scheduled is a role and a namespace
	w := start(t, ttl)
	w.Write(t, "ecgrid/roles/"+consumertest.Role, object{"rotation_period": "1m"})
	w.Write(t, "ecgrid/roles/"+scheduled, object{"user_id": simulator.UserID5002, "rotation_schedule": "* * * * *"})
	w.Write(t, "sys/policies/acl/"+consumertest.Policy, object{"policy": `path "ecgrid/static-creds/+" { capabilities = ["read"] }`})
	w.example(t, exampleNamespace, nil)
	w.example(t, scheduled, func(spec object) { spec["path"] = "static-creds/" + scheduled })
	w.run(t)
	t.Run("rotation_period", func(t *testing.T) {
		t.Parallel()
		w.followsRotation(t, exampleNamespace, consumertest.UserID, ttl+time.Second)
	})
	t.Run("rotation_schedule", func(t *testing.T) {
		t.Parallel()
		w.followsRotation(t, scheduled, simulator.UserID5002, time.Minute+time.Second)
	})
}

// followsRotation waits until ECGrid has another key of the user, and then until the pods
// have it.
func (w *world) followsRotation(t *testing.T, namespace string, user int32, within time.Duration) {
	key := func() string {
		u, _ := w.Grid.User(user)
		return u.APIKey
	}
	first := key()
	consumertest.Eventually(t, 3*time.Minute, "the role's key is rotated", func() bool { return key() != first })
	took := consumertest.Eventually(t, within+consumertest.Slack, "the pods have the rotated key", func() bool { return w.podKey(namespace)() == key() })
	w.noSuperfluous(t, namespace, "after a rotation")
	if n := w.count(namespace, "SecretSyncError"); n != 0 {
		t.Errorf("%s: %d reads failed", namespace, n)
	}
	t.Logf("%s: the pods had the rotated key after %s and %d reads", namespace, consumertest.Rounded(took), w.reads(namespace))
}
