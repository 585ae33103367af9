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

// What a lease remembers. Strings all: a number comes back as a float.
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
	return map[string]*framework.FieldSchema{
		fieldAPIKey: {
			Type:         framework.TypeString,
			Description:  "The user's API key.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "API key", Sensitive: true},
		},
		fieldUserID: {
			Type:         framework.TypeInt,
			Description:  "UserID of the ECGrid user.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "User ID"},
		},
	}
}

// leased makes the response that hands a key out.
func (m *mount) leased(issued backend.Issued) *logical.Response {
	resp := m.Secret(apiKeySecretType).Response(map[string]any{
		fieldAPIKey: issued.APIKey,
		fieldUserID: issued.Lease.UserID,
	}, map[string]any{
		internalLeaseID:     issued.Lease.ID,
		internalUserID:      strconv.Itoa(int(issued.Lease.UserID)),
		internalFingerprint: issued.Lease.Fingerprint,
		internalTTL:         issued.Lease.TTL.String(),
		internalRole:        issued.Lease.Role,
		internalCounted:     strconv.FormatBool(issued.Lease.Counted),
	})
	return onTerms(resp, issued.Terms)
}

// renewAPIKey serves the renewal of a lease.
func (m *mount) renewAPIKey(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	lease, err := leaseOf(req.Secret)
	if err != nil {
		return nil, answer(err)
	}
	terms, err := m.engine.RenewLease(ctx, lease, backend.Renewal{
		Issued:    req.Secret.IssueTime,
		Increment: req.Secret.Increment,
		Was:       backend.Terms{TTL: req.Secret.TTL, MaxTTL: req.Secret.MaxTTL},
	})
	if err != nil {
		return nil, answer(err)
	}
	return onTerms(&logical.Response{Secret: req.Secret}, terms), nil
}

// revokeAPIKey serves the end of a lease.
func (m *mount) revokeAPIKey(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	lease, err := leaseOf(req.Secret)
	if err != nil {
		return nil, answer(err)
	}
	if err := m.engine.RevokeLease(ctx, lease); err != nil {
		return nil, answer(err)
	}
	return nil, nil
}

func onTerms(resp *logical.Response, terms backend.Terms) *logical.Response {
	resp.Secret.TTL, resp.Secret.MaxTTL = terms.TTL, terms.MaxTTL
	for _, w := range terms.Warnings {
		resp.AddWarning(w)
	}
	return resp
}

// leaseOf reads back what leased wrote.
func leaseOf(secret *logical.Secret) (backend.Lease, error) {
	text := func(name string) string {
		s, _ := secret.InternalData[name].(string)
		return s
	}
	userID, err := backend.ParseUserID(text(internalUserID))
	if err != nil {
		return backend.Lease{}, backend.Invalid("the lease does not say whose key it is: revoke it with -force and read the key again")
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
