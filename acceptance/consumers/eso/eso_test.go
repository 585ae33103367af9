// SPDX-License-Identifier: MPL-2.0

package eso

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	ctrlcommon "github.com/external-secrets/external-secrets/pkg/controllers/common"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

const (
	refreshInterval = 2 * time.Second
	leaseTTL        = 10 * time.Minute // so that no lease ends during a test
	patience        = 30 * time.Second // for what is not measured
)

// trial is a path to read, with the type of token that the operator gets at Vault.
type trial struct {
	path, token string
	each        leftovers // of a refresh
	note        string
}

// TestExternalSecrets runs the operator with the example. It counts what each refresh leaves
// in Vault, and then measures.
func TestExternalSecrets(t *testing.T) {
	t.Parallel()
	for _, c := range []trial{
		{"creds", "service", leftovers{leases: 1, tokens: 1}, "each refresh leaves a lease and a token behind, which end after their ttl"},
		{"static-creds", "batch", leftovers{}, "with batch tokens, a refresh leaves nothing behind in Vault"},
	} {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c trial) run(t *testing.T) {
	w := consumertest.Start(t, leaseTTL)
	// With this, the ttl in an answer of static-creds/ changes with each read.
	w.Write(t, "ecgrid/roles/"+consumertest.Role, map[string]any{"rotation_period": "5m"})
	x := newExample(t, w, c)
	k := newCluster(t, x.objects()...)
	target := client.ObjectKey{Namespace: x.secret.Namespace, Name: x.secret.Spec.Target.Name}
	before := count(t, w, c.path)
	startOperator(t, k)

	consumertest.Eventually(t, patience, "the Secret exists", func() bool { return len(k.secret(target).Data) > 0 })
	first := k.secret(target)
	c.checkLeftovers(t, w, k, before)
	if now := k.secret(target); len(now.Data) != 1 || now.ResourceVersion != first.ResourceVersion {
		t.Errorf("the Secret has %d keys, and was written again although its key is the same: %v", len(now.Data), now.ResourceVersion != first.ResourceVersion)
	}
	w.Measure(t, consumertest.Consumer{
		Name: "External Secrets Operator, `" + c.path + "`", Version: version(t), Arrives: "Secret",
		Key:    func() string { return string(k.secret(target).Data["ECGRID_API_KEY"]) },
		Within: refreshInterval,
		Note:   fmt.Sprintf("refreshInterval %v; %s", refreshInterval, c.note),
	})
	checkCleanup(t, w, k, x, c.path)
}

// TestBackoff checks how long the operator waits at most between two attempts, as the README
// of the example says.
func TestBackoff(t *testing.T) {
	t.Parallel()
	limiter := ctrlcommon.BuildRateLimiter()
	var longest time.Duration
	for range 20 {
		longest = max(longest, limiter.When(reconcile.Request{}))
	}
	if longest != 7*time.Minute {
		t.Errorf("the longest wait is %v", longest)
	}
}

// leftovers is what refreshes leave in Vault.
type leftovers struct{ leases, tokens int }

// count returns the leases of a path, and all tokens that Vault stores.
func count(t *testing.T, w *consumertest.World, path string) leftovers {
	t.Helper()
	list := func(path string) int {
		r, err := w.Do("LIST", path, nil)
		consumertest.Must(t, err)
		keys, _ := r.Data["keys"].([]any) // none: 404
		return len(keys)
	}
	return leftovers{
		leases: list("sys/leases/lookup/ecgrid/" + path + "/" + consumertest.Role),
		tokens: list("auth/token/accessors"),
	}
}

// checkLeftovers waits for some refreshes, and until Vault has what they leave.
func (c trial) checkLeftovers(t *testing.T, w *consumertest.World, k *cluster, before leftovers) {
	t.Helper()
	const refreshes = 3
	var n int
	var got leftovers
	consumertest.Eventually(t, patience, "three refreshes", func() bool { return k.refreshCount() >= refreshes })
	for end := time.Now().Add(time.Second + consumertest.Slack); time.Now().Before(end); time.Sleep(20 * time.Millisecond) { // a refresh may be running
		n, got = k.refreshCount(), count(t, w, c.path)
		got.tokens -= before.tokens
		if got == (leftovers{n * c.each.leases, n * c.each.tokens}) {
			return
		}
	}
	t.Errorf("%d refreshes have left %+v, want %+v for each", n, got, c.each)
}

// checkCleanup checks that the operator revokes no lease. It would do so for a
// GeneratorState, which the generator does not make, and in Cleanup.
func checkCleanup(t *testing.T, w *consumertest.World, k *cluster, x example, path string) {
	t.Helper()
	ctx := context.Background()
	consumertest.Must(t, k.Delete(ctx, x.secret))
	before := count(t, w, path).leases
	var states genv1alpha1.GeneratorStateList
	consumertest.Must(t, k.List(ctx, &states))
	generator, ok := genv1alpha1.GetGeneratorByName(genv1alpha1.VaultDynamicSecretKind)
	if !ok || len(states.Items) > 0 {
		t.Fatalf("generator: %v, %d GeneratorStates", ok, len(states.Items))
	}
	consumertest.Must(t, generator.Cleanup(ctx, nil, nil, k, x.secret.Namespace))
	if after := count(t, w, path).leases; after < before {
		t.Errorf("the operator has revoked %d leases", before-after)
	}
}

// version is the release in go.mod.
func version(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(consumertest.Root(), "acceptance", "consumers", "eso", "go.mod"))
	consumertest.Must(t, err)
	found := regexp.MustCompile(`external-secrets/external-secrets (v\S+)`).FindSubmatch(raw)
	if found == nil {
		t.Fatal("go.mod has no version of the operator")
	}
	return string(found[1])
}
