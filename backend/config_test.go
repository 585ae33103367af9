// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"
)

// brokenCA cannot be parsed.
const brokenCA = `-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDEwR0ZXN0MB4X
DTI2MDEwMTAwMDAwMFoXDTM2MDEwMTAwMDAwMFowDzENMAsGA1UEAxMEdGVzdDBZ
-----END CERTIFICATE-----
`

func TestConfigPatch(t *testing.T) {
	t.Parallel()
	login := ConfigPatch{Username: ptr("login"), Password: ptr("right")}
	withKey := func(c *Config) { c.Username, c.Password, c.APIKey = "", "", "key" }
	ca := testAuthority(t)
	own := func(c *Config) { c.URL = "https://own.example/x" }
	trust := func(c *Config) { c.CACert = ca }
	name := func(c *Config) { c.TLSServerName = "x.example" }
	rest := func(c *Config) { c.Transport, c.URL = "rest", defaultRESTURL }
	soap := func(c *Config) { c.Transport = "soap" }
	tests := map[string]struct {
		old   *Config
		patch ConfigPatch
		want  *Config // nil: refused
	}{
		"first write takes the defaults":  {nil, login, stored()},
		"first write with an api_key":     {nil, ConfigPatch{APIKey: ptr("key")}, stored(withKey)},
		"first write without credential":  {nil, ConfigPatch{TTL: ptr(time.Hour)}, nil},
		"username alone":                  {nil, ConfigPatch{Username: ptr("login")}, nil},
		"password alone":                  {nil, ConfigPatch{Password: ptr("right")}, nil},
		"omitted fields stay":             {stored(func(c *Config) { c.TTL = time.Hour }), ConfigPatch{MaxTTL: ptr(2 * time.Hour)}, stored(func(c *Config) { c.TTL, c.MaxTTL = time.Hour, 2*time.Hour })},
		"zero clears":                     {stored(func(c *Config) { c.TTL = time.Hour }), ConfigPatch{TTL: ptr(time.Duration(0))}, stored()},
		"empty url is the default":        {stored(), ConfigPatch{URL: ptr("")}, stored()},
		"empty password":                  {stored(), ConfigPatch{Password: ptr("")}, nil},
		"empty api_key":                   {stored(), ConfigPatch{APIKey: ptr("")}, nil},
		"both kinds":                      {nil, ConfigPatch{Username: ptr("login"), Password: ptr("right"), APIKey: ptr("key")}, nil},
		"api_key and username":            {stored(), ConfigPatch{Username: ptr("login"), APIKey: ptr("key")}, nil},
		"api_key and password":            {stored(), ConfigPatch{Password: ptr("right"), APIKey: ptr("key")}, nil},
		"api_key clears the login":        {stored(), ConfigPatch{APIKey: ptr("key")}, stored(withKey)},
		"login clears the api_key":        {stored(withKey), login, stored()},
		"username beside an api_key":      {stored(withKey), ConfigPatch{Username: ptr("login")}, nil},
		"null api_key and a login":        {stored(withKey), ConfigPatch{Username: ptr("login"), Password: ptr("right"), ClearAPIKey: true}, stored()},
		"null password":                   {stored(), ConfigPatch{ClearPassword: true}, nil},
		"null api_key":                    {stored(withKey), ConfigPatch{ClearAPIKey: true}, nil},
		"empty username":                  {stored(), ConfigPatch{Username: ptr("")}, nil},
		"other username, same password":   {stored(), ConfigPatch{Username: ptr("other")}, stored(func(c *Config) { c.Username = "other" })},
		"ttl above max_ttl":               {stored(), ConfigPatch{TTL: ptr(2 * time.Hour), MaxTTL: ptr(time.Hour)}, nil},
		"ttl above the stored max_ttl":    {stored(func(c *Config) { c.MaxTTL = time.Hour }), ConfigPatch{TTL: ptr(2 * time.Hour)}, nil},
		"ttl of max_ttl":                  {stored(), ConfigPatch{TTL: ptr(time.Hour), MaxTTL: ptr(time.Hour)}, stored(func(c *Config) { c.TTL, c.MaxTTL = time.Hour, time.Hour })},
		"request_timeout too short":       {stored(), ConfigPatch{RequestTimeout: ptr(time.Duration(0))}, nil},
		"request_timeout too long":        {stored(), ConfigPatch{RequestTimeout: ptr(21 * time.Second)}, nil},
		"request_timeout at the end":      {stored(), ConfigPatch{RequestTimeout: ptr(20 * time.Second)}, stored(func(c *Config) { c.RequestTimeout = 20 * time.Second })},
		"no idle time":                    {stored(), ConfigPatch{SessionIdleTimeout: ptr(time.Duration(0))}, stored(func(c *Config) { c.SessionIdleTimeout = 0 })},
		"ca_cert that is not PEM":         {stored(), ConfigPatch{CACert: ptr("none")}, nil},
		"ca_cert that is broken":          {stored(), ConfigPatch{CACert: ptr(brokenCA)}, nil},
		"tls_server_name that is a URL":   {stored(), ConfigPatch{TLSServerName: ptr("https://x")}, nil},
		"tls_server_name":                 {stored(), ConfigPatch{TLSServerName: ptr("x.example")}, nil},
		"tls_server_name, password":       {stored(), ConfigPatch{TLSServerName: ptr("x.example"), Password: ptr("right")}, stored(func(c *Config) { c.TLSServerName = "x.example" })},
		"tls_server_name, empty password": {stored(), ConfigPatch{TLSServerName: ptr("x.example"), Password: ptr("")}, nil},
		"the same tls_server_name":        {stored(name), ConfigPatch{TLSServerName: ptr("x.example"), TTL: ptr(time.Hour)}, stored(name, func(c *Config) { c.TTL = time.Hour })},
		"ca_cert":                         {stored(), ConfigPatch{CACert: ptr(ca)}, nil},
		"ca_cert, api_key":                {stored(), ConfigPatch{CACert: ptr(ca), APIKey: ptr("key")}, stored(withKey, func(c *Config) { c.CACert, c.APIKey = ca, "key" })},
		"ca_cert, username only":          {stored(), ConfigPatch{CACert: ptr(ca), Username: ptr("login")}, nil},
		"the same ca_cert":                {stored(own, trust), ConfigPatch{CACert: ptr(ca + "\n"), TTL: ptr(time.Hour)}, stored(own, trust, func(c *Config) { c.CACert, c.TTL = ca+"\n", time.Hour })},
		"other ca_cert":                   {stored(own, trust), ConfigPatch{CACert: ptr(ca + ca)}, nil},
		"ca_cert cleared":                 {stored(own, trust), ConfigPatch{CACert: ptr("")}, nil},
		"ca_cert cleared, vendor":         {stored(trust), ConfigPatch{CACert: ptr("")}, stored()},
		"both cleared, vendor":            {stored(trust, name), ConfigPatch{CACert: ptr(""), TLSServerName: ptr("")}, stored()},
		"name cleared, vendor":            {stored(trust, name), ConfigPatch{TLSServerName: ptr("")}, stored(trust)},
		"ca_cert cleared, name stays":     {stored(trust, name), ConfigPatch{CACert: ptr("")}, nil},
		"name cleared":                    {stored(own, name), ConfigPatch{TLSServerName: ptr("")}, nil},
		"between the vendor's":            {stored(), ConfigPatch{URL: ptr("https://rest.ecgrid.io/v2")}, stored(func(c *Config) { c.URL = "https://rest.ecgrid.io/v2" })},
		"between the vendor's, own trust": {stored(trust), ConfigPatch{URL: ptr("https://rest.ecgrid.io/v2")}, nil},
		"between the vendor's, port":      {stored(), ConfigPatch{URL: ptr("https://rest.ecgrid.io:444/v2")}, nil},
		"transport":                       {stored(), ConfigPatch{Transport: ptr("rest")}, stored(rest)},
		"transport and back":              {stored(rest), ConfigPatch{Transport: ptr("soap")}, stored(soap)},
		"transport, cleared":              {stored(rest), ConfigPatch{Transport: ptr("")}, stored(soap)},
		"the same transport":              {stored(own), ConfigPatch{Transport: ptr("soap")}, stored(own, soap)},
		"transport, first write":          {nil, ConfigPatch{Transport: ptr("rest"), Username: ptr("login"), Password: ptr("right")}, stored(rest)},
		"transport, empty url":            {stored(), ConfigPatch{Transport: ptr("rest"), URL: ptr("")}, stored(rest)},
		"transport, own trust":            {stored(trust), ConfigPatch{Transport: ptr("rest")}, nil},
		"transport, trust cleared":        {stored(trust), ConfigPatch{Transport: ptr("rest"), CACert: ptr("")}, stored(rest)},
		"transport, url not the default":  {stored(own), ConfigPatch{Transport: ptr("rest"), Password: ptr("right")}, nil},
		"transport, own url":              {stored(own), ConfigPatch{Transport: ptr("rest"), URL: ptr("https://own.example/x")}, nil},
		"transport, own url, password":    {stored(own), ConfigPatch{Transport: ptr("rest"), URL: ptr("https://own.example/x"), Password: ptr("right")}, stored(own, func(c *Config) { c.Transport = "rest" })},
		"no such transport":               {stored(), ConfigPatch{Transport: ptr("SOAP")}, nil},
		"url of the other transport":      {stored(rest), ConfigPatch{URL: ptr(DefaultURL)}, stored(rest, func(c *Config) { c.URL = DefaultURL })},
		"from the vendor's":               {stored(), ConfigPatch{URL: ptr("https://rest.ecgrid.io.example/v2")}, nil},
		"to the vendor's":                 {stored(own), ConfigPatch{URL: ptr(DefaultURL)}, nil},
		"other host":                      {stored(), ConfigPatch{URL: ptr("https://evil.example/x")}, nil},
		"other host, username only":       {stored(), ConfigPatch{URL: ptr("https://evil.example/x"), Username: ptr("login")}, nil},
		"other port":                      {stored(), ConfigPatch{URL: ptr("https://os.ecgrid.io:8443/v4.1/prod/ECGridOS.asmx")}, nil},
		"other scheme":                    {stored(func(c *Config) { c.URL = "https://localhost:443/x" }), ConfigPatch{URL: ptr("http://localhost:443/x")}, nil},
		"other host with the password":    {stored(), ConfigPatch{URL: ptr("https://new.example/x"), Password: ptr("new")}, stored(func(c *Config) { c.URL, c.Password = "https://new.example/x", "new" })},
		"other host with the api_key":     {stored(withKey), ConfigPatch{URL: ptr("https://new.example/x"), APIKey: ptr("new")}, stored(withKey, func(c *Config) { c.URL, c.APIKey = "https://new.example/x", "new" })},
		"back to the default host":        {stored(func(c *Config) { c.URL = "https://own.example/x" }), ConfigPatch{URL: ptr("")}, nil},
		"other path":                      {stored(), ConfigPatch{URL: ptr("https://os.ecgrid.io/v4.1/test/ECGridOS.asmx")}, stored(func(c *Config) { c.URL = "https://os.ecgrid.io/v4.1/test/ECGridOS.asmx" })},
		"same host in another spelling":   {stored(), ConfigPatch{URL: ptr("https://OS.ecgrid.io:443/x")}, stored(func(c *Config) { c.URL = "https://OS.ecgrid.io:443/x" })},
		"password XML cannot carry":       {stored(), ConfigPatch{Password: ptr("a\x00b")}, nil},
		"password with a newline":         {stored(), ConfigPatch{Password: ptr("right\n")}, nil},
		"api_key to login at other host":  {stored(withKey), ConfigPatch{URL: ptr("https://new.example/x"), Username: ptr("login"), Password: ptr("right")}, stored(func(c *Config) { c.URL = "https://new.example/x" })},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.patch.apply(tt.old)
			switch {
			case tt.want == nil && !errors.Is(err, ErrInvalid):
				t.Errorf("got error %v, want ErrInvalid", err)
			case tt.want != nil && err != nil:
				t.Errorf("unexpected error: %v", err)
			case tt.want != nil && !reflect.DeepEqual(got, *tt.want):
				t.Errorf("got %+v, want %+v", got, *tt.want)
			}
		})
	}
}

// testAuthority returns the certificate of a new CA, as PEM.
func testAuthority(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
