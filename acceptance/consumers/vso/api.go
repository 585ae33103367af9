// SPDX-License-Identifier: MPL-2.0

package vso

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	k8sschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// request is a request to the API, taken apart.
type request struct {
	*http.Request
	resource  resource
	key       objectKey
	status    bool // of the object's status only
	selector  labels.Selector
	onlyMeta  bool // the answer has only the metadata of objects
	watchFrom string
}

// ServeHTTP serves what the operator asks of Kubernetes: discovery, and to create, get, list,
// watch, update, patch and delete.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := c.serve(w, r)
	if f := (failure{}); errors.As(err, &f) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.code)
		answer, err = metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Reason: f.reason, Message: f.message, Code: int32(f.code),
		}, nil
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if answer == nil {
		return // a watch, which has ended
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if answer := c.discover(parts); answer != nil {
		return answer, nil
	}
	q, err := c.parse(r, parts)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Method == http.MethodGet && q.key.name != "":
		o, err := c.get(q.key)
		return q.shown(o), err
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		return nil, c.watch(w, q)
	case r.Method == http.MethodGet:
		return c.listAnswer(q), nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	switch r.Method {
	case http.MethodPost:
		o, err := q.decode(body)
		if err != nil {
			return nil, err
		}
		return c.create(q.resource, q.key.namespace, o)
	case http.MethodPut:
		o, err := q.decode(body)
		if err != nil {
			return nil, err
		}
		return c.update(q.resource, q.key, o, q.status)
	case http.MethodPatch:
		return c.patch(q, body)
	case http.MethodDelete:
		c.remove(q.matches)
		return metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess}, nil
	}
	return nil, failure{405, metav1.StatusReasonMethodNotAllowed, r.Method + " is not served"}
}

