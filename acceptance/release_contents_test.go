// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Builds of the same commit in two places have the same bytes.
func TestReleaseIsReproducible(t *testing.T) {
	r := needReleases(t)
	first, again := contents(t, r.first.dist), contents(t, r.again.dist)
	if len(first) < 4 {
		t.Fatalf("only %d files", len(first))
	}
	for name, content := range first {
		if !bytes.Equal(content, again[name]) {
			t.Errorf("%s differs", name)
		}
	}
	if len(again) != len(first) {
		t.Errorf("%d files, then %d", len(first), len(again))
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		all[name] = readAll(filepath.Join(dir, name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const simulatorName = "ecgrid-simulator"

// releasedProgram is a program in a release, and what its image has to say.
type releasedProgram struct {
	name, imageDir string
	version        string // the flag that prints it
	says           string // what that prints, with the version and the commit
	documents      []string
	config         imageConfig
	files          []string // in the image, beside the binary and the licenses
	alsoLicensed   []string // modules that have a part in the image and none in the binary
}

// imageConfig is what a container engine reads of an image.
type imageConfig struct {
	User, WorkingDir string
	Entrypoint, Cmd  []string
	ExposedPorts     map[string]struct{}
}

var releasedPrograms = []releasedProgram{
	{
		name: pluginName, imageDir: "oci", version: "-version", says: pluginName + " %s %s\n",
		documents: []string{"README.md", "SECURITY.md", "LICENSE", "docs/release.md", "docs/simulator.md"},
		config:    imageConfig{User: "65532:65532", Entrypoint: []string{"/" + pluginName}},
		files:     []string{"etc/ssl/certs/ca-certificates.crt"}, alsoLicensed: []string{"golang.org/x/crypto/x509roots/fallback"},
	},
	{
		name: simulatorName, imageDir: "oci-simulator", version: "--version", says: simulatorName + " %s (%s)\n",
		documents: []string{"LICENSE", "docs/simulator.md"},
		config: imageConfig{User: "65532:65532", WorkingDir: "/data", ExposedPorts: map[string]struct{}{"8080/tcp": {}},
			Entrypoint: []string{"/" + simulatorName, "--listen=0.0.0.0:8080"}, Cmd: []string{"--show-credentials"}},
		files: []string{"data/"},
	},
}

// programNamed returns the program of that name.
func programNamed(name string) releasedProgram {
	return releasedPrograms[slices.IndexFunc(releasedPrograms, func(p releasedProgram) bool { return p.name == name })]
}

func TestReleaseContents(t *testing.T) {
	r := needReleases(t).first
	t.Run("sums", func(t *testing.T) {
		listed := sums(t, filepath.Join(r.dist, "SHA256SUMS"))
		for name, content := range contents(t, r.dist) {
			switch {
			case name == "SHA256SUMS", strings.Contains(name, "/") && filepath.Base(name) != "index.json":
			case listed[name] != sumOf(content):
				t.Errorf("SHA256SUMS has a wrong sum for %s: %q", name, listed[name])
			}
		}
	})
	for _, p := range releasedPrograms {
		dir := r.unpackProgram(t, p.name)
		binary := readAll(filepath.Join(dir, p.name))
		t.Run(p.name+" archive", func(t *testing.T) { p.checkArchive(t, r, dir, binary) })
		t.Run(p.name+" licenses", func(t *testing.T) { p.checkLicenses(t, filesIn(t, dir, "licenses/"), binary) })
		t.Run(p.name+" SBOM", func(t *testing.T) { p.checkSBOM(t, r, binary) })
		t.Run(p.name+" OCI image", func(t *testing.T) { p.checkImage(t, r) })
	}
}

func (p releasedProgram) checkArchive(t *testing.T, r release, dir string, binary []byte) {
	if sumOf(binary) != r.binarySumOf(t, p.name) {
		t.Error("SHA256SUMS.binaries is wrong")
	}
	said, err := command(dir, nil, "./"+p.name, p.version)
	if want := fmt.Sprintf(p.says, r.version, r.commit); err != nil || said != want {
		t.Errorf("%s prints %q, want %q: %v", p.version, said, want, err)
	}
	for _, place := range []string{suite.dir, repoRoot()} {
		if bytes.Contains(binary, []byte(place)) {
			t.Errorf("the binary contains the path %s", place)
		}
	}
	for _, document := range p.documents {
		if packed := readAll(filepath.Join(dir, document)); len(packed) == 0 || !bytes.Equal(packed, readAll(filepath.Join(repoRoot(), document))) {
			t.Errorf("%s is not the repository's", document)
		}
	}
}

// checkSBOM compares the SBOM with the build information in the binary.
func (p releasedProgram) checkSBOM(t *testing.T, r release, binary []byte) {
	var bom struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Component struct {
				Name, Version string
				Hashes        []struct{ Content string }
			}
		}
		Components []struct {
			Name, Version string
			Licenses      []struct{ License struct{ ID string } }
		}
	}
	if err := json.Unmarshal(readAll(filepath.Join(r.dist, r.stemOf(p.name)+".cdx.json")), &bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; bom.BOMFormat != "CycloneDX" || c.Name != p.name || c.Version != r.version || len(c.Hashes) != 1 || c.Hashes[0].Content != sumOf(binary) {
		t.Errorf("not a CycloneDX SBOM of the binary: %+v", bom.Metadata)
	}
	var got []string
	for _, c := range bom.Components {
		got = append(got, c.Name+" "+c.Version)
		if len(c.Licenses) == 0 || c.Licenses[0].License.ID == "" {
			t.Errorf("%s has no license", c.Name)
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, module := range info.Deps {
		want = append(want, module.Path+" "+module.Version)
	}
	if !slices.Equal(got, want) {
		t.Errorf("components\n%q\nwant\n%q", got, want)
	}
}

// imageLayout is an OCI image layout. It is read from the index down, as container engines do.
type imageLayout struct {
	*testing.T
	dir string
}

type imageDescriptor struct {
	Digest      string
	Platform    struct{ OS, Architecture string }
	Annotations map[string]string
}

type imageIndex struct{ Manifests []imageDescriptor }

func (l imageLayout) blob(d imageDescriptor) []byte {
	l.Helper()
	sum := strings.TrimPrefix(d.Digest, "sha256:")
	content := readAll(filepath.Join(l.dir, "blobs", "sha256", sum))
	if sumOf(content) != sum {
		l.Fatalf("blob %s has another digest", sum)
	}
	return content
}

func (l imageLayout) decode(raw []byte, into any) {
	l.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		l.Fatal(err)
	}
}

func (p releasedProgram) checkImage(t *testing.T, r release) {
	if runtime.GOOS != "linux" {
		t.Skip("the image holds the Linux binaries")
	}
	l := imageLayout{t, filepath.Join(r.dist, p.imageDir)}
	var index, images imageIndex
	var manifest struct {
		Config imageDescriptor
		Layers []imageDescriptor
	}
	l.decode(readAll(filepath.Join(l.dir, "index.json")), &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != r.version {
		t.Fatalf("the layout holds %+v, want one image called %s", index.Manifests, r.version)
	}
	l.decode(l.blob(index.Manifests[0]), &images)
	if len(images.Manifests) != 1 || images.Manifests[0].Platform.OS != "linux" || images.Manifests[0].Platform.Architecture != runtime.GOARCH {
		t.Fatalf("the image is for %+v", images.Manifests)
	}
	l.decode(l.blob(images.Manifests[0]), &manifest)
	l.checkConfig(manifest.Config, r, p)
	if len(manifest.Layers) != 1 {
		t.Fatalf("%d layers", len(manifest.Layers))
	}
	files := untar(t, l.blob(manifest.Layers[0]))
	if sumOf(files[p.name]) != r.binarySumOf(t, p.name) {
		t.Error("the image's binary is not the one of SHA256SUMS.binaries")
	}
	licenses := map[string][]byte{}
	maps.DeleteFunc(files, func(name string, content []byte) bool {
		isLicense := strings.HasPrefix(name, "licenses/")
		if isLicense {
			licenses[name] = content
		}
		return isLicense
	})
	p.checkLicenses(t, licenses, files[p.name], p.alsoLicensed...)
	names := slices.Sorted(maps.Keys(files))
	if want := slices.Sorted(slices.Values(append(slices.Clone(p.files), p.name))); !slices.Equal(names, want) {
		t.Errorf("the image has %q, want %q", names, want)
	}
	if roots, has := files["etc/ssl/certs/ca-certificates.crt"]; has && !x509.NewCertPool().AppendCertsFromPEM(roots) {
		t.Error("the image has no trusted roots")
	}
}

func (l imageLayout) checkConfig(d imageDescriptor, r release, p releasedProgram) {
	l.Helper()
	var image struct {
		OS, Architecture string
		Config           struct {
			imageConfig
			Labels map[string]string
		}
	}
	l.decode(l.blob(d), &image)
	labels := image.Config.Labels
	if image.OS != "linux" || image.Architecture != runtime.GOARCH || !reflect.DeepEqual(image.Config.imageConfig, p.config) ||
		labels["org.opencontainers.image.title"] != p.name ||
		labels["org.opencontainers.image.version"] != r.version || labels["org.opencontainers.image.revision"] != r.commit {
		l.Errorf("the image's configuration is %+v", image)
	}
}

// untar also checks the owners: files are root's, directories those of the image's user.
func untar(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(z); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		owner, program := 0, header.Mode&0o111 != 0
		if header.Typeflag == tar.TypeDir {
			owner, program = 65532, true
		}
		if isBinary := !strings.Contains(header.Name, "/") || strings.HasSuffix(header.Name, "/"); header.Uid != owner || program != isBinary {
			t.Errorf("%s has owner %d and mode %o", header.Name, header.Uid, header.Mode)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}
