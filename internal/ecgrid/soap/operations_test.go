// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/clienttest"
	"vault-plugin-ecgrid/internal/wsdltest"
)

// operationCase is one operation as a caller sees it, and as the WSDL defines it.
type operationCase struct {
	name    string
	call    func(ctx context.Context, c *Client) (any, error)
	request string // content of <Op>
	result  string // content of <OpResponse>
	want    any
}

var allOps = []operationCase{
	{
		name: "Login",
		call: func(ctx context.Context, c *Client) (any, error) {
			got, err := c.Login(ctx, "jo", canaryPassword)
			if got.Lifetime != 0 {
				return nil, errors.New("a lifetime, of which SOAP says nothing")
			}
			return got.SessionID, err
		},
		request: "<LoginName>jo</LoginName><Password>" + canaryPassword + "</Password>",
		result:  "<LoginResult>s-1</LoginResult>",
		want:    "s-1",
	}, {
		name:    "Logout",
		call:    func(ctx context.Context, c *Client) (any, error) { return nil, c.Logout(ctx, session) },
		request: "<SessionID>" + canarySession + "</SessionID>",
		result:  "<LogoutResult>1200</LogoutResult>",
	}, {
		name:    "WhoAmI",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.WhoAmI(ctx, session) },
		request: "<SessionID>" + canarySession + "</SessionID>",
		result:  "<WhoAmIResult>" + sessionInfo + "</WhoAmIResult>",
		want: ecgrid.Session{
			ECGridOSVersion: "4.1", UserID: 5001, LoginName: "jo", AuthLevel: "NetworkAdmin",
			OpenSessions: clienttest.Int16(2), TimeOut: clienttest.Int16(60), NetworkID: 7, MailboxID: 8,
		},
	}, {
		name:    "UserGetAPIKey",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.UserGetAPIKey(ctx, session, 5001) },
		request: "<SessionID>" + canarySession + "</SessionID><UserID>5001</UserID>",
		result:  "<UserGetAPIKeyResult>k-1</UserGetAPIKeyResult>",
		want:    "k-1",
	}, {
		name:    "GenerateAPIKey",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.GenerateAPIKey(ctx, session, -1) },
		request: "<SessionID>" + canarySession + "</SessionID><UserID>-1</UserID>",
		result:  "<GenerateAPIKeyResult>k-2</GenerateAPIKeyResult>",
		want:    "k-2",
	}, {
		name: "ChangePassword",
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.ChangePassword(ctx, session, canaryPassword, "new")
		},
		request: "<SessionID>" + canarySession + "</SessionID><OldPassword>" + canaryPassword +
			"</OldPassword><NewPassword>new</NewPassword>",
		result: "<ChangePasswordResult>true</ChangePasswordResult>",
	}, {
		name:    "UserList",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.UserList(ctx, session) },
		request: "<SessionID>" + canarySession + "</SessionID><Name></Name>",
		result:  "<UserListResult><UserIDInfo>" + userInfo + "</UserIDInfo></UserListResult>",
		want:    []ecgrid.User{jo},
	}, {
		name:    "Version",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.Version(ctx) },
		request: "",
		result:  "<VersionResult>v4.1 (Build 472)</VersionResult>",
		want:    "v4.1 (Build 472)",
	},
}

// sessionInfo and userInfo are complete records, in the order of the WSDL, with dates as
// .NET writes them.
const sessionInfo = "<ECGridOSVersion>4.1</ECGridOSVersion><SessionID>" + canarySession + "</SessionID>" +
	"<SessionEventID>9</SessionEventID><UserID>5001</UserID><LoginName>jo</LoginName><FirstName>Jo</FirstName>" +
	"<TimeZoneOffset>-5</TimeZoneOffset><AuthLevel>NetworkAdmin</AuthLevel><LastLogin>2024-01-02T03:04:05.67</LastLogin>" +
	"<OpenSessions>2</OpenSessions><TimeOut>60</TimeOut><NetworkID>7</NetworkID><MailboxID>8</MailboxID><ip>192.0.2.1</ip>"