// discover answers the requests for groups and their resources, else nil.
func (c *cluster) discover(parts []string) any {
	type list = map[string]any
	switch path := strings.Join(parts, "/"); {
	case path == "api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case path == "apis":
		groups, seen := []list{}, map[string]bool{"": true}
		for _, r := range c.resources {
			if !seen[r.group] {
				version := list{"groupVersion": r.apiVersion(), "version": r.version}
				groups = append(groups, list{"name": r.group, "versions": []list{version}, "preferredVersion": version})
			}
			seen[r.group] = true
		}
		return list{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
	case len(parts) == 2 && parts[0] == "api", len(parts) == 3 && parts[0] == "apis":
		version, resources := strings.Join(parts[1:], "/"), []list{}
		for _, r := range c.resources {
			if r.apiVersion() == version {
				resources = append(resources, list{
					"name": r.plural, "kind": r.kind, "namespaced": true,
					"verbs": []string{"create", "delete", "get", "list", "patch", "update", "watch"},
				})
			}
		}
		return list{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
	}
	return nil
}

// parse reads /api/v1/… or /apis/<group>/<version>/…, and there
// [namespaces/<namespace>/]<plural>[/<name>[/status]].
func (c *cluster) parse(r *http.Request, parts []string) (request, error) {
	q := request{Request: r, watchFrom: r.URL.Query().Get("resourceVersion")}
	unknown := failure{404, metav1.StatusReasonNotFound, r.URL.Path + " is not served"}
	if len(parts) < 3 {
		return q, unknown
	}
	rest := parts[2:]
	if parts[0] == "apis" {
		q.key.group, rest = parts[1], parts[3:]
	}
	if len(rest) > 2 && rest[0] == "namespaces" {
		q.key.namespace, rest = rest[1], rest[2:]
	}
	if len(rest) == 0 {
		return q, unknown
	}
	q.key.plural = rest[0]
	if len(rest) > 1 {
		q.key.name = rest[1]
	}
	q.status = len(rest) > 2 && rest[2] == "status"
	var known bool
	if q.resource, known = c.resource(q.key.group, q.key.plural); !known {
		return q, unknown
	}
	q.onlyMeta = strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	var err error
	q.selector, err = labels.Parse(r.URL.Query().Get("labelSelector"))
	return q, err
}

// matches reports whether a request for one or more objects means this one.
func (q request) matches(k objectKey, o object) bool {
	if k.group != q.key.group || k.plural != q.key.plural ||
		(q.key.namespace != "" && k.namespace != q.key.namespace) || (q.key.name != "" && k.name != q.key.name) {
		return false
	}
	set := labels.Set{}
	all, _ := o.metadata()["labels"].(map[string]any)
	for name, value := range all {
		set[name] = fmt.Sprint(value)
	}
	return q.selector.Matches(set)
}

// shown is an object in the form that the client asks for.
func (q request) shown(o object) object {
	if o == nil || !q.onlyMeta {
		return o
	}
	return object{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o["metadata"]}
}

func (c *cluster) listAnswer(q request) any {
	found, version := c.list(q.matches)
	items := []object{}
	for _, o := range found {
		items = append(items, q.shown(o))
	}
	apiVersion, kind := q.resource.apiVersion(), q.resource.kind+"List"
	if q.onlyMeta {
		apiVersion, kind = "meta.k8s.io/v1", "PartialObjectMetadataList"
	}
	return map[string]any{
		"apiVersion": apiVersion, "kind": kind, "items": items,
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(version)},
	}
}

// watch sends the changes after the given version, until the client goes.
func (c *cluster) watch(w http.ResponseWriter, q request) error {
	version, err := strconv.Atoi(q.watchFrom)
	if err != nil {
		return failure{400, metav1.StatusReasonBadRequest, "a watch needs a resourceVersion"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := json.NewEncoder(w)
	for {
		_ = http.NewResponseController(w).Flush()
		news, next := c.since(version)
		for _, n := range news {
			if q.matches(n.key, n.object) {
				if err := out.Encode(map[string]any{"type": n.kind, "object": q.shown(n.object)}); err != nil {
					return nil // the client is gone
				}
			}
		}
		if version += len(news); len(news) > 0 {
			continue
		}
		select {
		case <-next:
		case <-q.Context().Done():
			return nil
		}
	}
}

// decode reads an object. The operator sends Kubernetes' own types as protobuf.
func (q request) decode(body []byte) (object, error) {
	var o object
	if strings.HasPrefix(q.Header.Get("Content-Type"), "application/json") {
		return o, json.Unmarshal(body, &o)
	}
	typed, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(typed)
	if err != nil {
		return nil, err
	}
	return o, json.Unmarshal(raw, &o)
}

// patch merges a patch into an object, as the type of the patch says.
func (c *cluster) patch(q request, body []byte) (any, error) {
	old, err := c.get(q.key)
	if err != nil {
		return nil, err
	}
	next := old.clone()
	if strings.HasPrefix(q.Header.Get("Content-Type"), "application/strategic-merge-patch+json") {
		if next, err = q.strategic(old, body); err != nil {
			return nil, err
		}
	} else {
		var p map[string]any
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		merge(next, p)
	}
	if q.resource.kind == deploymentKind {
		c.recordRestart(q.key.namespace)
	}
	return c.update(q.resource, q.key, next, q.status)
}

// strategic merges a patch of a type of Kubernetes itself.
func (q request) strategic(old object, patch []byte) (object, error) {
	typed, err := scheme.Scheme.New(k8sschema.GroupVersionKind{Group: q.resource.group, Version: q.resource.version, Kind: q.resource.kind})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergePatch(raw, patch, typed)
	if err != nil {
		return nil, err
	}
	var o object
	return o, json.Unmarshal(merged, &o)
}

// merge is a JSON merge patch (RFC 7396).
func merge(o, patch map[string]any) {
	for name, value := range patch {
		inner, isObject := value.(map[string]any)
		old, wasObject := o[name].(map[string]any)
		switch {
		case value == nil:
			delete(o, name)
		case isObject && wasObject:
			merge(old, inner)
		default:
			o[name] = value
		}
	}
}
