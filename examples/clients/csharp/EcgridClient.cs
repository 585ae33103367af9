// SPDX-License-Identifier: MPL-2.0

using System;
using System.Net;
using System.Net.Http;
using System.Runtime.Serialization;
using System.Threading;
using System.Threading.Tasks;

namespace EdiGateway
{
    /// <summary>A call failed. The message says what to do, and never holds a key.</summary>
    public sealed class EcgridException : Exception
    {
        public EcgridException(string message, Exception inner = null) : base(message, inner) { }
    }

    /// <summary>
    /// Calls ECGrid's REST API with a key that Vault holds. It keeps the key in memory between
    /// calls. Make one and share it: it is safe for concurrent use.
    /// </summary>
    public sealed class EcgridClient : IDisposable
    {
        private readonly string url;
        private readonly Func<Task<string>> readKey;
        private readonly HttpClient http = Http.NewClient();

        private readonly object gate = new object();
        private string key; // the last one that was read
        private Task<string> reading; // the latest read of the key

        /// <param name="url">For example https://rest.ecgrid.io/v2</param>
        /// <param name="readKey">Reads the current key. See <see cref="KeySource"/>.</param>
        public EcgridClient(string url, Func<Task<string>> readKey)
        {
            this.url = url.TrimEnd('/');
            this.readKey = readKey;
        }

        /// <summary>
        /// Calls GET /users/me and returns the user. If ECGrid refuses the key, it is read again.
        /// The call is repeated once, and only with another key.
        /// </summary>
        public async Task<EcgridUser> GetMeAsync(CancellationToken cancellation = default(CancellationToken))
        {
            var used = await KeyOtherThan(null).ConfigureAwait(false);
            var answer = await Get("/users/me", used, cancellation).ConfigureAwait(false);
            if (answer.Status == HttpStatusCode.Unauthorized)
            {
                var fresh = await KeyOtherThan(used).ConfigureAwait(false);
                if (fresh == used)
                {
                    throw new EcgridException("ECGrid refused the key (HTTP 401), and reading it again gave the same one: "
                        + "Vault Agent may need a moment to write a new key; otherwise check at ECGrid that the user is active");
                }
                answer = await Get("/users/me", fresh, cancellation).ConfigureAwait(false);
            }
            if (answer.Status == HttpStatusCode.Unauthorized)
            {
                throw new EcgridException("ECGrid refused the key (HTTP 401): "
                    + "check in Vault that it is the right user's, and at ECGrid that the user is active");
            }
            if (answer.Status != HttpStatusCode.OK)
            {
                throw new EcgridException($"ECGrid answered HTTP {(int)answer.Status} to GET /users/me: try again later");
            }
            var user = answer.Read<MeAnswer>()?.Data;
            if (string.IsNullOrEmpty(user?.Login))
            {
                throw new EcgridException($"malformed answer of ECGrid to GET /users/me: check the address {url}");
            }
            return user;
        }

        public void Dispose() => http.Dispose();

        private Task<Answer> Get(string path, string withKey, CancellationToken cancellation)
        {
            var request = new HttpRequestMessage(HttpMethod.Get, url + path);
            request.Headers.Add("X-API-Key", withKey);
            return Http.Send(http, request, "ECGrid", cancellation);
        }

        // Returns the key in memory, or reads it if that is the refused one. Calls that need it
        // at the same time share one read, so it does not end with one caller's token.
        private async Task<string> KeyOtherThan(string refused)
        {
            Task<string> shared;
            lock (gate)
            {
                if (key != null && key != refused)
                {
                    return key;
                }
                if (reading == null || reading.IsCompleted)
                {
                    reading = Task.Run(ReadKey);
                }
                shared = reading;
            }
            try
            {
                return await shared.ConfigureAwait(false);
            }
            catch (Exception e)
            {
                var why = refused == null ? "the key cannot" : "ECGrid refused the key (HTTP 401), and it cannot";
                throw new EcgridException($"{why} be read: {e.Message}", e);
            }
        }

        private async Task<string> ReadKey()
        {
            var fresh = await readKey().ConfigureAwait(false);
            lock (gate)
            {
                key = fresh;
            }
            return fresh;
        }

        [DataContract]
        private sealed class MeAnswer
        {
            [DataMember(Name = "data")] public EcgridUser Data { get; set; }
        }
    }

    /// <summary>The ECGrid user that a key belongs to.</summary>
    [DataContract]
    public sealed class EcgridUser
    {
        [DataMember(Name = "login")] public string Login { get; set; }
    }
}