const userInfo = "<UserID>5001</UserID><LoginName>jo</LoginName><RecoveryQuestion>?</RecoveryQuestion>" +
	"<CellCarrier>NoChange</CellCarrier><TimeZoneOffset>-5</TimeZoneOffset><NetworkID>7</NetworkID><MailboxID>8</MailboxID>" +
	"<AuthLevel>MailboxUser</AuthLevel><Created>2024-01-02T03:04:05</Created><Modified>2024-01-02T03:04:05</Modified>" +
	"<LastLogin>0001-01-01T00:00:00</LastLogin><Status>Active</Status><LockedOut>true</LockedOut><OpenSessions>0</OpenSessions>"

var jo = ecgrid.User{
	UserID: 5001, LoginName: "jo", NetworkID: 7, MailboxID: 8, AuthLevel: "MailboxUser", Status: "Active", LockedOut: true,
}

func TestEveryOperation(t *testing.T) {
	t.Parallel()
	c := serve(t, strict)
	for _, op := range allOps {
		t.Run(op.name, func(t *testing.T) {
			got, err := op.call(t.Context(), c)
			if err != nil || !reflect.DeepEqual(got, op.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, op.want)
			}
		})
	}
}

// Requests, and the responses of these tests, are valid in the vendor's WSDL.
func TestVendorWSDL(t *testing.T) {
	t.Parallel()
	path, ok := wsdltest.VendorPath()
	if !ok {
		t.Skipf("no %s above this directory", wsdltest.VendorFile)
	}
	schema, err := wsdltest.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range allOps {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			var request []byte
			responseBody := response(op.name, op.result)
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				request, _ = io.ReadAll(r.Body)
				respondWith(200, responseBody)(w, r)
			})
			if _, err := op.call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if !schema.Operations()[op.name] {
				t.Error("not an operation of the WSDL")
			}
			if err := schema.ValidateEnvelope(request, op.name); err != nil {
				t.Errorf("the request: %v", err)
			}
			if err := schema.ValidateEnvelope([]byte(responseBody), op.name+"Response"); err != nil {
				t.Errorf("the response of these tests: %v", err)
			}
		})
	}
}

func TestEmptyResults(t *testing.T) {
	t.Parallel()
	for _, op := range allOps {
		results := map[string]string{"absent": "", "nil": `<` + op.name + `Result xsi:nil="true"/>`}
		if _, isText := op.want.(string); isText {
			results["empty"] = `<` + op.name + `Result/>`
			results["blank"] = `<` + op.name + "Result> \r\n\t</" + op.name + `Result>`
		}
		for name, result := range results {
			t.Run(op.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				got, err := op.call(t.Context(), serve(t, respondWith(200, response(op.name, result))))
				switch op.name {
				case "Logout":
					if err != nil {
						t.Error(err)
					}
				case "UserList":
					if err != nil || reflect.ValueOf(got).Len() != 0 {
						t.Errorf("got %v, %v", got, err)
					}
				default:
					if e := wantFailure(t, err, ecgrid.ErrEmptyResult); e.Op != op.name || !e.Sent {
						t.Errorf("got %+v", e)
					}
					if got != nil && !reflect.ValueOf(got).IsZero() {
						t.Errorf("got %v", got)
					}
				}
			})
		}
	}
}

func TestChangePasswordAnswers(t *testing.T) {
	t.Parallel()
	for text, kind := range map[string]error{
		"true": nil, "1": nil, " true\n": nil,
		"false": ecgrid.ErrFault, "0": ecgrid.ErrFault,
		"": ecgrid.ErrBadAnswer, "True": ecgrid.ErrBadAnswer, "yes": ecgrid.ErrBadAnswer, canaryUpstream: ecgrid.ErrBadAnswer,
	} {
		c := serve(t, respondWith(200, response("ChangePassword", "<ChangePasswordResult>"+text+"</ChangePasswordResult>")))
		err := c.ChangePassword(t.Context(), session, canaryPassword, "new")
		if kind == nil && err == nil {
			continue
		}
		if e := wantFailure(t, err, kind); !e.Sent {
			t.Errorf("%q counts as unsent", text)
		}
	}
}

func BenchmarkUserGetAPIKey(b *testing.B) {
	c := serve(b, strict)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.UserGetAPIKey(b.Context(), session, 5001); err != nil {
			b.Fatal(err)
		}
	}
}
