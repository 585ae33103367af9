// SPDX-License-Identifier: MPL-2.0

using System;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Runtime.Serialization;
using System.Threading;
using System.Threading.Tasks;

namespace EdiGateway
{
    /// <summary>Ways to read the current key.</summary>
    public static class KeySource
    {
        // An HttpClient is made once and shared.
        private static readonly HttpClient Vault = Http.NewClient();

        /// <summary>Reads the key from the file that Vault Agent writes.</summary>
        public static Func<Task<string>> FromFile(string path) => () => Task.FromResult(ReadLine(path));

        /// <summary>
        /// Reads the key from Vault, from a path such as ecgrid/static-creds/edi-gateway. Set
        /// either the token, or the file to which Vault Agent writes its token.
        /// </summary>
        public static Func<Task<string>> FromVault(
            string address, string path, string token, string tokenFile = null, string vaultNamespace = null)
        {
            return async () =>
            {
                var request = new HttpRequestMessage(HttpMethod.Get, $"{address.TrimEnd('/')}/v1/{path}");
                // Agent replaces the file, so it is read each time.
                var current = string.IsNullOrEmpty(tokenFile) ? Http.Visible(token, "VAULT_TOKEN") : ReadLine(tokenFile);
                request.Headers.Add("X-Vault-Token", current);
                request.Headers.Add("X-Vault-Request", "true");
                if (!string.IsNullOrEmpty(vaultNamespace))
                {
                    request.Headers.Add("X-Vault-Namespace", vaultNamespace);
                }
                var answer = await Http.Send(Vault, request, "Vault", CancellationToken.None).ConfigureAwait(false);
                var secret = answer.Read<VaultAnswer>();
                if (answer.Status != HttpStatusCode.OK)
                {
                    var reasons = secret?.Errors == null || secret.Errors.Length == 0
                        ? "check the path, the token and its policy"
                        : string.Join(", ", secret.Errors);
                    throw new EcgridException($"Vault answered HTTP {(int)answer.Status} to a read of {path}: {reasons}");
                }
                return Http.Visible(secret?.Data?.ApiKey, path);
            };
        }

        private static string ReadLine(string path) => Http.Visible(File.ReadAllText(path).Trim(), path);

        [DataContract]
        private sealed class VaultAnswer
        {
            [DataMember(Name = "data")] public VaultData Data { get; set; }
            [DataMember(Name = "errors")] public string[] Errors { get; set; }
        }

        [DataContract]
        private sealed class VaultData
        {
            [DataMember(Name = "api_key")] public string ApiKey { get; set; }
        }
    }
}
