// SPDX-License-Identifier: MPL-2.0

package soap_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/soap"
	"vault-plugin-ecgrid/internal/simulator"
)

func simulate(t *testing.T, o simulator.Options, timeout time.Duration) (*simulator.Server, *soap.Client) {
	t.Helper()
	s, err := simulator.Start(o, simulator.ServerOptions{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c, err := soap.Connect(ecgrid.Endpoint{URL: s.SOAP, CACert: string(s.CACert), RequestTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func withKey(key string) ecgrid.Credential { return ecgrid.Credential{Value: key, IsAPIKey: true} }

// The life of a session, with a server that was written from the WSDL and not from this
// client.
func TestSimulator(t *testing.T) {
	t.Parallel()
	s, c := simulate(t, simulator.Options{}, 0)
	ctx := t.Context()
	admin, _ := s.User(simulator.AdminUserID)
	user, _ := s.User(simulator.UserID5001)
	if version, err := c.Version(ctx); err != nil || version == "" {
		t.Fatal(version, err)
	}
	login, err := c.Login(ctx, admin.LoginName, admin.Password)
	if err != nil {
		t.Fatal(err)
	}
	id := ecgrid.Credential{Value: login.SessionID}
	session, err := c.WhoAmI(ctx, id)
	if err != nil || session.UserID != admin.UserID || session.LoginName != admin.LoginName ||
		session.AuthLevel != "NetworkAdmin" || session.NetworkID != admin.NetworkID || session.OpenSessions == nil || *session.OpenSessions != 1 {
		t.Fatalf("got %+v, %v", session, err)
	}
	key, err := c.UserGetAPIKey(ctx, id, user.UserID)
	if err != nil || key != user.APIKey {
		t.Fatalf("wrong key, %v", err)
	}
	users, err := c.UserList(ctx, id)
	if err != nil || len(users) < 3 {
		t.Fatalf("got %+v, %v", users, err)
	}
	i := slices.IndexFunc(users, func(u ecgrid.User) bool { return u.UserID == user.UserID })
	if i < 0 || users[i].LoginName != user.LoginName || users[i].MailboxID != user.MailboxID || users[i].Status != "Active" || users[i].LockedOut {
		t.Fatalf("got %+v", users)
	}
	newKey, err := c.GenerateAPIKey(ctx, id, user.UserID)
	if now, _ := s.User(user.UserID); err != nil || newKey == key || newKey != now.APIKey {
		t.Fatalf("wrong new key, %v", err)
	}

	newPassword := "aB1 &<>]]>\"'\tß€🔑"
	if err := c.ChangePassword(ctx, id, admin.Password, newPassword); err != nil {
		t.Fatal(err)
	}
	if now, _ := s.User(admin.UserID); now.Password != newPassword {
		t.Fatal("wrong new password")
	}
	if err := c.Logout(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WhoAmI(ctx, id); err == nil {
		t.Error("the session is alive after Logout")
	}
	if login, err = c.Login(ctx, admin.LoginName, newPassword); err != nil {
		t.Fatal(err)
	}
	if err := c.Logout(ctx, ecgrid.Credential{Value: login.SessionID}); err != nil {
		t.Fatal(err)
	}
	if n := s.OpenSessions(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
}

// Everything that the simulator can do to a response, and how the call fails.
func TestSimulatorAnswers(t *testing.T) {
	t.Parallel()
	for answer, kind := range map[simulator.Answer]error{
		simulator.AnswerReset:          ecgrid.ErrUnreachable,
		simulator.AnswerResetAfter:     ecgrid.ErrUnreachable,
		simulator.AnswerHTML:           ecgrid.ErrBadAnswer,
		simulator.AnswerStatus:         ecgrid.ErrUnreachable,
		simulator.AnswerRedirect:       ecgrid.ErrBadAnswer,
		simulator.AnswerEmpty:          ecgrid.ErrBadAnswer,
		simulator.AnswerHuge:           ecgrid.ErrBadAnswer,
		simulator.AnswerEntities:       ecgrid.ErrBadAnswer,
		simulator.AnswerHalf:           ecgrid.ErrBadAnswer,
		simulator.AnswerDrip:           ecgrid.ErrTimeout,
		simulator.AnswerEmptyResult:    ecgrid.ErrEmptyResult,
		simulator.AnswerAbsentResult:   ecgrid.ErrEmptyResult,
		simulator.AnswerWrongNamespace: ecgrid.ErrBadAnswer,
		simulator.AnswerWrongOp:        ecgrid.ErrBadAnswer,
		simulator.AnswerUTF16:          ecgrid.ErrBadAnswer,
		simulator.AnswerLatin1:         ecgrid.ErrBadAnswer,
		simulator.AnswerGzip:           ecgrid.ErrBadAnswer,
	} {
		t.Run(string(answer), func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if answer == simulator.AnswerDrip {
				timeout = time.Second
			}
			s, c := simulate(t, simulator.Options{}, timeout)
			user, _ := s.User(simulator.UserID5001)
			clear := s.Inject(simulator.Fault{Answer: answer, Echo: true, URL: s.SOAP,
				Header: http.Header{"Set-Cookie": {"a=b"}}})
			_, err := c.UserGetAPIKey(t.Context(), withKey(user.APIKey), user.UserID)
			var e *ecgrid.Error
			if !errors.Is(err, kind) || !errors.As(err, &e) || !e.Sent {
				t.Errorf("got %v, want %v", err, kind)
			}
			if err != nil && strings.Contains(err.Error(), user.APIKey) {
				t.Error("the error holds the key")
			}
			clear()
			if key, err := c.UserGetAPIKey(t.Context(), withKey(user.APIKey), user.UserID); err != nil || key != user.APIKey {
				t.Errorf("the next read: %v", err)
			}
		})
	}
}

// A call that must not be retried is carried out once, even if its response is lost.
func TestSimulatorCountsOnce(t *testing.T) {
	t.Parallel()
	s, c := simulate(t, simulator.Options{}, 0)
	admin, _ := s.User(simulator.AdminUserID)
	s.Inject(simulator.Fault{Answer: simulator.AnswerResetAfter})
	for op, call := range map[string]func(context.Context) error{
		"Login": func(ctx context.Context) error { _, err := c.Login(ctx, admin.LoginName, admin.Password); return err },
		"GenerateAPIKey": func(ctx context.Context) error {
			_, err := c.GenerateAPIKey(ctx, withKey(admin.APIKey), 5001)
			return err
		},
		"ChangePassword": func(ctx context.Context) error {
			return c.ChangePassword(ctx, withKey(admin.APIKey), admin.Password, admin.Password+"x")
		},
	} {
		if err := call(t.Context()); !errors.Is(err, ecgrid.ErrUnreachable) || s.Count(op) != 1 {
			t.Errorf("%s: %v after %d calls", op, err, s.Count(op))
		}
	}
}

// TLS's own messages are not taken for unsolicited data.
func TestSimulatorConnectionIsKept(t *testing.T) {
	t.Parallel()
	s, c := simulate(t, simulator.Options{}, 0)
	user, _ := s.User(simulator.UserID5001)
	for range 20 {
		if key, err := c.UserGetAPIKey(t.Context(), withKey(user.APIKey), user.UserID); err != nil || key != user.APIKey {
			t.Fatal(err)
		}
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections for 20 reads in a row", n)
	}
}
