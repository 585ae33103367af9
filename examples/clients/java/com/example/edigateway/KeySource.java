// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** Reads the current key. */
interface KeySource {
    String read() throws IOException, InterruptedException;

    /** Reads the key from the file that Vault Agent writes. */
    static KeySource file(Path file) {
        return () -> readLine(file);
    }

    static String readLine(Path file) throws IOException {
        try {
            // Unlike Files.readString, this accepts any bytes: visible() says what is wrong.
            return Http.visible(new String(Files.readAllBytes(file), StandardCharsets.UTF_8).strip(), file.toString());
        } catch (NoSuchFileException e) {
            throw new EcgridException(file + " does not exist: check that Vault Agent runs and writes it", e);
        }
    }
}
