// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// language is one of examples/clients.
type language struct {
	name, dir string
	// build compiles or checks the sources. It returns the command that runs them, and what
	// runs. The error is a notRun if the toolchain is missing.
	build func(src, out string) (command []string, version string, err error)
	// trust returns what makes the program trust a CA: options, placed behind the first word
	// of the command, and environment.
	trust func(home, caFile string) (options, env []string, err error)
	// byName: it trusts no certificate of an IP address.
	byName bool
	// noVaultCA: it ignores VAULT_CACERT.
	noVaultCA bool
}

// notRun is why a language cannot be run on this machine.
type notRun string

func (n notRun) Error() string { return string(n) }

var languages = []language{
	{name: "Go", dir: "go", build: buildGo, trust: trustSSLCertFile},
	{name: "Java", dir: "java", build: buildJava, trust: trustStore},
	{name: "Node.js", dir: "nodejs", build: buildNode, trust: trustNode, noVaultCA: true},
	{name: "Python", dir: "python", build: buildPython, trust: trustSSLCertFile},
	{name: "C#", dir: "csharp", build: buildCSharp, trust: trustCertSync, byName: true},
}

// program is a language that is ready to run.
type program struct {
	language
	command []string
	version string
	err     error
}

// missing is why the program cannot be run on this machine, and "" if it can, or does not
// build.
func (p program) missing() string {
	var reason notRun
	errors.As(p.err, &reason)
	return string(reason)
}

// programs builds all languages once for all tests, two at a time.
var programs = sync.OnceValue(func() []program {
	all := make([]program, len(languages))
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for i, l := range languages {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out := filepath.Join(workDir, l.dir)
			p := program{language: l, err: os.Mkdir(out, 0o755)}
			if p.err == nil {
				p.command, p.version, p.err = l.build(source(l.dir), out)
			}
			all[i] = p
		})
	}
	wg.Wait()
	return all
})

func source(dir string) string {
	return filepath.Join(consumertest.Root(), "examples", "clients", dir)
}

func buildGo(src, out string) ([]string, string, error) {
	if unformatted, err := output(src, "gofmt", "-l", "."); err != nil || unformatted != "" {
		return nil, "", fmt.Errorf("gofmt: %w %s", cmp.Or(err, errors.New("not formatted")), unformatted)
	}
	if _, err := output(src, "go", "vet", "./..."); err != nil {
		return nil, "", err
	}
	binary := filepath.Join(out, "edi-gateway")
	if _, err := output(src, "go", "build", "-o", binary, "."); err != nil {
		return nil, "", err
	}
	version, err := output(src, "go", "env", "GOVERSION")
	if err != nil {
		return nil, "", err
	}
	library, err := output(src, "go", "list", "-m", "github.com/hashicorp/vault/api")
	_, libraryVersion, _ := strings.Cut(library, " ")
	return []string{binary}, version + ", vault/api " + libraryVersion, err
}

const javaPackage = "com.example.edigateway"

func buildJava(src, out string) ([]string, string, error) {
	version, err := atLeast(17, "javac", "-version")
	if err != nil {
		return nil, "", err
	}
	if _, err := atLeast(17, "java", "-version"); err != nil {
		return nil, "", err
	}
	sources, err := filepath.Glob(filepath.Join(src, "com", "example", "edigateway", "*.java"))
	if err != nil {
		return nil, "", err
	}
	check := filepath.Join(consumertest.Root(), "acceptance", "consumers", "clients", "testdata", "JsonCheck.java")
	arguments := append([]string{"--release", "17", "-Xlint:all", "-Werror", "-d", out, check}, sources...)
	_, err = output(src, "javac", arguments...)
	return append(javaCommand(out), javaPackage+".Main"), "Java " + version, err
}

// javaCommand starts quickly, and leaves processors to the other programs.
func javaCommand(classes string) []string {
	return []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes}
}

func buildNode(src, _ string) ([]string, string, error) {
	version, err := atLeast(20, "node", "--version")
	if err != nil {
		return nil, "", err
	}
	for _, file := range []string{"ecgrid.mjs", "main.mjs"} {
		if _, err := output(src, "node", "--check", file); err != nil {
			return nil, "", err
		}
	}
	return []string{"node", filepath.Join(src, "main.mjs")}, "Node.js " + version, nil
}

