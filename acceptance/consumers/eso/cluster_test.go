// SPDX-License-Identifier: MPL-2.0

package eso

import (
	"context"
	"sync"
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// cluster is Kubernetes' objects, and the number of times that the operator has refreshed
// them.
type cluster struct {
	client.WithWatch

	mu        sync.Mutex
	refreshes int
	refreshed metav1.Time
}

func newCluster(t *testing.T, objects ...client.Object) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, esv1.AddToScheme, genv1alpha1.AddToScheme} {
		consumertest.Must(t, add(scheme))
	}
	c := &cluster{}
	c.WithWatch = fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(objects...).
		WithStatusSubresource(&esv1.ExternalSecret{}).
		WithIndex(&esv1.ExternalSecret{}, ".metadata.targetSecretName", targetName). // as the operator's own
		WithInterceptorFuncs(interceptor.Funcs{Create: create, SubResourceUpdate: c.updateStatus}).
		Build()
	return c
}

func targetName(o client.Object) []string {
	return []string{o.(*esv1.ExternalSecret).Spec.Target.Name}
}

// create gives each object a UID. The operator takes one without for missing.
func create(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
	o.SetUID(types.UID(uuid.NewString()))
	return c.Create(ctx, o, options...)
}

// updateStatus counts the refreshes.
func (c *cluster) updateStatus(ctx context.Context, inner client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
	err := inner.SubResource(sub).Update(ctx, o, options...)
	es, ok := o.(*esv1.ExternalSecret)
	if err != nil || !ok {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := es.Status.RefreshTime; !at.IsZero() && !at.Equal(&c.refreshed) {
		c.refreshes, c.refreshed = c.refreshes+1, at
	}
	return nil
}

func (c *cluster) refreshCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refreshes
}

// secret returns a Secret, which is empty if it does not exist.
func (c *cluster) secret(key client.ObjectKey) *corev1.Secret {
	var s corev1.Secret
	if err := c.Get(context.Background(), key, &s); err != nil {
		return &corev1.Secret{}
	}
	return &s
}

// informers is the cache of the operator's manager. It brings the cluster's changes to the
// controllers; reads do not use it.
type informers struct {
	informertest.FakeInformers
	cluster client.WithWatch
	stop    <-chan struct{}
}

var _ cache.Cache = &informers{}

// GetInformer starts an informer for the type of an object.
func (i *informers) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	newList := func() client.ObjectList { return &corev1.SecretList{} }
	switch o.(type) {
	case *esv1.ExternalSecret:
		newList = func() client.ObjectList { return &esv1.ExternalSecretList{} }
	case *genv1alpha1.GeneratorState:
		newList = func() client.ObjectList { return &genv1alpha1.GeneratorStateList{} }
	default: // metadata of Secrets
		o = &corev1.Secret{}
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListFunc: func(metav1.ListOptions) (runtime.Object, error) {
			list := newList()
			return list, i.cluster.List(context.Background(), list)
		},
		WatchFunc: func(metav1.ListOptions) (watch.Interface, error) {
			return i.cluster.Watch(context.Background(), newList())
		},
	}, o, 0, toolscache.Indexers{})
	go informer.Run(i.stop)
	return informer, nil
}
