// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"time"
)

// writeArchive packs a build with everything that its installation needs.
func (r *release) writeArchive(b build) error {
	files := []file{
		b.binary,
		{name: "SHA256SUMS", mode: 0o644, content: []byte(sumLine(b.binary.content, b.binary.name))},
	}
	if b.registers {
		register := strings.NewReplacer("@VERSION@", r.version, "@PLATFORM@", b.os+"/"+b.arch, "@BINARY@", b.binary.name).Replace(r.register)
		files = append(files, file{name: "register.sh", mode: 0o755, content: []byte(register)})
	}
	for _, document := range r.documents {
		if b.packs(document.name) {
			files = append(files, document)
		}
	}
	files = append(files, b.licenses...)
	for i := range files {
		files[i].name = r.stem(b) + "/" + files[i].name
	}
	pack, extension := tarGz, ".tar.gz"
	if b.os == "windows" {
		pack, extension = zipped, ".zip"
	}
	var out bytes.Buffer
	if err := pack(&out, sorted(files), r.time); err != nil {
		return err
	}
	return r.write(r.stem(b)+extension, out.Bytes())
}

func tarGz(w io.Writer, files []file, at time.Time) error {
	z := gzip.NewWriter(w)
	if err := tarred(z, files, at); err != nil {
		return err
	}
	return z.Close()
}

// tarred writes owner 0, except for directories of an image, and, in USTAR, one time per
// file. So the bytes are reproducible.
func tarred(w io.Writer, files []file, at time.Time) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: at, Format: tar.FormatUSTAR}
		if f.mode.IsDir() {
			header.Typeflag, header.Mode, header.Uid, header.Gid = tar.TypeDir, int64(f.mode.Perm()), userID, userID
		}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(f.content); err != nil {
			return err
		}
	}
	return t.Close()
}

func zipped(w io.Writer, files []file, at time.Time) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at}
		header.SetMode(f.mode)
		entry, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.content); err != nil {
			return err
		}
	}
	return z.Close()
}
