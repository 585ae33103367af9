// SPDX-License-Identifier: MPL-2.0

// Command ecgrid-simulator is a stand-in for ECGrid. On one port of this machine it serves
// ECGridOS v4.1 over SOAP, with a WSDL, and the REST API v2.6, with an OpenAPI document.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

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

func run(ctx context.Context, args []string, out io.Writer) error {
	c, err := parse(args, out)
	if err != nil || c.help {
		return err
	}
	if c.version {
		_, err = fmt.Fprintf(out, "ecgrid-simulator %s (%s)\n", version, commit)
		return err
	}
	requests, err := openLog(c.logFile, out)
	if err != nil {
		return err
	}
	defer requests.Close()
	server, err := c.start(requests)
	if err != nil {
		return err
	}
	if err := announce(c, server, requests.terminal(out)); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// start serves with the faults in place.
func (c settings) start(requests *requestLog) (*simulator.Server, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	o.Log = requests.logger()
	so, err := c.serverOptions()
	if err != nil {
		return nil, err
	}
	var faults []simulator.Fault
	for _, text := range c.faults {
		f, err := simulator.ParseFault(text)
		if err != nil {
			return nil, fmt.Errorf("--fault %s: %w (see --help)", text, err)
		}
		faults = append(faults, f)
	}
	if err := removeOld(c.readyFile, c.caFile); err != nil {
		return nil, err
	}
	server, err := simulator.Start(o, so)
	if err != nil {
		return nil, err
	}
	for _, f := range faults {
		server.Inject(f)
	}
	return server, nil
}

// options keep nothing of past calls in memory, since nobody can ask this command for them.
func (c settings) options() (simulator.Options, error) {
	users, err := c.users()
	if err != nil {
		return simulator.Options{}, err
	}
	latency, err := simulator.ParseLatency(c.latency)
	if err != nil {
		return simulator.Options{}, fmt.Errorf("--latency: %w", err)
	}
	return simulator.Options{
		Users: users, IdleTimeout: c.idle, SessionCap: c.sessionCap, ClientIP: clientIPs[c.clientIP](),
		TokenLife: c.tokenLife, RateLimit: c.rateLimit, Latency: latency,
		KeepCalls: 1, KeepSecrets: 1,
	}, nil
}

func (c settings) serverOptions() (simulator.ServerOptions, error) {
	so := simulator.ServerOptions{Listen: c.listen, TLS: c.tls, Hosts: c.hosts, ForgetAfter: c.forget}
	if c.tlsCert == "" {
		return so, nil
	}
	cert, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		return so, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	so.Certificate = &cert
	return so, nil
}

// announce writes the CA first: once the ready file exists, both can be read.
func announce(c settings, server *simulator.Server, out io.Writer) error {
	if c.caFile != "" {
		if err := writeFile(c.caFile, server.CACert, 0o644); err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
	}
	if c.showCredentials {
		if err := printCredentials(out, server.Users()); err != nil {
			return err
		}
	}
	if c.readyFile != "" {
		if err := writeReady(c.readyFile, server); err != nil {
			return fmt.Errorf("--ready-file: %w", err)
		}
	}
	_, err := fmt.Fprintf(out, "ecgrid-simulator: listening at %s and %s\n", server.SOAP, server.REST)
	return err
}
