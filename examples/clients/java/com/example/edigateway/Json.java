// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON (RFC 8259), since the JDK cannot. Jackson replaces this class:
 * {@code new ObjectMapper().readTree(text).at("/data/api_key").asText()}.
 */
final class Json {
    private static final int MAX_DEPTH = 64;
    private static final String NUMBER = "-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?";

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    /** Returns the value of a field of nested objects, and null if it is absent or text is not JSON. */
    static Object find(String text, String... path) {
        try {
            Object value = parse(text);
            for (String name : path) {
                value = value instanceof Map<?, ?> object ? object.get(name) : null;
            }
            return value;
        } catch (IllegalArgumentException e) {
            return null;
        }
    }

    /**
     * Returns a Map, List, String, Double, Boolean or null. Throws IllegalArgumentException
     * if text is not JSON, without showing it.
     */
    static Object parse(String text) {
        Json json = new Json(text);
        Object value = json.value();
        if (json.peek() != '\0' || json.at < text.length()) {
            throw json.error();
        }
        return value;
    }

    private Object value() {
        switch (peek()) {
            case '{':
                return object();
            case '[':
                return array();
            case '"':
                return string();
            default:
                return literal();
        }
    }

    private Map<String, Object> object() {
        Map<String, Object> object = new LinkedHashMap<>();
        open();
        for (boolean more = peek() != '}'; more; more = accept(',')) {
            if (peek() != '"') {
                throw error();
            }
            String name = string();
            expect(':');
            object.put(name, value());
        }
        close('}');
        return object;
    }

    private List<Object> array() {
        List<Object> array = new ArrayList<>();
        open();
        for (boolean more = peek() != ']'; more; more = accept(',')) {
            array.add(value());
        }
        close(']');
        return array;
    }

    private String string() {
        StringBuilder string = new StringBuilder();
        for (at++; ; ) {
            char c = next();
            if (c == '"') {
                return string.toString();
            }
            if (c < ' ') {
                throw error();
            }
            string.append(c == '\\' ? escaped() : c);
        }
    }

    private char escaped() {
        char c = next();
        if (c == 'u') {
            char code = 0;
            for (int i = 0; i < 4; i++) {
                int digit = "0123456789abcdef".indexOf(Character.toLowerCase(next()));
                if (digit < 0) {
                    throw error();
                }
                code = (char) (code << 4 | digit);
            }
            return code;
        }
        int known = "\"\\/bfnrt".indexOf(c);
        if (known < 0) {
            throw error();
        }
        return "\"\\/\b\f\n\r\t".charAt(known);
    }

    private Object literal() {
        int start = at;
        while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) {
            at++;
        }
        String word = text.substring(start, at);
        switch (word) {
            case "true":
                return true;
            case "false":
                return false;
            case "null":
                return null;
            default:
                if (!word.matches(NUMBER)) {
                    throw error();
                }
                return Double.valueOf(word);
        }
    }

    private void open() {
        at++;
        if (++depth > MAX_DEPTH) {
            throw error();
        }
    }

    private void close(char end) {
        expect(end);
        depth--;
    }

    private void expect(char c) {
        if (!accept(c)) {
            throw error();
        }
    }

    private boolean accept(char c) {
        boolean found = peek() == c;
        at += found ? 1 : 0;
        return found;
    }

    /** Skips white space and returns the next character, or NUL at the end. */
    private char peek() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        return at < text.length() ? text.charAt(at) : '\0';
    }

    private char next() {
        if (at == text.length()) {
            throw error();
        }
        return text.charAt(at++);
    }

    private IllegalArgumentException error() {
        return new IllegalArgumentException("no JSON at character " + at);
    }
}
