// SPDX-License-Identifier: MPL-2.0

// Command client makes every call of the REST API with the generated client. It reads its
// input from stdin and writes what it got to stdout, both in JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

// The fields are those of input and output in client_test.go.
type (
	input struct {
		Base        string `json:"base"`
		Login       string `json:"login"`
		Password    string `json:"password"`
		NewPassword string `json:"new_password"`
		UserID      int32  `json:"user_id"`
		KeylessID   int32  `json:"keyless_id"`
	}
	output map[string]any
)

func main() {
	var in input
	check(json.NewDecoder(os.Stdin).Decode(&in))
	out := output{}
	auth := &header{}
	c, err := NewClientWithResponses(in.Base, WithRequestEditorFn(auth.set))
	check(err)
	token := out.auth(c, auth, in)
	out.users(c, in)
	out.errors(c, auth, in)
	auth.name, auth.value = "Authorization", "Bearer "+token
	logout := must(c.LogoutWithResponse(context.Background()))
	after := must(c.GetMeWithResponse(context.Background()))
	out["logged_out"] = logout.JSON200.Success && after.StatusCode() == http.StatusUnauthorized
	check(json.NewEncoder(os.Stdout).Encode(out))
}

// header is the credential of all requests.
type header struct{ name, value string }

func (h *header) set(_ context.Context, r *http.Request) error {
	if h.name != "" {
		r.Header.Set(h.name, h.value)
	}
	return nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

// auth calls what is below /auth except for logout. It returns a token that is open.
func (out output) auth(c *ClientWithResponses, auth *header, in input) string {
	ctx := context.Background()
	out["version"] = must(c.GetVersionWithResponse(ctx)).JSON200.Data.Version
	login := must(c.LoginWithResponse(ctx, LoginJSONRequestBody{Login: &in.Login, Password: in.Password})).JSON200.Data
	out["token_user"], out["token_expires"] = login.UserId, login.ExpiresAt.After(time.Now())
	auth.name, auth.value = "Authorization", "Bearer "+login.Token
	session := must(c.GetSessionWithResponse(ctx)).JSON200.Data
	out["session_level"], out["session_ends"] = session.AuthLevel, session.ExpiresAt != nil && session.ExpiresAt.Equal(login.ExpiresAt)
	out["changed"] = must(c.ChangePasswordWithResponse(ctx, ChangePasswordJSONRequestBody{
		CurrentPassword: in.Password, NewPassword: in.NewPassword,
	})).JSON200.Success
	fresh := must(c.RefreshWithResponse(ctx, RefreshJSONRequestBody{Token: login.Token})).JSON200.Data
	out["refreshed"] = fresh.Token != login.Token && must(c.GetMeWithResponse(ctx)).StatusCode() == http.StatusUnauthorized
	auth.value = "Bearer " + fresh.Token
	return fresh.Token
}

// users calls what is below /users.
func (out output) users(c *ClientWithResponses, in input) {
	ctx := context.Background()
	out["me"] = must(c.GetMeWithResponse(ctx)).JSON200.Data.Login
	out["user"] = must(c.GetUserWithResponse(ctx, in.UserID)).JSON200.Data.Login
	out["key"] = must(c.GetKeyWithResponse(ctx, in.UserID)).JSON200.Data
	out["no_key"] = must(c.GetKeyWithResponse(ctx, in.KeylessID)).JSON200.Data == nil
	out["new_key"] = must(c.GenerateKeyWithResponse(ctx, in.UserID)).JSON200.Data
	out["users"] = logins(must(c.ListUsersWithResponse(ctx, ListUsersJSONRequestBody{})).JSON200.Data)
	page, size := int32(2), int32(2)
	out["second_page"] = logins(must(c.ListUsersWithResponse(ctx, ListUsersJSONRequestBody{PageNo: &page, RecordsPerPage: &size})).JSON200.Data)
	out["reset"] = must(c.ResetUserWithResponse(ctx, in.UserID)).JSON200.Data
}

func logins(users []User) (all []string) {
	for _, u := range users {
		all = append(all, u.Login)
	}
	return all
}

// errors provokes one error of each kind that the client can. The last one is injected.
func (out output) errors(c *ClientWithResponses, auth *header, in input) {
	ctx := context.Background()
	var errors []string
	add := func(status int, e *Error) { errors = append(errors, fmt.Sprint(status, " ", e.ErrorCode)) }
	weak := must(c.ChangePasswordWithResponse(ctx, ChangePasswordJSONRequestBody{CurrentPassword: in.NewPassword, NewPassword: "weak"}))
	add(weak.StatusCode(), weak.JSONDefault)

	key := must(c.GetKeyWithResponse(ctx, must(c.GetMeWithResponse(ctx)).JSON200.Data.UserId)).JSON200.Data
	auth.name, auth.value = "X-API-Key", *key
	session := must(c.GetSessionWithResponse(ctx)).JSON200.Data
	out["key_ends"] = session.ExpiresAt != nil
	auth.value = "wrong"
	wrong := must(c.GetMeWithResponse(ctx))
	add(wrong.StatusCode(), wrong.JSONDefault)
	auth.value = *key

	refused := must(c.LoginWithResponse(ctx, LoginJSONRequestBody{Login: &in.Login, Password: in.Password}))
	add(refused.StatusCode(), refused.JSONDefault)
	missing := must(c.GetUserWithResponse(ctx, 4711))
	add(missing.StatusCode(), missing.JSONDefault)
	limited := must(c.GetVersionWithResponse(ctx))
	add(limited.StatusCode(), limited.JSONDefault)
	out["errors"] = errors
}
