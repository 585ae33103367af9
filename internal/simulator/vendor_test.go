// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
	"vault-plugin-ecgrid/internal/wsdltest"
)

func vendorSchema(t *testing.T) *wsdltest.Schema {
	t.Helper()
	path, ok := wsdltest.VendorPath()
	if !ok {
		t.Skipf("the vendor's WSDL, %s, is not in a directory above, and ECGRID_WSDL is not set", wsdltest.VendorFile)
	}
	schema, err := wsdltest.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// The simulator's WSDL is a subset of the vendor's.
func TestWSDLIsSubsetOfVendors(t *testing.T) {
	t.Parallel()
	theirs := vendorSchema(t)
	ours, err := wsdltest.Parse(bytes.NewReader(simulator.WSDL("http://sim.test/")))
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Within(theirs); err != nil {
		t.Error(err)
	}
	if n := len(ours.Operations()); n != 10 {
		t.Errorf("%d operations, want 10", n)
	}
	for port, address := range ours.Addresses() {
		if address != "http://sim.test/" {
			t.Errorf("port %s has address %q", port, address)
		}
	}
	if len(ours.Addresses()) != 2 {
		t.Errorf("ports: %v", ours.Addresses())
	}
}

// Requests and answers of every operation, in both SOAP versions, conform to the vendor's
// WSDL.
func TestMessagesConformToVendorsWSDL(t *testing.T) {
	t.Parallel()
	schema := vendorSchema(t)
	for _, v := range wires {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s := newSim(t, simulator.Options{Clock: c.Now, Record: true})
			callAll(t, s, v, c)
			seen := map[string]bool{}
			for _, x := range s.Exchanges() {
				seen[x.Op] = true
				if x.Status != http.StatusOK {
					t.Errorf("%s: HTTP %d", x.Op, x.Status)
				}
				if err := schema.ValidateEnvelope(x.Request, x.Op); err != nil {
					t.Errorf("request: %v", err)
				}
				if err := schema.ValidateEnvelope(x.Response, x.Op+"Response"); err != nil {
					t.Errorf("answer: %v", err)
				}
			}
			if len(seen) != 10 {
				t.Errorf("%d operations were called, want 10", len(seen))
			}
		})
	}
}

// callAll calls every operation successfully, some in more than one way.
func callAll(t *testing.T, s *simulator.Simulator, v wire, c *clock) {
	t.Helper()
	admin := user(t, s, simulator.AdminUserID)
	sessionID, ok := v.call(s, "Login", "LoginName", admin.LoginName, "Password", admin.Password).text("LoginResult")
	if !ok {
		t.Fatal("no session")
	}
	c.Advance(1500 * time.Millisecond)
	v.call(s, "Version")
	v.call(s, "WhoAmI", "SessionID", sessionID)
	v.call(s, "WhoAmI", "SessionID", admin.APIKey)
	for _, id := range []int32{simulator.UserID5001, simulator.KeylessUserID} {
		v.call(s, "UserGetAPIKey", "SessionID", sessionID, "UserID", decimal(id))
		v.call(s, "UserInfo", "SessionID", sessionID, "UserID", decimal(id))
	}
	v.call(s, "GenerateAPIKey", "SessionID", sessionID, "UserID", "5002")
	v.call(s, "UserList", "SessionID", sessionID, "Name", "")
	v.call(s, "UserList", "SessionID", sessionID, "Name", "nobody has this name")
	v.call(s, "UserReset", "SessionID", sessionID, "UserID", "5002")
	v.call(s, "ChangePassword", "SessionID", sessionID, "OldPassword", admin.Password, "NewPassword", "New&<1'\"pass")
	v.call(s, "Logout", "SessionID", sessionID)
}
