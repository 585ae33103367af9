// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** What the calls to ECGrid and to Vault share. */
final class Http {
    private Http() {}

    static HttpResponse<String> get(HttpClient http, HttpRequest.Builder request, String server)
            throws IOException, InterruptedException {
        // Before Java 26, the timeout of HttpRequest ends with the header of the answer.
        CompletableFuture<HttpResponse<String>> answer = http.sendAsync(request.build(), BodyHandlers.ofString());
        try {
            return answer.get(EcgridClient.TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            throw new EcgridException(server + " gave no answer within " + EcgridClient.TIMEOUT.toSeconds() + " s", e);
        } catch (ExecutionException e) {
            Throwable cause = e.getCause();
            String reason = cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage();
            throw new EcgridException(server + " gave no answer: " + reason, e);
        } finally {
            answer.cancel(true); // ends a request that is still running
        }
    }

    /** Refuses what cannot be in a header. The error of HttpRequest would show it. */
    static String visible(String value, String from) throws EcgridException {
        if (value == null || !value.matches("[!-~]+")) {
            throw new EcgridException(from + " must hold one line of visible ASCII characters: check what writes it");
        }
        return value;
    }
}
