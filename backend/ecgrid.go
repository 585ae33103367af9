package backend

import (
	"context"

	"vault-plugin-ecgrid/internal/ecgridapi"
)

// ECGrid is what the engine needs of ECGrid. Where a method takes a sessionID, an
// API key may stand for it (vendor docs). Every failure wraps one sentinel of
// package ecgridapi.
type ECGrid interface {
	Login(ctx context.Context, loginName, password string) (sessionID string, err error)
	Logout(ctx context.Context, sessionID string) error
	WhoAmI(ctx context.Context, sessionID string) (ecgridapi.Session, error)
	UserGetAPIKey(ctx context.Context, sessionID string, userID int32) (string, error)
	GenerateAPIKey(ctx context.Context, sessionID string, userID int32) (string, error)
	ChangePassword(ctx context.Context, sessionID, oldPassword, newPassword string) error
	UserList(ctx context.Context, sessionID, name string) ([]ecgridapi.User, error)
	// Close lets go of kept connections.
	Close()
}

// Connector makes an ECGrid client for an endpoint. It does no I/O.
type Connector func(ecgridapi.Endpoint) (ECGrid, error)
