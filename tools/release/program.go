// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// program is what a release contains for each platform.
type program struct {
	name        string
	description string
	registers   bool     // its archive has register.sh
	hasFIPS     bool     // is also built for FIPS 140, if asked for
	documents   []string // in its archive; nil is all
	imageDir    string   // of its OCI layout

	// What its image has and does.
	trustsRoots bool     // calls servers with public certificates
	arguments   []string // of the entrypoint
	defaults    []string // arguments that those of docker run replace
	port        int      // 0 is none
	dataDir     string   // a directory of the image's user, and the working directory; "" is none
}

var programs = []program{
	{
		name:        "vault-plugin-ecgrid",
		description: "Vault secrets engine for ECGrid API keys",
		registers:   true,
		hasFIPS:     true,
		imageDir:    "oci",
		trustsRoots: true,
	},
	{
		name:        "ecgrid-simulator",
		description: "A stand-in for ECGrid, for tests",
		documents:   []string{"LICENSE", "docs/simulator.md"},
		imageDir:    "oci-simulator",
		arguments:   []string{"--listen=0.0.0.0:8080"},
		defaults:    []string{"--show-credentials"},
		port:        8080,
		dataDir:     "data",
	},
}

func isImageDir(name string) bool {
	return slices.ContainsFunc(programs, func(p program) bool { return p.imageDir == name })
}

// packs reports whether the archive has this document.
func (p *program) packs(document string) bool {
	return p.documents == nil || slices.Contains(p.documents, document)
}

// imageFiles are the files of the image. The licenses are also those of the trusted roots.
func (r *release) imageFiles(b build) ([]file, error) {
	files := []file{b.binary}
	if b.dataDir != "" {
		files = append(files, file{name: b.dataDir + "/", mode: fs.ModeDir | 0o755})
	}
	if !b.trustsRoots {
		return append(files, b.licenses...), nil
	}
	files = append(files, file{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: trustedRoots()})
	roots, err := r.trustedRootsPart()
	if err != nil {
		return nil, err
	}
	licenses, err := r.licenseFiles(b, append(slices.Clip(b.parts), roots))
	return append(files, licenses...), err
}

func (b build) runConfig() v1.Config {
	c := v1.Config{
		Entrypoint: append([]string{"/" + b.binary.name}, b.arguments...),
		Cmd:        b.defaults,
		User:       fmt.Sprintf("%d:%d", userID, userID),
	}
	if b.port != 0 {
		c.ExposedPorts = map[string]struct{}{fmt.Sprintf("%d/tcp", b.port): {}}
	}
	if b.dataDir != "" {
		c.WorkingDir = "/" + b.dataDir
	}
	return c
}
