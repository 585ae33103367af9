// SPDX-License-Identifier: MPL-2.0

package eso

import (
	"os"
	"strings"
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	esmeta "github.com/external-secrets/external-secrets/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// examplePath is the path in the example. It is what the trials replace.
const examplePath = "/ecgrid/static-creds/" + consumertest.Role

// example has the objects of the example's manifest, and what they refer to.
type example struct {
	generator *genv1alpha1.VaultDynamicSecret
	secret    *esv1.ExternalSecret
	ca        *corev1.ConfigMap
	secretID  *corev1.Secret
}

func (x example) objects() []client.Object {
	return []client.Object{x.generator, x.secret, x.ca, x.secretID}
}

// newExample decodes the manifest. It changes the address, the login, since a test Vault has
// no Kubernetes auth method, the path and the interval. Everything else is the manifest's.
func newExample(t *testing.T, w *consumertest.World, c trial) example {
	t.Helper()
	x := example{generator: &genv1alpha1.VaultDynamicSecret{}, secret: &esv1.ExternalSecret{}}
	objects, err := parse(exampleText(t), definitions(t, copied()))
	consumertest.Must(t, err)
	for _, o := range objects {
		var into any = x.generator
		if o.GetKind() == esv1.ExtSecretKind {
			into = x.secret
		}
		consumertest.Must(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true))
	}
	spec := &x.generator.Spec
	if spec.Path != examplePath {
		t.Fatalf("the example reads %s, want %s", spec.Path, examplePath)
	}
	spec.Path = strings.Replace(spec.Path, "static-creds", c.path, 1)
	spec.Provider.Server = w.Addr
	x.secret.Spec.RefreshInterval = &metav1.Duration{Duration: refreshInterval}
	x.logIn(t, w, c.token)
	x.addCA(t, w)
	return x
}

// logIn makes the generator log in with an AppRole, whose tokens are of a type.
func (x *example) logIn(t *testing.T, w *consumertest.World, token string) {
	t.Helper()
	roleID, secretID := w.AppRole(t)
	if token == "batch" {
		w.Write(t, "auth/approle/role/"+consumertest.Role, map[string]any{"token_type": token, "token_period": 0, "token_ttl": "1m"})
	}
	const key = "secret-id"
	x.secretID = &corev1.Secret{ObjectMeta: named(x, "approle"), Data: map[string][]byte{key: []byte(secretID)}}
	x.generator.Spec.Provider.Auth = &esv1.VaultAuth{AppRole: &esv1.VaultAppRole{
		Path: "approle", RoleID: roleID, SecretRef: esmeta.SecretKeySelector{Name: x.secretID.Name, Key: key},
	}}
}

// addCA makes the ConfigMap with Vault's CA that the example names.
func (x *example) addCA(t *testing.T, w *consumertest.World) {
	t.Helper()
	raw, err := os.ReadFile(w.CAFile())
	consumertest.Must(t, err)
	ca := x.generator.Spec.Provider.CAProvider
	x.ca = &corev1.ConfigMap{ObjectMeta: named(x, ca.Name), Data: map[string]string{ca.Key: string(raw)}}
}

func named(x *example, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: x.generator.Namespace, Name: name}
}
