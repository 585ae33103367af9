// SPDX-License-Identifier: MPL-2.0

// Package eso runs External Secrets Operator's own controllers and Vault generator against
// a real Vault, with the example's manifest. Kubernetes is controller-runtime's fake client.
package eso

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ctrlcommon "github.com/external-secrets/external-secrets/pkg/controllers/common"
	"github.com/external-secrets/external-secrets/pkg/controllers/externalsecret"
	"github.com/external-secrets/external-secrets/pkg/controllers/externalsecret/esmetrics"
	"github.com/external-secrets/external-secrets/pkg/controllers/generatorstate"
	ctrlmetrics "github.com/external-secrets/external-secrets/pkg/controllers/metrics"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// apiServer takes the operator's events. Objects are not there but in a cluster.
var apiServer *httptest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	apiServer = httptest.NewServer(http.HandlerFunc(echo))
	defer apiServer.Close()
	dir, err := os.MkdirTemp("", "eso")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := setEnvironment(filepath.Join(dir, "kubeconfig")); err != nil {
		panic(err)
	}
	ctrl.SetLogger(logr.Discard())
	ctrlmetrics.SetUpLabelNames(false)
	esmetrics.SetUpMetrics()
	return m.Run()
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	w.WriteHeader(http.StatusCreated)
	_, _ = io.Copy(w, r.Body)
}

// setEnvironment removes the user's settings of Vault, and makes a kubeconfig, without which
// the generator refuses to run.
func setEnvironment(kubeconfig string) error {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "VAULT_") && name != "VAULT_BIN" {
			os.Unsetenv(name)
		}
	}
	os.Setenv("KUBECONFIG", kubeconfig)
	return os.WriteFile(kubeconfig, fmt.Appendf(nil, `{
  "apiVersion": "v1", "kind": "Config", "current-context": "test",
  "clusters": [{"name": "test", "cluster": {"server": %q}}],
  "contexts": [{"name": "test", "context": {"cluster": "test"}}]
}`, apiServer.URL), 0o600)
}

// startOperator runs the controllers as the operator's main does, until the end of the test.
func startOperator(t *testing.T, c *cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	mgr := newManager(t, ctx, c)
	options := func() controller.Options {
		return controller.Options{MaxConcurrentReconciles: 1, RateLimiter: ctrlcommon.BuildRateLimiter()}
	}
	consumertest.Must(t, (&generatorstate.Reconciler{
		Client:     mgr.GetClient(),
		Log:        logr.Discard(),
		Scheme:     mgr.GetScheme(),
		RestConfig: mgr.GetConfig(),
	}).SetupWithManager(mgr, options()))
	consumertest.Must(t, (&externalsecret.Reconciler{
		Client:                    mgr.GetClient(),
		SecretClient:              mgr.GetClient(),
		Log:                       logr.Discard(),
		Scheme:                    mgr.GetScheme(),
		RestConfig:                mgr.GetConfig(),
		ControllerClass:           "default",
		RequeueInterval:           time.Hour,
		ClusterSecretStoreEnabled: true,
		EnableFloodGate:           true,
	}).SetupWithManager(mgr, options()))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func newManager(t *testing.T, ctx context.Context, c *cluster) ctrl.Manager {
	t.Helper()
	twice := true // one manager each test
	mgr, err := ctrl.NewManager(&rest.Config{Host: apiServer.URL}, ctrl.Options{
		Scheme:         c.Scheme(),
		Metrics:        server.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: &twice},
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return c.RESTMapper(), nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return c, nil },
		NewCache: func(*rest.Config, cache.Options) (cache.Cache, error) {
			return &informers{cluster: c, stop: ctx.Done()}, nil
		},
	})
	consumertest.Must(t, err)
	return mgr
}
