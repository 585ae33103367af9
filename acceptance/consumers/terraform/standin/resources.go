// SPDX-License-Identifier: MPL-2.0

package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// resource is what the Vault provider does for a type of resource.
type resource struct {
	forceNew []string // a change of one of these replaces the resource
	id       func(*object) string
	// write creates or changes what is planned. Only config has write-only values.
	write func(p *provider, prior, planned, config *object) error
	// read returns nil if Vault does not have it.
	read   func(*provider, *object) (*object, error)
	remove func(*provider, *object) error
}

var resources = map[string]resource{
	"vault_generic_endpoint": {[]string{"path"}, attribute("path"), writeEndpoint, readEndpoint, removeEndpoint},
	"vault_kv_secret_v2":     {[]string{"mount", "name"}, kvPath, writeKV, readKV, removeAt(kvPath)},
	"vault_mount":            {[]string{"type"}, attribute("path"), writeMount, readMount, removeAt(mountPath)},
	"vault_plugin":           {[]string{"type", "name", "version"}, pluginID, writePlugin, readPlugin, removeAt(pluginPath)},
	"vault_policy":           {[]string{"name"}, attribute("name"), writePolicy, readPolicy, removeAt(policyPath)},
}

func attribute(name string) func(*object) string {
	return func(o *object) string { return o.text(name) }
}

func removeAt(path func(*object) string) func(*provider, *object) error {
	return func(p *provider, o *object) error {
		_, _, err := p.send(http.MethodDelete, path(o), nil)
		return err
	}
}

func writeEndpoint(p *provider, _, planned, _ *object) error {
	_, _, err := p.send(http.MethodPut, planned.text("path"), json.RawMessage(planned.text("data_json")))
	planned.set("write_data", map[string]string{})
	planned.set("write_data_json", "null")
	return err
}

// readEndpoint stores what Vault answers. With ignore_absent_fields these are only the
// fields that data_json has.
func readEndpoint(p *provider, o *object) (*object, error) {
	if o.on("disable_read") {
		return o, nil
	}
	read, found, err := p.send(http.MethodGet, o.text("path"), nil)
	if err != nil || !found {
		return nil, err
	}
	if o.on("ignore_absent_fields") {
		supplied := map[string]any{}
		if err := json.Unmarshal([]byte(o.text("data_json")), &supplied); err != nil {
			return nil, err
		}
		for name := range supplied {
			if value, shown := read[name]; shown {
				supplied[name] = value
			}
		}
		read = supplied
	}
	text, err := json.Marshal(read)
	o = o.copy()
	o.set("data_json", string(text))
	return o, err
}

func removeEndpoint(p *provider, o *object) error {
	if o.on("disable_delete") {
		return nil
	}
	return removeAt(attribute("path"))(p, o)
}

func mountPath(o *object) string { return "sys/mounts/" + o.text("path") }

func writeMount(p *provider, prior, planned, _ *object) error {
	config := map[string]any{"plugin_version": planned.text("plugin_version")}
	if prior == nil {
		_, _, err := p.send(http.MethodPost, mountPath(planned), map[string]any{
			"type": planned.text("type"), "description": planned.text("description"), "config": config,
		})
		return err
	}
	if prior.text("path") != planned.text("path") {
		return errors.New("the stand-in cannot move a mount")
	}
	config["description"] = planned.text("description")
	_, _, err := p.send(http.MethodPost, mountPath(planned)+"/tune", config)
	return err
}

func readMount(p *provider, o *object) (*object, error) {
	all, _, err := p.send(http.MethodGet, "sys/mounts", nil)
	mount, found := all[o.text("path")+"/"].(map[string]any)
	if err != nil || !found {
		return nil, err
	}
	o = o.copy()
	for _, name := range []string{"type", "description", "accessor", "plugin_version"} {
		o.setRead(name, mount[name])
	}
	return o, nil
}

func pluginID(o *object) string {
	return fmt.Sprintf("%s/version/%s/name/%s", o.text("type"), o.text("version"), o.text("name"))
}

func pluginPath(o *object) string {
	return fmt.Sprintf("sys/plugins/catalog/%s/%s?version=%s", o.text("type"), o.text("name"), o.text("version"))
}

func writePlugin(p *provider, _, planned, _ *object) error {
	_, _, err := p.send(http.MethodPut, pluginPath(planned), map[string]any{
		"command": planned.text("command"), "version": planned.text("version"), "sha256": planned.text("sha256"),
		"args": planned.texts("args"), "env": planned.texts("env"),
	})
	return err
}

func readPlugin(p *provider, o *object) (*object, error) {
	read, found, err := p.send(http.MethodGet, pluginPath(o), nil)
	if err != nil || !found {
		return nil, err
	}
	o = o.copy()
	o.setRead("command", read["command"])
	o.setRead("sha256", read["sha256"])
	return o, nil
}

func policyPath(o *object) string { return "sys/policies/acl/" + o.text("name") }

func writePolicy(p *provider, _, planned, _ *object) error {
	_, _, err := p.send(http.MethodPut, policyPath(planned), map[string]any{"policy": planned.text("policy")})
	return err
}

func readPolicy(p *provider, o *object) (*object, error) {
	read, found, err := p.send(http.MethodGet, policyPath(o), nil)
	if err != nil || !found {
		return nil, err
	}
	o = o.copy()
	o.setRead("policy", read["policy"])
	return o, nil
}

func kvPath(o *object) string { return o.text("mount") + "/data/" + o.text("name") }

func writeKV(p *provider, prior, planned, config *object) error {
	if prior != nil && prior.values["data_json_wo_version"].Equal(planned.values["data_json_wo_version"]) {
		return nil
	}
	_, _, err := p.send(http.MethodPost, kvPath(planned), map[string]any{"data": json.RawMessage(config.text("data_json_wo"))})
	planned.set("path", kvPath(planned))
	return err
}

func readKV(p *provider, o *object) (*object, error) {
	_, found, err := p.send(http.MethodGet, kvPath(o), nil)
	if err != nil || !found {
		return nil, err
	}
	return o, nil
}

// ephemerals open ephemeral resources. Nothing is done when they are closed: a lease that
// was read lives on.
var ephemerals = map[string]func(*provider, *object) error{
	"vault_generic_endpoint": func(p *provider, o *object) error {
		_, _, err := p.send(http.MethodPut, o.text("path"), json.RawMessage(o.text("data_json")))
		o.set("write_data", map[string]string{})
		o.set("write_data_json", "null")
		return err
	},
	"vault_generic_secret": func(p *provider, o *object) error {
		r, err := p.vault.Do(http.MethodGet, o.text("path"), nil)
		if err != nil {
			return err
		}
		if !r.OK() {
			return fmt.Errorf("error of Vault at %s: status %d: %v", o.text("path"), r.Status, r.Errors)
		}
		text, err := json.Marshal(r.Data)
		o.set("data", textMap(r.Data))
		o.set("data_json", string(text))
		o.set("lease_id", r.LeaseID)
		o.set("lease_duration", r.LeaseDuration)
		o.set("lease_renewable", r.Renewable)
		return err
	},
}
