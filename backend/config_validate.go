// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func (c Config) validate() error {
	if err := c.validateCredential(); err != nil {
		return err
	}
	if err := c.validateURL(); err != nil {
		return err
	}
	if err := validateTTLs(c.TTL, c.MaxTTL); err != nil {
		return err
	}
	if c.RequestTimeout < minRequestTimeout || c.RequestTimeout > maxRequestTimeout {
		return Invalid("request_timeout is %s: it must be between %s and %s", c.RequestTimeout, minRequestTimeout, maxRequestTimeout)
	}
	if c.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CACert)) {
		return Invalid("ca_cert contains no PEM certificate: send the CA's certificate with its BEGIN and END lines")
	}
	if strings.ContainsAny(c.TLSServerName, " \t\r\n/:@") {
		return Invalid("tls_server_name is not a host name: send only the name that is in the certificate")
	}
	return nil
}

func validateTTLs(ttl, maxTTL time.Duration) error {
	if maxTTL > 0 && ttl > maxTTL {
		return Invalid("ttl (%s) is above max_ttl (%s): lower ttl or raise max_ttl", ttl, maxTTL)
	}
	return nil
}

func (c Config) validateCredential() error {
	switch {
	case !isPlain(c.Username) || !isPlain(c.Password) || !isPlain(c.APIKey):
		return Invalid("the credential contains a line break, a control character or invalid UTF-8: if it comes from a file, write the file without a newline, as printf '%%s' does")
	case c.APIKey != "" && c.Username != "":
		return Invalid("the config has an api_key, which has no username: send username and password together to switch, or leave username out")
	case c.APIKey != "":
		return nil
	case c.Username == "" && c.Password == "":
		return Invalid("no credential: send username and password, or api_key")
	case c.Username == "":
		return Invalid("password without username: send the ECGridOS LoginName as username")
	case c.Password == "":
		return Invalid("username without password: send the password of that ECGridOS login")
	}
	return nil
}

// isPlain reports whether XML can carry the text and it has no line break, such as that
// at the end of a file.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF
	})
}

// validateURL allows plain http to this machine only, since it sends the credential in
// clear text.
func (c Config) validateURL() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return Invalid("url is not an absolute URL: send one like %s", defaultURLs[c.TransportInUse()])
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > unicode.MaxASCII }):
		return Invalid("url has a host name that is not ASCII: send its DNS form, which begins with xn--")
	case u.User != nil:
		return Invalid("url must not contain a user or password: send them as username and password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Invalid("url must not contain a query or fragment: send the endpoint itself, without ?WSDL")
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	case u.Scheme == "http":
		return Invalid("url is plain http, which would send the password in clear text: use https (http is allowed to a loopback host only)")
	default:
		return Invalid("url must start with https://")
	}
	if _, err := net.LookupPort("tcp", cmp.Or(u.Port(), "443")); err != nil {
		return Invalid("url has an invalid port: send one from 1 to 65535, or leave it out")
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// vendorServers are ECGrid's own. A login may move between them without its password,
// which only Vault may know.
var vendorServers = []string{"https://os.ecgrid.io:443", "https://rest.ecgrid.io:443"}

// mayMove reports whether the stored credential may be sent to the server of the new
// config, with its trust. Otherwise somebody who may edit the config, and controls a name
// or a proxy, could get the credential.
func mayMove(from, to Config) bool {
	sameServer := server(from.URL) == server(to.URL) && from.TransportInUse() == to.TransportInUse()
	sameCA := strings.TrimSpace(from.CACert) == strings.TrimSpace(to.CACert)
	sameName := from.TLSServerName == to.TLSServerName
	if sameServer && sameCA && sameName {
		return true
	}
	if !slices.Contains(vendorServers, server(from.URL)) || !slices.Contains(vendorServers, server(to.URL)) {
		return false
	}
	systemsTrust := to.CACert == "" && to.TLSServerName == ""
	return systemsTrust || sameServer && sameCA && to.TLSServerName == ""
}

// service returns the server of a URL, which is the same for both endpoints of the vendor:
// they share their users.
func service(raw string) string {
	at := server(raw)
	if slices.Contains(vendorServers, at) {
		return vendorServers[0]
	}
	return at
}

// server returns the scheme, host and port of a URL in one spelling.
func server(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
