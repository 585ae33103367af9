// SPDX-License-Identifier: MPL-2.0

using System;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Http;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Threading;
using System.Threading.Tasks;

namespace EdiGateway
{
    /// <summary>What the calls to ECGrid and to Vault share.</summary>
    internal static class Http
    {
        internal static HttpClient NewClient()
        {
            // A redirect would send the key to another server.
            return new HttpClient(new HttpClientHandler { AllowAutoRedirect = false }) { Timeout = TimeSpan.FromSeconds(10) };
        }

        internal static async Task<Answer> Send(
            HttpClient http, HttpRequestMessage request, string server, CancellationToken cancellation)
        {
            try
            {
                using (request)
                using (var response = await http.SendAsync(request, cancellation).ConfigureAwait(false))
                {
                    return new Answer(response.StatusCode, await response.Content.ReadAsByteArrayAsync().ConfigureAwait(false));
                }
            }
            catch (HttpRequestException e)
            {
                var reason = e.GetBaseException().Message.Split('\n')[0];
                throw new EcgridException($"{server} gave no answer: {reason}", e);
            }
            catch (OperationCanceledException e) when (!cancellation.IsCancellationRequested)
            {
                throw new EcgridException($"{server} gave no answer within {http.Timeout.TotalSeconds} s", e);
            }
        }

        /// <summary>Refuses what cannot be in a header. The error of HttpClient would show it.</summary>
        internal static string Visible(string value, string from)
        {
            if (string.IsNullOrEmpty(value) || value.Any(c => c <= ' ' || c > '~'))
            {
                throw new EcgridException($"{from} must hold one line of visible ASCII characters: check what writes it");
            }
            return value;
        }
    }

    internal sealed class Answer
    {
        private readonly byte[] body;

        internal Answer(HttpStatusCode status, byte[] body)
        {
            Status = status;
            this.body = body;
        }

        internal HttpStatusCode Status { get; }

        /// <summary>
        /// Returns null if the body is not such JSON. DataContractJsonSerializer is in .NET and in
        /// .NET Framework. On .NET alone, System.Text.Json does the same.
        /// </summary>
        internal T Read<T>() where T : class
        {
            try
            {
                return (T)new DataContractJsonSerializer(typeof(T)).ReadObject(new MemoryStream(body));
            }
            catch (SerializationException)
            {
                return null;
            }
        }
    }
}
