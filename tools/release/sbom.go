// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// writeSBOM lists what is linked into a build, with the licenses.
func (r *release) writeSBOM(b build) error {
	info, err := buildinfo.Read(bytes.NewReader(b.binary.content))
	if err != nil {
		return err
	}
	var parts []cdx.Component
	for _, p := range b.parts {
		parts = append(parts, library(p.path, p.version, p.sum, p.licenses...))
	}
	itself := r.component(b, info)

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: r.time.Format(time.RFC3339), Component: &itself}
	bom.Components = &parts
	bom.Dependencies = linkedInto(itself, parts)
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return err
	}
	return r.write(r.stem(b)+".cdx.json", out.Bytes())
}

func (r *release) component(b build, info *debug.BuildInfo) cdx.Component {
	c := library(info.Main.Path, r.version, "", ownLicense)
	c.Name = b.name
	if b.name != info.Main.Path { // another program of the same module
		c.PackageURL += "#cmd/" + b.name
		c.BOMRef = c.PackageURL
	}
	c.Type = cdx.ComponentTypeApplication
	c.Hashes = sha256Hash(fmt.Sprintf("%x", sha256.Sum256(b.binary.content)))
	c.Pedigree = &cdx.Pedigree{Commits: &[]cdx.Commit{{UID: r.commit}}}
	c.Properties = &[]cdx.Property{{Name: "platform", Value: b.os + "/" + b.arch}}
	for _, setting := range info.Settings {
		if setting.Key == "GOFIPS140" {
			*c.Properties = append(*c.Properties, cdx.Property{Name: setting.Key, Value: setting.Value})
		}
	}
	return c
}

func library(path, version, sum string, licenses ...string) cdx.Component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
	// The h1 of go.sum is the SHA-256 of the module's list of files.
	if h1, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(h1) == sha256.Size {
		c.Hashes = sha256Hash(hex.EncodeToString(h1))
	}
	c.Licenses = &cdx.Licenses{}
	for _, id := range licenses {
		*c.Licenses = append(*c.Licenses, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return c
}

func sha256Hash(value string) *[]cdx.Hash {
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: value}}
}

func linkedInto(itself cdx.Component, parts []cdx.Component) *[]cdx.Dependency {
	refs := make([]string, len(parts))
	for i, part := range parts {
		refs[i] = part.BOMRef
	}
	return &[]cdx.Dependency{{Ref: itself.BOMRef, Dependencies: &refs}}
}
