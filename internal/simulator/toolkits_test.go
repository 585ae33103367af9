// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// toolkitInput is the input of the scripts in testdata, toolkitOutput their output.
type toolkitInput struct {
	WSDL        string `json:"wsdl"`
	Port        string `json:"port"`
	SOAP12      bool   `json:"soap12"`
	Login       string `json:"login"`
	Password    string `json:"password"`
	NewPassword string `json:"new_password"`
	UserID      int32  `json:"user_id"`
	KeylessID   int32  `json:"keyless_id"`
}

type toolkitOutput struct {
	LoginName     string   `json:"login_name"`
	AuthLevel     string   `json:"auth_level"`
	LastLoginYear int      `json:"last_login_year"`
	Key           string   `json:"key"`
	NoKey         *string  `json:"no_key"`
	Status        string   `json:"status"`
	Users         []string `json:"users"`
	Changed       bool     `json:"changed"`
	NewKey        string   `json:"new_key"`
	Reset         bool     `json:"reset"`
	Version       string   `json:"version"`
	Fault         string   `json:"fault"`
	Logout        *int     `json:"logout"`
}

// zeep (Python) builds a working proxy from the simulator's WSDL.
func TestZeep(t *testing.T) {
	t.Parallel()
	pythons := []string{"python3", "/usr/bin/python3"}
	i := slices.IndexFunc(pythons, func(python string) bool {
		return exec.CommandContext(t.Context(), python, "-c", "import zeep").Run() == nil
	})
	if i < 0 {
		t.Skip("the SOAP toolkit zeep is missing: no python3 imports it (Debian: python3-zeep)")
	}
	driveToolkit(t, func() *exec.Cmd { return exec.CommandContext(t.Context(), pythons[i], "testdata/zeep_client.py") })
}

// soap (npm) builds a working proxy too.
func TestNPMSoap(t *testing.T) {
	t.Parallel()
	env := append(os.Environ(), "NODE_PATH="+cmp.Or(os.Getenv("SOAP_NODE_PATH"), os.Getenv("NODE_PATH")))
	command := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), "node", args...)
		c.Env = env
		return c
	}
	if command("-e", "require('soap')").Run() != nil {
		t.Skip("the SOAP toolkit soap is missing: node does not find it in SOAP_NODE_PATH or NODE_PATH (npm install soap)")
	}
	driveToolkit(t, func() *exec.Cmd { return command("testdata/soap_client.js") })
}

func driveToolkit(t *testing.T, command func() *exec.Cmd) {
	for _, soap12 := range []bool{false, true} {
		t.Run(map[bool]string{false: "1.1", true: "1.2"}[soap12], func(t *testing.T) {
			t.Parallel()
			s := start(t, simulator.Options{}, simulator.ServerOptions{})
			admin, before := user(t, s.Simulator, simulator.AdminUserID), user(t, s.Simulator, simulator.UserID5001)
			in := toolkitInput{
				WSDL: s.WSDL, Port: map[bool]string{false: "ECGridOS_x0020_API_x0020_v4Soap", true: "ECGridOS_x0020_API_x0020_v4Soap12"}[soap12], SOAP12: soap12,
				Login: admin.LoginName, Password: admin.Password, NewPassword: `N&w<1'"pass`,
				UserID: simulator.UserID5001, KeylessID: simulator.KeylessUserID,
			}
			out := runToolkit(t, command(), in)
			now := user(t, s.Simulator, simulator.UserID5001)
			for what, ok := range map[string]bool{
				"login name":   out.LoginName == admin.LoginName,
				"auth level":   out.AuthLevel == "NetworkAdmin",
				"last login":   out.LastLoginYear == time.Now().UTC().Year(),
				"key":          out.Key == before.APIKey,
				"no key":       out.NoKey == nil,
				"status":       out.Status == "Active",
				"users":        slices.Equal(out.Users, []string{"sim-admin", "sim-mailbox-user", "sim-5001", "sim-5002", "sim-keyless"}),
				"changed":      out.Changed,
				"new password": user(t, s.Simulator, simulator.AdminUserID).Password == in.NewPassword,
				"new key":      out.NewKey == now.APIKey && now.APIKey != before.APIKey,
				"reset":        out.Reset,
				"version":      out.Version == simulator.Version,
				"fault":        out.Fault == "Not found",
				"logout":       out.Logout != nil && s.OpenSessions() == 0,
			} {
				if !ok {
					t.Errorf("%s is not as expected", what)
				}
			}
			if bad := s.State().BadRequests; bad != 0 {
				t.Errorf("%d requests were refused", bad)
			}
		})
	}
}

func runToolkit(t *testing.T, c *exec.Cmd, in toolkitInput) toolkitOutput {
	t.Helper()
	given, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(given), &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var out toolkitOutput
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
