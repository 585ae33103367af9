// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

/** Parses each line, which is JSON in Base64, and prints what data.api_key is. */
final class JsonCheck {
    private JsonCheck() {}

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            System.out.println(result(new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8)));
        }
    }

    private static String result(String text) {
        try {
            Json.parse(text);
        } catch (IllegalArgumentException e) {
            return "not JSON";
        }
        Object key = Json.find(text, "data", "api_key");
        return key instanceof String s ? "string " + Base64.getEncoder().encodeToString(s.getBytes(StandardCharsets.UTF_8)) : "no string";
    }
}