func buildPython(src, out string) ([]string, string, error) {
	version, err := atLeast(3, "python3", "--version")
	if err != nil {
		return nil, "", err
	}
	// The interpreter itself, since a version manager may need the user's own environment.
	interpreter, err := output(src, "python3", "-c", "import sys; print(sys.executable)")
	if err != nil {
		return nil, "", err
	}
	for _, file := range []string{"ecgrid.py", "main.py"} {
		compile := "import py_compile, sys; py_compile.compile(sys.argv[1], cfile=sys.argv[2], doraise=True)"
		if _, err := output(src, interpreter, "-W", "error", "-c", compile, file, filepath.Join(out, file+"c")); err != nil {
			return nil, "", err
		}
	}
	return []string{interpreter, "-B", filepath.Join(src, "main.py")}, "Python " + version, nil
}

// buildCSharp uses .NET, or Mono.
func buildCSharp(src, out string) ([]string, string, error) {
	if version, err := atLeast(8, "dotnet", "--version"); err == nil {
		text, err := output(src, "dotnet", "build", "--nologo", "-p:BaseIntermediateOutputPath="+out+"/obj/", "-o", filepath.Join(out, "bin"))
		if err == nil || strings.Contains(text, "error CS") {
			return []string{"dotnet", filepath.Join(out, "bin", "edi-gateway.dll")}, ".NET " + version, err
		}
		return nil, "", notRun("dotnet cannot build here")
	}
	version, err := atLeast(6, "mono", "--version")
	if err != nil {
		return nil, "", notRun("no dotnet, and no mono")
	}
	sources, err := filepath.Glob(filepath.Join(src, "*.cs"))
	if err != nil {
		return nil, "", err
	}
	if _, err := exec.LookPath("mcs"); err != nil {
		return nil, "", notRun("no dotnet, and no mcs")
	}
	binary := filepath.Join(out, "edi-gateway.exe")
	arguments := append([]string{"-langversion:7", "-warn:4", "-warnaserror", "-r:System.Net.Http.dll", "-r:System.Runtime.Serialization.dll", "-out:" + binary}, sources...)
	_, err = output(src, "mcs", arguments...)
	return []string{"mono", binary}, "Mono " + version, err
}

func trustSSLCertFile(_, caFile string) (_, env []string, _ error) {
	return nil, []string{"SSL_CERT_FILE=" + caFile}, nil
}

func trustNode(_, caFile string) (_, env []string, _ error) {
	return nil, []string{"NODE_EXTRA_CA_CERTS=" + caFile}, nil
}

func trustStore(home, caFile string) (options, _ []string, _ error) {
	store := filepath.Join(home, "trust.p12")
	_, err := output(home, "keytool", "-importcert", "-noprompt", "-alias", "ecgrid", "-file", caFile,
		"-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit")
	return []string{"-Djavax.net.ssl.trustStore=" + store, "-Djavax.net.ssl.trustStorePassword=changeit"}, nil, err
}

// trustCertSync is for .NET, which reads SSL_CERT_FILE, and for Mono, which has a store.
func trustCertSync(home, caFile string) (_, env []string, _ error) {
	if _, err := exec.LookPath("cert-sync"); err == nil {
		cmd := exec.Command("cert-sync", "--quiet", "--user", caFile)
		cmd.Env = vaulttest.Environment(home)
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("cert-sync: %w: %s", err, text)
		}
	}
	return nil, []string{"SSL_CERT_FILE=" + caFile}, nil
}

// atLeast returns the version that a command prints, such as 17.0.15.
func atLeast(major int, command ...string) (string, error) {
	if _, err := exec.LookPath(command[0]); err != nil {
		return "", notRun("no " + command[0])
	}
	text, err := output("", command[0], command[1:]...)
	version := regexp.MustCompile(`\d+(\.\d+)+`).FindString(text)
	if err != nil || version == "" {
		return "", notRun(command[0] + " does not run")
	}
	first, _, _ := strings.Cut(version, ".")
	if n, _ := strconv.Atoi(first); n < major {
		return "", notRun(fmt.Sprintf("%s is %s, older than %d", command[0], version, major))
	}
	return version, nil
}

// output runs a command to its end, and returns what it prints.
func output(dir, name string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return strings.TrimSpace(string(text)), err
}
