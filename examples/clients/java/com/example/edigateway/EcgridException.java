// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.IOException;

/** A call failed. The message says what to do, and never holds a key. */
final class EcgridException extends IOException {
    private static final long serialVersionUID = 1;

    EcgridException(String message) {
        super(message);
    }

    EcgridException(String message, Throwable cause) {
        super(message, cause);
    }
}
