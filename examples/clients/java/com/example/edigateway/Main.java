// SPDX-License-Identifier: MPL-2.0

package com.example.edigateway;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Shows how an application calls ECGrid with a key from Vault. See ../README.md for its settings. */
final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        EcgridClient client = new EcgridClient(VaultKey.setting("ECGRID_URL", "https://rest.ecgrid.io/v2"), keySource());
        double interval = Double.parseDouble(VaultKey.setting("INTERVAL", "10")); // seconds
        int callers = Integer.parseInt(VaultKey.setting("CALLERS", "1"));
        ExecutorService pool = Executors.newFixedThreadPool(callers);
        Callable<Void> call = () -> call(client);
        try {
            for (;;) {
                for (Future<Void> done : pool.invokeAll(Collections.nCopies(callers, call))) {
                    done.get();
                }
                Thread.sleep((long) (interval * 1000));
            }
        } finally {
            pool.shutdownNow();
        }
    }

    private static Void call(EcgridClient client) throws InterruptedException {
        try {
            System.out.println("ok " + client.login());
        } catch (IOException e) {
            System.out.println("error: " + e.getMessage());
        }
        return null;
    }

    private static KeySource keySource() throws Exception {
        String file = VaultKey.setting("ECGRID_API_KEY_FILE", "");
        return file.isEmpty()
                ? new VaultKey(VaultKey.setting("ECGRID_VAULT_PATH", "ecgrid/static-creds/edi-gateway"))
                : KeySource.file(Path.of(file));
    }
}
