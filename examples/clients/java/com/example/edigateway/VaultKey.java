// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Reads the key from Vault, with the usual VAULT_ variables as settings. */
final class VaultKey implements KeySource {
    private final String address = setting("VAULT_ADDR", "https://127.0.0.1:8200").replaceAll("/+$", "");
    private final String path;
    private final HttpClient http;

    /** Reads a path such as ecgrid/static-creds/edi-gateway. */
    VaultKey(String path) throws IOException, GeneralSecurityException {
        this.path = path;
        HttpClient.Builder builder = HttpClient.newBuilder().connectTimeout(EcgridClient.TIMEOUT);
        String caFile = setting("VAULT_CACERT", "");
        http = (caFile.isEmpty() ? builder : builder.sslContext(trusting(Path.of(caFile)))).build();
    }

    @Override
    public String read() throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(address + "/v1/" + path))
                .header("X-Vault-Token", token())
                .header("X-Vault-Request", "true");
        String namespace = setting("VAULT_NAMESPACE", "");
        if (!namespace.isEmpty()) {
            request.header("X-Vault-Namespace", namespace);
        }
        HttpResponse<String> answer = Http.get(http, request, "Vault");
        if (answer.statusCode() != 200) {
            throw new EcgridException("Vault answered HTTP " + answer.statusCode() + " to a read of " + path + ": "
                    + reasons(answer.body()));
        }
        return Http.visible(Json.find(answer.body(), "data", "api_key") instanceof String key ? key : null, path);
    }

    /** Agent replaces the file with the token, so it is read each time. */
    private static String token() throws IOException {
        String file = setting("VAULT_TOKEN_FILE", "");
        return file.isEmpty() ? Http.visible(System.getenv("VAULT_TOKEN"), "VAULT_TOKEN") : KeySource.readLine(Path.of(file));
    }

    private static String reasons(String body) {
        if (Json.find(body, "errors") instanceof List<?> errors && !errors.isEmpty()) {
            return errors.stream().map(String::valueOf).collect(Collectors.joining(", "));
        }
        return "check the path, the token and its policy";
    }

    private static SSLContext trusting(Path caFile) throws IOException, GeneralSecurityException {
        KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
        authorities.load(null, null);
        try (InputStream pem = Files.newInputStream(caFile)) {
            for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
                authorities.setCertificateEntry("vault-" + authorities.size(), c);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(authorities);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    static String setting(String name, String standard) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? standard : value;
    }
}
