// Command ecgrid-simulator is a stand-in for ECGrid. On one port of this machine it serves
// ECGridOS v4.1 over SOAP, with a WSDL, and the REST API v2.6, with an OpenAPI document.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// Set by the linker: -X main.version=… -X main.commit=….
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ecgrid-simulator:", err)
		os.Exit(1)
	}
}

type settings struct {
	listen, readyFile, usersFile, caFile, clientIP string
	tls, version, help                             bool
	idle, forget, tokenLife                        time.Duration
	sessionCap, rateLimit                          int
}

func parse(args []string, out io.Writer) (settings, error) {
	var c settings
	f := flag.NewFlagSet("ecgrid-simulator", flag.ContinueOnError)
	f.SetOutput(io.Discard) // otherwise flag prints the whole help on every error
	f.StringVar(&c.listen, "listen", "127.0.0.1:0", "`host:port` to listen on; port 0 selects a free port")
	f.StringVar(&c.readyFile, "ready-file", "", "`file` to write when the simulator listens: one JSON line with soap, wsdl, rest (URLs), login, password, low_login, low_password, user_id")
	f.StringVar(&c.usersFile, "users", "", "JSON `file` with the users, instead of the default ones")
	f.BoolVar(&c.tls, "tls", false, "serve https with a certificate of a new CA (needs --ca-file)")
	f.StringVar(&c.caFile, "ca-file", "", "`file` to write the CA to, in PEM")
	f.DurationVar(&c.idle, "session-idle", simulator.DefaultIdleTimeout, "idle time after which a SOAP session expires")
	f.IntVar(&c.sessionCap, "session-cap", simulator.DefaultSessionCap, "maximum of open sessions of a user, SOAP sessions and REST tokens together")
	f.DurationVar(&c.tokenLife, "token-life", simulator.DefaultTokenLife, "time after which a REST token expires")
	f.IntVar(&c.rateLimit, "rate-limit", 0, "maximum of REST calls of a user in a second; 0 is none")
	f.StringVar(&c.clientIP, "client-ip", "real", "client address that a session is bound to: `real`, connection (a new one for each connection) or request (a new one for each request)")
	f.DurationVar(&c.forget, "forget-idle", 0, "idle time after which a connection gets no answers, as behind a firewall that forgot it; 0 is never")
	f.BoolVar(&c.version, "version", false, "print the version and exit")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, "Usage: ecgrid-simulator [flags]\n\nA stand-in for ECGrid. It runs until SIGINT or SIGTERM.\n\n")
		f.SetOutput(out)
		f.PrintDefaults()
		fmt.Fprint(out, usersHelp)
		c.help = true
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("%w (see --help)", err)
	}
	return c, c.check(f.Args())
}

// clientIPs are the values of --client-ip.
var clientIPs = map[string]func() func(*http.Request) string{
	"real":       func() func(*http.Request) string { return nil },
	"connection": func() func(*http.Request) string { return simulator.IPOfConnection },
	"request":    simulator.NewIPEachTime,
}

func (c settings) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: use flags (see --help)", rest[0])
	case c.tls != (c.caFile != ""):
		return errors.New("--tls and --ca-file go together: a client needs the CA")
	case c.idle <= 0:
		return errors.New("--session-idle must be above 0")
	case c.tokenLife <= 0:
		return errors.New("--token-life must be above 0")
	case c.rateLimit < 0:
		return errors.New("--rate-limit must not be below 0")
	case c.forget < 0:
		return errors.New("--forget-idle must not be below 0")
	case clientIPs[c.clientIP] == nil:
		return errors.New("--client-ip must be real, connection or request")
	case c.sessionCap < 1:
		return errors.New("--session-cap must be at least 1")
	}
	return nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	c, err := parse(args, out)
	if err != nil || c.help {
		return err
	}
	if c.version {
		_, err = fmt.Fprintf(out, "ecgrid-simulator %s (%s)\n", version, commit)
		return err
	}
	users, err := loadUsers(c.usersFile)
	if err != nil {
		return err
	}
	server, err := simulator.Start(
		simulator.Options{
			Users: users, IdleTimeout: c.idle, SessionCap: c.sessionCap, ClientIP: clientIPs[c.clientIP](),
			TokenLife: c.tokenLife, RateLimit: c.rateLimit,
		},
		simulator.ServerOptions{Listen: c.listen, TLS: c.tls, ForgetAfter: c.forget})
	if err != nil {
		return err
	}
	if err := announce(c, server, out); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// announce writes the CA first: once the ready file exists, both can be read.
func announce(c settings, server *simulator.Server, out io.Writer) error {
	if c.caFile != "" {
		if err := writeFile(c.caFile, server.CACert, 0o644); err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
	}
	if c.readyFile != "" {
		if err := writeReady(c.readyFile, server); err != nil {
			return fmt.Errorf("--ready-file: %w", err)
		}
	}
	_, err := fmt.Fprintf(out, "ecgrid-simulator: listening at %s\n", server.SOAP)
	return err
}
