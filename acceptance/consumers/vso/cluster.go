// SPDX-License-Identifier: MPL-2.0

// Package vso runs the Vault Secrets Operator's own program against a real Vault. A cluster
// answers it as the API server of Kubernetes does.
package vso

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cluster keeps the objects of a Kubernetes API.
type cluster struct {
	resources []resource

	mu      sync.Mutex
	objects map[objectKey]object
	changes []change      // the index of a change is its resourceVersion - 1
	changed chan struct{} // closed by the next change
	// restarts are the keys in the Secret at each "rollout restart" of the Deployment in a
	// namespace.
	restarts map[string][]string
}

// objectKey is the identity of an object.
type objectKey struct{ group, plural, namespace, name string }

// change is an event of a watch.
type change struct {
	key    objectKey
	kind   string // ADDED, MODIFIED or DELETED
	object object
}

func newCluster(custom []resource) *cluster {
	return &cluster{
		resources: append(slices.Clone(builtIn), custom...),
		objects:   map[objectKey]object{}, changed: make(chan struct{}), restarts: map[string][]string{},
	}
}

func (c *cluster) resource(group, plural string) (resource, bool) {
	for _, r := range c.resources {
		if r.group == group && r.plural == plural {
			return r, true
		}
	}
	return resource{}, false
}

// put stores an object as a change. The caller holds mu.
func (c *cluster) put(k objectKey, o object, kind string) object {
	o.metadata()["resourceVersion"] = strconv.Itoa(len(c.changes) + 1)
	c.objects[k] = o
	c.changes = append(c.changes, change{key: k, kind: kind, object: o})
	close(c.changed)
	c.changed = make(chan struct{})
	return o
}

// create adds an object. It completes the metadata and the default values.
func (c *cluster) create(r resource, namespace string, o object) (object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := objectKey{r.group, r.plural, namespace, o.meta("name")}
	if k.name == "" {
		return nil, failure{400, metav1.StatusReasonBadRequest, "no name"}
	}
	if _, exists := c.objects[k]; exists {
		return nil, failure{409, metav1.StatusReasonAlreadyExists, k.name + " exists"}
	}
	o["apiVersion"], o["kind"] = r.apiVersion(), r.kind
	maps.Copy(o.metadata(), map[string]any{
		"namespace": namespace, "uid": fmt.Sprintf("00000000-0000-4000-8000-%012d", len(c.changes)+1),
		"creationTimestamp": time.Now().UTC().Format(time.RFC3339), "generation": 1,
	})
	r.schema.setDefaults(map[string]any(o))
	return c.put(k, o, "ADDED"), nil
}

// update replaces an object, or only its status. The generation counts changes of the spec.
func (c *cluster) update(r resource, k objectKey, o object, status bool) (object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, exists := c.objects[k]
	if !exists {
		return nil, notFound(k.name)
	}
	if version := o.meta("resourceVersion"); version != "" && version != old.meta("resourceVersion") {
		return nil, failure{409, metav1.StatusReasonConflict, k.name + " has changed"}
	}
	next := old.clone()
	if status {
		next["status"] = o["status"]
		return c.put(k, next, "MODIFIED"), nil
	}
	for field, value := range o {
		if field != "status" && field != "apiVersion" && field != "kind" {
			next[field] = value
		}
	}
	r.schema.setDefaults(map[string]any(next))
	next.metadata()["generation"] = old.metadata()["generation"]
	if !reflect.DeepEqual(object{"spec": next["spec"]}.clone(), object{"spec": old["spec"]}.clone()) {
		generation, _ := strconv.Atoi(fmt.Sprint(old.metadata()["generation"]))
		next.metadata()["generation"] = generation + 1
	}
	return c.put(k, next, "MODIFIED"), nil
}

func (c *cluster) get(k objectKey) (object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, exists := c.objects[k]
	if !exists {
		return nil, notFound(k.name)
	}
	return o, nil
}

// list returns the objects that match, and the version of the list.
func (c *cluster) list(match func(objectKey, object) bool) (items []object, version int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, o := range c.objects {
		if match(k, o) {
			items = append(items, o)
		}
	}
	return items, len(c.changes)
}

// remove deletes the objects that match.
func (c *cluster) remove(match func(objectKey, object) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, o := range c.objects {
		if match(k, o) {
			c.put(k, o.clone(), "DELETED")
			delete(c.objects, k)
		}
	}
}

// since returns the changes after a version, and a channel that the next one closes.
func (c *cluster) since(version int) ([]change, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes[min(version, len(c.changes)):], c.changed
}

const (
	deploymentKind = "Deployment"
	// The names are those of the example.
	secretName = "ecgrid-key"
	secretKey  = "ECGRID_API_KEY"
)

// recordRestart notes with which key the pods of the Deployment start now.
func (c *cluster) recordRestart(namespace string) {
	key := c.secretValue(namespace)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restarts[namespace] = append(c.restarts[namespace], key)
}

// secretValue is the key in the Secret, or "".
func (c *cluster) secretValue(namespace string) string {
	o, err := c.get(objectKey{"", "secrets", namespace, secretName})
	if err != nil {
		return ""
	}
	data, _ := o["data"].(map[string]any)
	encoded, _ := data[secretKey].(string)
	value, _ := base64.StdEncoding.DecodeString(encoded)
	return string(value)
}

// startKeys returns the keys with which the pods were restarted, the oldest first.
func (c *cluster) startKeys(namespace string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.restarts[namespace])
}

// failure is an error in the form of Kubernetes.
type failure struct {
	code    int
	reason  metav1.StatusReason
	message string
}

func (f failure) Error() string { return f.message }

func notFound(name string) error {
	return failure{404, metav1.StatusReasonNotFound, name + " does not exist"}
}
