// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// settings are the flags.
type settings struct {
	listen, readyFile, usersFile, caFile, clientIP string
	tlsCert, tlsKey, latency, logFile              string
	admin, low                                     password
	hosts, faults                                  list
	tls, version, help, showCredentials            bool
	idle, forget, tokenLife                        time.Duration
	sessionCap, rateLimit                          int
}

// list is the value of a flag that can be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

// Set adds a value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parse(args []string, out io.Writer) (settings, error) {
	var c settings
	f := c.flags()
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		printHelp(out, f)
		c.help = true
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("%w (see --help)", err)
	}
	return c, c.check(f.Args())
}

func (c *settings) flags() *flag.FlagSet {
	f := flag.NewFlagSet("ecgrid-simulator", flag.ContinueOnError)
	f.SetOutput(io.Discard) // otherwise flag prints the whole help on every error
	f.StringVar(&c.listen, "listen", "127.0.0.1:0", "`host:port` to listen on; port 0 selects a free port")
	f.StringVar(&c.readyFile, "ready-file", "", "`file` to write when the simulator listens: one JSON line with soap, wsdl, rest (URLs), login, password, low_login, low_password, user_id")
	f.StringVar(&c.logFile, "log", "", "`file` to append a line to for each request; - is standard output")
	f.BoolVar(&c.showCredentials, "show-credentials", false, "print the login names, passwords and API keys of all users")

	f.StringVar(&c.usersFile, "users", "", "JSON `file` with the users, instead of the default ones")
	f.StringVar(&c.admin.value, "admin-password", "", "`password` of the first NetworkAdmin; other users of this machine can see it")
	f.StringVar(&c.admin.file, "admin-password-file", "", "`file` with the password of the first NetworkAdmin")
	f.StringVar(&c.low.value, "low-password", "", "`password` of the first MailboxUser; other users of this machine can see it")
	f.StringVar(&c.low.file, "low-password-file", "", "`file` with the password of the first MailboxUser")

	f.BoolVar(&c.tls, "tls", false, "serve https with a certificate of a new CA (needs --ca-file)")
	f.StringVar(&c.caFile, "ca-file", "", "`file` to write the CA of --tls to, in PEM")
	f.Var(&c.hosts, "host", "further `name` or address in the certificate of --tls; can be repeated")
	f.StringVar(&c.tlsCert, "tls-cert", "", "`file` with the certificate to serve https with, in PEM, instead of --tls (needs --tls-key)")
	f.StringVar(&c.tlsKey, "tls-key", "", "`file` with the private key of --tls-cert, in PEM")

	f.DurationVar(&c.idle, "session-idle", simulator.DefaultIdleTimeout, "idle time after which a SOAP session expires")
	f.IntVar(&c.sessionCap, "session-cap", simulator.DefaultSessionCap, "maximum of open sessions of a user, SOAP sessions and REST tokens together")
	f.DurationVar(&c.tokenLife, "token-life", simulator.DefaultTokenLife, "time after which a REST token expires")
	f.IntVar(&c.rateLimit, "rate-limit", 0, "maximum of REST calls of a user in a second; 0 is none")

	f.Var(&c.faults, "fault", "`fault` to inject, as described below; can be repeated")
	f.StringVar(&c.latency, "latency", "", "`delay` of every call: a duration such as 50ms, or a range such as 10ms-200ms")
	f.StringVar(&c.clientIP, "client-ip", "real", "`kind` of the client address that a session is bound to: real, connection (a new one for each connection) or request (a new one for each request)")
	f.DurationVar(&c.forget, "forget-idle", 0, "idle time after which a connection gets no answers, as behind a firewall that forgot it; 0 is never")
	f.BoolVar(&c.version, "version", false, "print the version and exit")
	return f
}

// clientIPs are the values of --client-ip.
var clientIPs = map[string]func() func(*http.Request) string{
	"real":       func() func(*http.Request) string { return nil },
	"connection": func() func(*http.Request) string { return simulator.IPOfConnection },
	"request":    simulator.NewIPEachTime,
}

func (c settings) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q: use flags (see --help)", rest[0])
	}
	for _, rule := range []struct {
		broken bool
		says   string
	}{
		{(c.tlsCert != "") != (c.tlsKey != ""), "--tls-cert and --tls-key go together"},
		{c.tlsCert != "" && (c.tls || c.caFile != "" || len(c.hosts) > 0), "--tls-cert replaces --tls, --ca-file and --host"},
		{c.tls != (c.caFile != ""), "--tls and --ca-file go together: a client needs the CA"},
		{len(c.hosts) > 0 && !c.tls, "--host needs --tls: it is a name in the certificate"},
		{c.admin.isGivenTwice(), "--admin-password and --admin-password-file exclude each other"},
		{c.low.isGivenTwice(), "--low-password and --low-password-file exclude each other"},
		{c.idle <= 0, "--session-idle must be above 0"},
		{c.tokenLife <= 0, "--token-life must be above 0"},
		{c.rateLimit < 0, "--rate-limit must not be below 0"},
		{c.forget < 0, "--forget-idle must not be below 0"},
		{clientIPs[c.clientIP] == nil, "--client-ip must be real, connection or request"},
		{c.sessionCap < 1, "--session-cap must be at least 1"},
	} {
		if rule.broken {
			return errors.New(rule.says)
		}
	}
	return nil
}
