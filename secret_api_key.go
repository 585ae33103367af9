// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"strconv"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

// apiKeySecretType is the secret type of every lease of this engine.
const apiKeySecretType = "ecgrid_api_key"

// The internal data that Vault stores with a lease. All values are strings, because
// numbers come back as floats.
const (
	internalLeaseID     = "lease"
	internalUserID      = "user_id"
	internalFingerprint = "fingerprint"
	internalTTL         = "ttl"
	internalRole        = "role"
	internalCounted     = "counted"
)

func (m *mount) apiKeySecret() *framework.Secret {
	return &framework.Secret{
		Type:   apiKeySecretType,
		Fields: apiKeyFields(),
		Renew:  m.renewAPIKey,
		Revoke: m.revokeAPIKey,
	}
}

func apiKeyFields() map[string]*framework.FieldSchema {
	key := newSchema(framework.TypeString, "API key", "The user's API key.")
	key.DisplayAttrs.Sensitive = true
	return map[string]*framework.FieldSchema{
		fieldAPIKey: key,
		fieldUserID: newSchema(framework.TypeInt, "User ID", "UserID of the ECGrid user."),
	}
}

// leaseResponse returns a key as a leased secret.
func (m *mount) leaseResponse(issued backend.Issued) *logical.Response {
	lease := issued.Lease
	internal := map[string]any{
		internalUserID:      strconv.Itoa(int(lease.UserID)),
		internalFingerprint: lease.Fingerprint,
	}
	if lease.TTL != 0 {
		internal[internalTTL] = lease.TTL.String()
	}
	if lease.Role != "" {
		internal[internalRole] = lease.Role
	}
	if lease.Counted {
		internal[internalLeaseID], internal[internalCounted] = lease.ID, "true"
	}
	resp := m.Secret(apiKeySecretType).Response(map[string]any{
		fieldAPIKey: issued.APIKey,
		fieldUserID: lease.UserID,
	}, internal)
	return setLeaseTerms(resp, issued.Terms)
}

// renewAPIKey renews a lease.
func (m *mount) renewAPIKey(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	lease, err := parseLease(req.Secret)
	if err != nil {
		return nil, err
	}
	terms, err := m.engine.RenewLease(ctx, lease, backend.Renewal{
		Issued:    req.Secret.IssueTime,
		Increment: req.Secret.Increment,
		Was:       backend.Terms{TTL: req.Secret.TTL, MaxTTL: req.Secret.MaxTTL},
	})
	if err != nil {
		return nil, err
	}
	return setLeaseTerms(&logical.Response{Secret: req.Secret}, terms), nil
}

// revokeAPIKey revokes a lease.
func (m *mount) revokeAPIKey(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	lease, err := parseLease(req.Secret)
	if err != nil {
		return nil, err
	}
	return nil, m.engine.RevokeLease(ctx, lease)
}

func setLeaseTerms(resp *logical.Response, terms backend.Terms) *logical.Response {
	resp.Secret.TTL, resp.Secret.MaxTTL = terms.TTL, terms.MaxTTL
	for _, w := range terms.Warnings {
		resp.AddWarning(w)
	}
	return resp
}

// parseLease reads the internal data that leaseResponse wrote.
func parseLease(secret *logical.Secret) (backend.Lease, error) {
	text := func(name string) string {
		s, _ := secret.InternalData[name].(string)
		return s
	}
	userID, err := backend.ParseUserID(text(internalUserID))
	if err != nil {
		return backend.Lease{}, backend.Invalid("the lease does not contain a valid user ID: revoke it with -force and read the key again")
	}
	ttl, err := time.ParseDuration(text(internalTTL))
	if err != nil {
		ttl = 0
	}
	return backend.Lease{
		ID:          text(internalLeaseID),
		UserID:      userID,
		Fingerprint: text(internalFingerprint),
		TTL:         ttl,
		Role:        text(internalRole),
		Counted:     text(internalCounted) == "true",
	}, nil
}
