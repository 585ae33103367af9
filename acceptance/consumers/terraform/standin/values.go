// SPDX-License-Identifier: MPL-2.0

package standin

import (
	"encoding/json"
	"fmt"
	"math/big"
	"sort"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"vault-plugin-ecgrid/acceptance/consumers/terraform/schema"
)

var types = map[string]tftypes.Type{
	"string":       tftypes.String,
	"number":       tftypes.Number,
	"bool":         tftypes.Bool,
	"list(string)": tftypes.List{ElementType: tftypes.String},
	"map(string)":  tftypes.Map{ElementType: tftypes.String},
}

func protocolSchemas(all map[string]schema.Attributes) map[string]*tfprotov5.Schema {
	schemas := map[string]*tfprotov5.Schema{}
	for name, attributes := range all {
		block := &tfprotov5.SchemaBlock{}
		for attribute, a := range attributes {
			block.Attributes = append(block.Attributes, &tfprotov5.SchemaAttribute{
				Name: attribute, Type: types[a.Type], Required: a.Required, Optional: a.Optional,
				Computed: a.Computed, Sensitive: a.Sensitive, WriteOnly: a.WriteOnly,
			})
		}
		sort.Slice(block.Attributes, func(i, j int) bool { return block.Attributes[i].Name < block.Attributes[j].Name })
		schemas[name] = &tfprotov5.Schema{Version: 1, Block: block}
	}
	return schemas
}

// object is the value of a resource. It is nil if there is no resource.
type object struct {
	attributes schema.Attributes
	values     map[string]tftypes.Value
}

func objectType(attributes schema.Attributes) tftypes.Object {
	t := tftypes.Object{AttributeTypes: map[string]tftypes.Type{}}
	for name, a := range attributes {
		t.AttributeTypes[name] = types[a.Type]
	}
	return t
}

func decode(attributes schema.Attributes, encoded *tfprotov5.DynamicValue) (*object, error) {
	value, err := encoded.Unmarshal(objectType(attributes))
	if err != nil || value.IsNull() {
		return nil, err
	}
	o := &object{attributes: attributes}
	return o, value.As(&o.values)
}

func encode(attributes schema.Attributes, o *object) (*tfprotov5.DynamicValue, error) {
	t := objectType(attributes)
	value := tftypes.NewValue(t, nil)
	if o != nil {
		value = tftypes.NewValue(t, o.values)
	}
	encoded, err := tfprotov5.NewDynamicValue(t, value)
	return &encoded, err
}

func (o *object) copy() *object {
	if o == nil {
		return nil
	}
	c := &object{o.attributes, map[string]tftypes.Value{}}
	for name, v := range o.values {
		c.values[name] = v
	}
	return c
}

func (o *object) text(name string) (s string) {
	if v := o.values[name]; v.IsKnown() && !v.IsNull() {
		_ = v.As(&s)
	}
	return s
}

func (o *object) on(name string) (on bool) {
	if v := o.values[name]; v.IsKnown() && !v.IsNull() {
		_ = v.As(&on)
	}
	return on
}

func (o *object) texts(name string) (all []string) {
	var values []tftypes.Value
	_ = o.values[name].As(&values)
	for _, v := range values {
		var s string
		_ = v.As(&s)
		all = append(all, s)
	}
	return all
}

// set sets an attribute to a value of its Go type, to null (nil) or to an unknown value.
func (o *object) set(name string, value any) {
	t := types[o.attributes[name].Type]
	switch v := value.(type) {
	case int:
		value = big.NewFloat(float64(v))
	case map[string]string:
		elements := map[string]tftypes.Value{}
		for k, s := range v {
			elements[k] = tftypes.NewValue(tftypes.String, s)
		}
		value = elements
	}
	o.values[name] = tftypes.NewValue(t, value)
}

// setRead sets a text that Vault has answered. An empty one stays null if it was null.
func (o *object) setRead(name string, answered any) {
	if s := fmt.Sprint(answered); answered != nil && s != o.text(name) {
		o.set(name, s)
	}
}

// normalized writes JSON as the Vault provider stores it: without spaces, and sorted.
func normalized(text string) (string, error) {
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return "", fmt.Errorf("data_json is not a JSON object: %w", err)
	}
	out, err := json.Marshal(value)
	return string(out), err
}

// textMap keeps texts, and writes all else as JSON.
func textMap(data map[string]any) map[string]string {
	all := map[string]string{}
	for name, value := range data {
		if s, ok := value.(string); ok {
			all[name] = s
			continue
		}
		out, _ := json.Marshal(value)
		all[name] = string(out)
	}
	return all
}
