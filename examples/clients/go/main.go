// SPDX-License-Identifier: MPL-2.0

// Command edi-gateway shows how an application calls ECGrid with a key from Vault. See
// ../README.md for its settings.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"example.com/edi-gateway/ecgrid"
	vault "github.com/hashicorp/vault/api"
)

func main() {
	log.SetFlags(0)
	read, err := keyReader()
	if err != nil {
		log.Fatal("error: ", err)
	}
	client := ecgrid.NewClient(cmp.Or(os.Getenv("ECGRID_URL"), "https://rest.ecgrid.io/v2"), read)
	interval := time.Duration(number("INTERVAL", 10) * float64(time.Second))
	callers := int(number("CALLERS", 1))
	for ; ; time.Sleep(interval) {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() { call(client) })
		}
		wg.Wait()
	}
}

func call(client *ecgrid.Client) {
	user, err := client.Me(context.Background())
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("ok", user.Login)
}

func keyReader() (ecgrid.KeyReader, error) {
	if file := os.Getenv("ECGRID_API_KEY_FILE"); file != "" {
		return ecgrid.FromFile(file), nil
	}
	// The client reads VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE and VAULT_CACERT itself.
	client, err := vault.NewClient(nil)
	if err != nil {
		return nil, err
	}
	path := cmp.Or(os.Getenv("ECGRID_VAULT_PATH"), "ecgrid/static-creds/edi-gateway")
	return ecgrid.FromVault(client, path, os.Getenv("VAULT_TOKEN_FILE")), nil
}

func number(name string, standard float64) float64 {
	value := os.Getenv(name)
	if value == "" {
		return standard
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		log.Fatalf("error: %s must be a number", name)
	}
	return n
}
