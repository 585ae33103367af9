// SPDX-License-Identifier: MPL-2.0

package standin

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func (p *provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p *provider) UpgradeResourceState(_ context.Context, r *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	t := objectType(p.schema.Resources[r.TypeName])
	value, err := r.RawState.Unmarshal(t)
	if err != nil {
		return nil, err
	}
	encoded, err := tfprotov5.NewDynamicValue(t, value)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &encoded}, err
}

func (p *provider) ReadResource(_ context.Context, r *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	attributes := p.schema.Resources[r.TypeName]
	state, err := decode(attributes, r.CurrentState)
	if err != nil {
		return nil, err
	}
	state, err = resources[r.TypeName].read(p, state)
	if err != nil {
		return &tfprotov5.ReadResourceResponse{Diagnostics: problem("cannot read "+r.TypeName, err)}, nil
	}
	encoded, err := encode(attributes, state)
	return &tfprotov5.ReadResourceResponse{NewState: encoded, Private: r.Private}, err
}

// PlanResourceChange does what the Vault provider's SDK does, with its exceptions to
// Terraform's rules of types: data_json is stored normalized.
func (p *provider) PlanResourceChange(_ context.Context, r *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	attributes := p.schema.Resources[r.TypeName]
	prior, err1 := decode(attributes, r.PriorState)
	planned, err2 := decode(attributes, r.ProposedNewState)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	answer := &tfprotov5.PlanResourceChangeResponse{PlannedPrivate: r.PriorPrivate, UnsafeToUseLegacyTypeSystem: true}
	if planned != nil {
		answer.Diagnostics = problem("cannot plan "+r.TypeName, plan(prior, planned))
		for _, name := range resources[r.TypeName].forceNew {
			if prior != nil && !prior.values[name].Equal(planned.values[name]) {
				answer.RequiresReplace = append(answer.RequiresReplace, tftypes.NewAttributePath().WithAttributeName(name))
			}
		}
	}
	var err error
	answer.PlannedState, err = encode(attributes, planned)
	return answer, err
}

func plan(prior, planned *object) (err error) {
	for name, a := range planned.attributes {
		switch {
		case a.WriteOnly:
			planned.set(name, nil)
		case a.Computed && prior == nil && planned.values[name].IsNull():
			planned.set(name, tftypes.UnknownValue)
		case name == "data_json" && planned.text(name) != "":
			var text string
			if text, err = normalized(planned.text(name)); err == nil {
				planned.set(name, text)
			}
		}
	}
	return err
}

func (p *provider) ApplyResourceChange(_ context.Context, r *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	attributes := p.schema.Resources[r.TypeName]
	prior, err1 := decode(attributes, r.PriorState)
	planned, err2 := decode(attributes, r.PlannedState)
	config, err3 := decode(attributes, r.Config)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	state, failed := p.apply(resources[r.TypeName], prior, planned, config)
	encoded, err := encode(attributes, state)
	return &tfprotov5.ApplyResourceChangeResponse{
		NewState: encoded, Private: r.PlannedPrivate, UnsafeToUseLegacyTypeSystem: true,
		Diagnostics: problem("cannot apply "+r.TypeName, failed),
	}, err
}

// apply returns the new state. If it fails, the state is the prior one.
func (p *provider) apply(of resource, prior, planned, config *object) (*object, error) {
	if planned == nil {
		if err := of.remove(p, prior); err != nil {
			return prior, err
		}
		return nil, nil
	}
	if err := of.write(p, prior, planned, config); err != nil {
		return prior, err
	}
	for name := range planned.attributes {
		if !planned.values[name].IsKnown() {
			planned.set(name, nil)
		}
	}
	planned.set("id", of.id(planned))
	state, err := of.read(p, planned)
	if err == nil && state == nil {
		err = fmt.Errorf("vault does not have what was written")
	}
	return state, err
}

func (p *provider) ValidateEphemeralResourceConfig(context.Context, *tfprotov5.ValidateEphemeralResourceConfigRequest) (*tfprotov5.ValidateEphemeralResourceConfigResponse, error) {
	return &tfprotov5.ValidateEphemeralResourceConfigResponse{}, nil
}

func (p *provider) OpenEphemeralResource(_ context.Context, r *tfprotov5.OpenEphemeralResourceRequest) (*tfprotov5.OpenEphemeralResourceResponse, error) {
	attributes := p.schema.Ephemeral[r.TypeName]
	result, err := decode(attributes, r.Config)
	if err != nil {
		return nil, err
	}
	if err := ephemerals[r.TypeName](p, result); err != nil {
		return &tfprotov5.OpenEphemeralResourceResponse{Diagnostics: problem("cannot open "+r.TypeName, err)}, nil
	}
	encoded, err := encode(attributes, result)
	return &tfprotov5.OpenEphemeralResourceResponse{Result: encoded}, err
}

func (p *provider) CloseEphemeralResource(context.Context, *tfprotov5.CloseEphemeralResourceRequest) (*tfprotov5.CloseEphemeralResourceResponse, error) {
	return &tfprotov5.CloseEphemeralResourceResponse{}, nil
}
