// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/**
 * Calls ECGrid's REST API with a key that Vault holds. It keeps the key in memory between
 * calls. Threads may share it.
 */
final class EcgridClient {
    static final Duration TIMEOUT = Duration.ofSeconds(10);

    private final String url;
    private final KeySource source;
    // It follows no redirect, which would send the key to another server.
    private final HttpClient http = HttpClient.newBuilder().connectTimeout(TIMEOUT).build();

    private String key; // the last one that was read
    private CompletableFuture<String> reading; // the latest read of the key

    /** Makes a client for an address such as https://rest.ecgrid.io/v2. */
    EcgridClient(String url, KeySource source) {
        this.url = url.replaceAll("/+$", "");
        this.source = source;
    }

    /**
     * Calls GET /users/me and returns the login name. If ECGrid refuses the key, it is read
     * again. The call is repeated once, and only with another key.
     */
    String login() throws IOException, InterruptedException {
        String used = keyOtherThan(null);
        HttpResponse<String> answer = get("/users/me", used);
        if (answer.statusCode() == 401) {
            String fresh = keyOtherThan(used);
            if (fresh.equals(used)) {
                throw new EcgridException("ECGrid refused the key (HTTP 401), and reading it again gave the same one: "
                        + "Vault Agent may need a moment to write a new key; "
                        + "otherwise check at ECGrid that the user is active");
            }
            answer = get("/users/me", fresh);
        }
        if (answer.statusCode() == 401) {
            throw new EcgridException("ECGrid refused the key (HTTP 401): "
                    + "check in Vault that it is the right user's, and at ECGrid that the user is active");
        }
        if (answer.statusCode() != 200) {
            throw new EcgridException("ECGrid answered HTTP " + answer.statusCode() + " to GET /users/me: try again later");
        }
        if (Json.find(answer.body(), "data", "login") instanceof String login && !login.isEmpty()) {
            return login;
        }
        throw new EcgridException("malformed answer of ECGrid to GET /users/me: check the address " + url);
    }

    private HttpResponse<String> get(String path, String key) throws IOException, InterruptedException {
        return Http.get(http, HttpRequest.newBuilder(URI.create(url + path)).header("X-API-Key", key), "ECGrid");
    }

    /**
     * Returns the key in memory, or reads it if that is the refused one. Threads that need it
     * at the same time share one read.
     */
    private String keyOtherThan(String refused) throws IOException, InterruptedException {
        CompletableFuture<String> shared;
        synchronized (this) {
            if (key != null && !key.equals(refused)) {
                return key;
            }
            if (reading == null || reading.isDone()) {
                reading = CompletableFuture.supplyAsync(this::read);
            }
            shared = reading;
        }
        try {
            return shared.get();
        } catch (ExecutionException e) {
            String why = refused == null ? "the key cannot" : "ECGrid refused the key (HTTP 401), and it cannot";
            throw new EcgridException(why + " be read: " + e.getCause().getMessage(), e);
        }
    }

    private String read() {
        try {
            String fresh = source.read();
            synchronized (this) {
                key = fresh;
            }
            return fresh;
        } catch (IOException | InterruptedException e) {
            throw new CompletionException(e);
        }
    }
}
