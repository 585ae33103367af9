// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// vendorHosts are ECGrid's own. A login may move between them without its password.
var vendorHosts = []string{"os.ecgrid.io", "rest.ecgrid.io"}

// TestMoveBetweenTransports moves a mount with leases from SOAP to REST and back, as an
// operator does: after rotate-root, when nobody but Vault knows the password.
func TestMoveBetweenTransports(t *testing.T) {
	t.Parallel()
	m := newVendorMount(t)
	m.ok(t, http.MethodPost, m.at("config"), fields{
		"username": simulator.AdminLogin, "password": m.password(simulator.AdminUserID), "request_timeout": "5s",
	})
	m.ok(t, http.MethodPost, m.at("roles/counted"), fields{"user_id": simulator.UserID5002, "rotate_on_revoke": true})
	held, counted := m.readKey(t, simulator.UserID5001), m.read(t, m.at("creds/counted"))
	countedKey := m.key(simulator.UserID5002)
	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)

	for _, to := range []string{simulator.TransportREST, simulator.TransportSOAP, simulator.TransportREST} {
		password := m.password(simulator.AdminUserID)
		m.ok(t, http.MethodPost, m.at("config"), fields{"transport": to})
		m.expectTransport(t, to)
		m.renew(t, http.StatusOK, held, nil)
		m.renew(t, http.StatusOK, counted, nil)
		m.readKey(t, simulator.UserID5001)
		m.awaitOneSession(t, "the move to "+to)
		if n := m.State().OpenTokens; (n == 1) != (to == simulator.TransportREST) {
			t.Errorf("%d tokens are open after the move to %s", n, to)
		}
		m.ok(t, http.MethodPost, m.at("rotate-key/5001"), nil)
		m.renew(t, http.StatusBadRequest, held, nil)
		held = m.readKey(t, simulator.UserID5001)
		m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
		if m.password(simulator.AdminUserID) == password {
			t.Error("rotate-root did not change the password")
		}
	}
	m.revoke(t, counted)
	if m.key(simulator.UserID5002) == countedKey {
		t.Error("the end of the last lease did not replace the key")
	}
	if n := m.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused Logins", n)
	}
	m.disable(t)
	m.awaitLogout(t, "the end of the mount")
}

// A mount moves while a rotate-root is unresolved. Neither password is lost.
func TestMoveDuringRotateRoot(t *testing.T) {
	t.Parallel()
	m := newVendorMount(t)
	m.ok(t, http.MethodPost, m.at("config"), fields{
		"username": simulator.AdminLogin, "password": m.password(simulator.AdminUserID), "request_timeout": "1s",
	})
	for _, to := range []string{simulator.TransportREST, simulator.TransportSOAP} {
		before := m.password(simulator.AdminUserID)
		clear := m.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, Answer: simulator.AnswerReset, ApplyLate: 4 * time.Second})
		m.wantStatus(t, http.StatusConflict, http.MethodPost, m.at("rotate-root"), nil)
		m.ok(t, http.MethodPost, m.at("config"), fields{"transport": to})
		m.readKey(t, simulator.UserID5001)
		eventually(t, time.Minute, "the rotation is resolved", func() bool {
			a := m.read(t, m.at("config"))
			return m.State().Landing == 0 && a.Data["last_root_rotation_error"] == "" && m.password(simulator.AdminUserID) != before
		})
		clear()
		m.expectTransport(t, to)
		m.KillSessions(0)
		m.awaitRead(t)
	}
	if n := m.State().RefusedLogins; n > 2 {
		t.Errorf("%d refused Logins", n)
	}
}

func (m *mount) expectTransport(t *testing.T, want string) {
	t.Helper()
	url := map[string]string{simulator.TransportSOAP: "https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx", simulator.TransportREST: "https://rest.ecgrid.io/v2"}[want]
	for _, at := range []string{"config", "status"} {
		if a := m.read(t, m.at(at)); a.Data["transport"] != want || a.Data["url"] != url {
			t.Errorf("%s: %v at %v, want %s at %s", at, a.Data["transport"], a.Data["url"], want, url)
		}
	}
}

// newVendorMount makes a mount whose plugin finds a simulator at the vendor's hosts. The
// plugin's environment has a proxy and a CA for that.
func newVendorMount(t *testing.T) *mount {
	t.Helper()
	needVaultItself(t, "bao plugin register has no -env")
	v := ownVault(t, inmem)
	g := newECGrid(t, vendorHosts...)
	const name = "ecgrid-behind-proxy"
	v.run(t, "plugin", "register", "-sha256="+suite.pluginSum, "-version="+suite.pluginVersion, "-command="+pluginName,
		"-env=HTTPS_PROXY=http://"+proxyTo(t, g.Addr), "-env=NO_PROXY=",
		"-env=SSL_CERT_FILE="+writeFile(t, v.dir, "ecgrid.pem", string(g.CACert)), "secret", name)
	m := &mount{vault: v, ecgrid: g, path: fmt.Sprintf("ecgrid%d", v.mounts.Add(1))}
	v.ok(t, http.MethodPost, path("sys/mounts", m.path), fields{"type": name})
	t.Cleanup(func() { m.disable(t) })
	return m
}

// proxyTo is an HTTP proxy that connects the vendor's hosts with addr, and nothing else.
func proxyTo(t *testing.T, addr string) (listening string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != vendorHosts[0]+":443" && r.Host != vendorHosts[1]+":443" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		tunnel(w, addr)
	})}
	go func() { _ = proxy.Serve(l) }()
	t.Cleanup(func() { _ = proxy.Close() })
	return l.Addr().String()
}

// tunnel connects the client of a CONNECT with addr.
func tunnel(w http.ResponseWriter, addr string) {
	server, err := net.Dial("tcp", addr)
	if err != nil {
		http.Error(w, "unreachable", http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	// Not before the Hijack: net/http could have read a part of what the client sends next.
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		})
	}
	both.Wait()
}
