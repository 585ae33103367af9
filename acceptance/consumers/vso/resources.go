// SPDX-License-Identifier: MPL-2.0

package vso

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// resource is a kind of object that the cluster keeps.
type resource struct {
	group, version, plural, kind string
	// schema is that of a custom resource, with its default values.
	schema *schema
}

func (r resource) apiVersion() string {
	if r.group == "" {
		return r.version
	}
	return r.group + "/" + r.version
}

// builtIn are the kinds of Kubernetes itself that the operator uses.
var builtIn = []resource{
	{version: "v1", plural: "secrets", kind: "Secret"},
	{version: "v1", plural: "configmaps", kind: "ConfigMap"},
	{version: "v1", plural: "serviceaccounts", kind: "ServiceAccount"},
	{version: "v1", plural: "events", kind: "Event"},
	{group: "apps", version: "v1", plural: "deployments", kind: "Deployment"},
}

// schema is the part of a CRD's OpenAPI schema that sets default values.
type schema struct {
	Default    any                `json:"default"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
}

// setDefaults adds the default values to an object, as the API server does.
func (s *schema) setDefaults(value any) {
	if s == nil {
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for name, property := range s.Properties {
			if _, set := value[name]; !set && property.Default != nil {
				value[name] = property.Default
			}
			property.setDefaults(value[name])
		}
	case []any:
		for _, item := range value {
			s.Items.setDefaults(item)
		}
	}
}

// customResources reads the CRDs of a directory. Each has one version.
func customResources(dir string) ([]resource, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no CRDs in %s: %w", filepath.Base(dir), err)
	}
	var all []resource
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var crd struct {
			Spec struct {
				Group    string
				Names    struct{ Kind, Plural string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema *schema }
				}
			}
		}
		if err := yaml.Unmarshal(raw, &crd); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		for _, v := range crd.Spec.Versions {
			all = append(all, resource{
				group: crd.Spec.Group, version: v.Name, plural: crd.Spec.Names.Plural, kind: crd.Spec.Names.Kind,
				schema: v.Schema.OpenAPIV3Schema,
			})
		}
	}
	return all, nil
}

// object is an object of the cluster as JSON has it.
type object map[string]any

func (o object) metadata() map[string]any {
	m, _ := o["metadata"].(map[string]any)
	if m == nil {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

func (o object) meta(name string) string {
	s, _ := o.metadata()[name].(string)
	return s
}

// clone is needed since objects in the cluster never change.
func (o object) clone() object {
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err) // it came from JSON
	}
	var c object
	if err := json.Unmarshal(raw, &c); err != nil {
		panic(err)
	}
	return c
}
